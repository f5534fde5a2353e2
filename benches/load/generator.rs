//! Open loop: sends each request when it is due, whatever happened to earlier ones. Its latency
//! counts from then, so a slow response does not hide the wait behind it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout_at;

use crate::arithmetic::arrivals::Arrivals;
use crate::arithmetic::mix::{Kind, Mix, Turns};
use crate::arithmetic::reconcile::Ledger;
use crate::connections::{Connections, TimedResponse};
use crate::failure::{Failure, Result};
use crate::figures::{End, Figures, Phase};
use crate::requests::{PlannedRequest, Requests};
use crate::timer::Timer;

/// Overdue requests that are sent before responses are polled.
const MAX_BURST: usize = 16;

/// Failures of the proxy after which the API may have received the request, or a part of it.
const MAYBE_SENT: [&str; 5] = [
    "upstream_broken",
    "upstream_timeout",
    "body_too_large",
    "caller_too_slow",
    "bad_request",
];

/// Sends requests and measures them.
pub(crate) struct Generator {
    shared: Arc<GeneratorState>,
    turns: Turns,
    timer: Timer,
}

struct GeneratorState {
    requests: Requests,
    connections: Connections,
    ledger: Mutex<Ledger>,
    patience: Duration,
}

impl Generator {
    /// `patience` is the timeout of each request, from when it is due.
    pub(crate) fn new(
        requests: Requests,
        connections: Connections,
        mix: Mix,
        patience: Duration,
    ) -> Result<Self> {
        let timer = Timer::new().map_err(|error| Failure::new("no timer", error))?;
        let shared = GeneratorState {
            requests,
            connections,
            ledger: Mutex::default(),
            patience,
        };
        Ok(Generator {
            shared: Arc::new(shared),
            turns: mix.turns(),
            timer,
        })
    }

    /// Starts `count` journeys one after the other, for requests of other kinds.
    pub(crate) async fn prepare(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let ask = self.shared.requests.next(Kind::Start);
            lock(&self.shared.ledger).due += 1;
            if let (End::Bad(why), _) = self.shared.clone().exchange(ask, Instant::now()).await {
                return Err(format!("a journey cannot be started: {why}").into());
            }
        }
        Ok(())
    }

    /// Drives the phases without a pause, and waits for the last response.
    pub(crate) async fn drive(&mut self, phases: &[Phase]) -> Result<Vec<Figures>> {
        let mut all = Vec::new();
        let mut running = JoinSet::new();
        let mut began = Instant::now();
        self.shared.connections.take_peak();
        for &phase in phases {
            let figures = Arc::new(Mutex::new(Figures::new(phase)));
            self.drive_one(phase, began, &figures, &mut running).await?;
            began += phase.time;
            self.timer
                .until(began)
                .await
                .map_err(|error| Failure::new("no timer", error))?;
            lock(&figures).connections = self.shared.connections.take_peak();
            all.push(figures);
        }
        while running.join_next().await.is_some() {}
        let unshared = all.into_iter().map(|figures| {
            Arc::into_inner(figures)
                .and_then(|figures| figures.into_inner().ok())
                .ok_or_else(|| "the generator failed in the middle".into())
        });
        unshared.collect()
    }

    async fn drive_one(
        &mut self,
        phase: Phase,
        began: Instant,
        figures: &Arc<Mutex<Figures>>,
        running: &mut JoinSet<()>,
    ) -> Result<()> {
        let arrivals = Arrivals::new(phase.rate, phase.time);
        lock(&self.shared.ledger).due += arrivals.count();
        let mut overdue = 0;
        for due in (0..).map_while(|index| arrivals.due(index)) {
            let moment = began + due;
            if Instant::now() < moment {
                overdue = 0;
                self.timer
                    .until(moment)
                    .await
                    .map_err(|error| Failure::new("no timer", error))?;
            } else {
                overdue += 1;
                if overdue % MAX_BURST == 0 {
                    yield_now().await;
                }
            }
            let ask = self.shared.requests.next(self.turns.next());
            let (shared, noted) = (Arc::clone(&self.shared), Arc::clone(figures));
            let late = moment.elapsed();
            let mut figures = lock(figures);
            figures.late = figures.late.max(late);
            drop(figures);
            running.spawn(async move {
                let kind = ask.kind;
                let (end, ended) = shared.exchange(ask, moment).await;
                lock(&noted).record(kind, due, ended.saturating_duration_since(moment), end);
            });
            while running.try_join_next().is_some() {}
        }
        Ok(())
    }

    /// The outcomes of all requests so far.
    pub(crate) fn ledger(&self) -> Ledger {
        lock(&self.shared.ledger).clone()
    }
}

impl GeneratorState {
    /// Sends one request, and records its end in the ledger.
    async fn exchange(self: Arc<Self>, ask: PlannedRequest, due: Instant) -> (End, Instant) {
        let (kind, journey) = (ask.kind, ask.journey());
        let sent = timeout_at(
            (due + self.patience).into(),
            self.connections.send(ask.request),
        )
        .await;
        let answer = match sent {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => return (self.unknown(kind, why), Instant::now()),
            Err(_) => return (self.unknown(kind, "no answer in time"), Instant::now()),
        };
        let TimedResponse { head, body, ended } = answer;
        let status = head.status.as_u16();
        if let Some(reason) = proxy_reason(&head.headers) {
            if MAYBE_SENT.contains(&reason) {
                return (self.unknown(kind, reason), ended);
            }
            lock(&self.ledger).refused += 1;
            return (End::Bad(reason.to_owned()), ended);
        }
        *lock(&self.ledger)
            .answered
            .entry(kind.endpoint().to_owned())
            .or_default()
            .entry(status)
            .or_default() += 1;
        let wanted = if kind == Kind::Start { 201 } else { 200 };
        let end = match status == wanted {
            false => End::Bad(format!("the API's {status}")),
            true if self.requests.accept(kind, &journey, &body) => End::Good,
            true => End::Bad("not its answer".to_owned()),
        };
        (end, ended)
    }

    fn unknown(&self, kind: Kind, why: &str) -> End {
        *lock(&self.ledger)
            .unknown
            .entry(kind.endpoint().to_owned())
            .or_default() += 1;
        End::Bad(why.to_owned())
    }
}

/// The reason of a response by the proxy itself: the `details` of its Proxy-Status.
fn proxy_reason(headers: &HeaderMap) -> Option<&str> {
    let status = headers.get("proxy-status")?.to_str().ok()?;
    let details = status
        .split_once("details=\"")
        .map(|(_, rest)| rest.split('"').next().unwrap_or_default());
    Some(details.unwrap_or(status))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
