//! Configuration and state of the steps.

use std::sync::Arc;

use http::HeaderValue;

use super::access_log::AccessLog;
use super::authenticate::Authenticator;
use super::authenticate::auth_failures::AuthFailureThrottle;
use super::connection::{ConnectionIdentity, ConnectionInfo};
use super::headers::HeaderPolicy;
use super::limit::Limiter;
use super::limit::admission::AdmissionQueue;
use super::limit::quota::CallerQuotas;
use super::retry::RetryPolicy;
use super::token_stub::TokenStub;
use super::token_stub::forms::LoginForms;
use super::validate::Validator;
use crate::config::Config;
use crate::metrics::{AccountMetrics, Metrics, WorkerMetrics};
use crate::token::TokenReader;
use crate::trace::SpanExporter;

/// State that the workers share: quotas, throttles, admission, and the exporter of traces.
#[derive(Debug)]
pub struct SharedState {
    quotas: CallerQuotas,
    auth_failures: Arc<AuthFailureThrottle>,
    admission: Arc<AdmissionQueue>,
    login_forms: Arc<LoginForms>,
    exporter: Option<Arc<SpanExporter>>,
}

impl SharedState {
    /// The state that `config` asks for, counted in `metrics`. Spans go to `exporter`.
    pub fn new(config: &Config, metrics: &Metrics, exporter: Option<Arc<SpanExporter>>) -> Self {
        let limits = &config.limits;
        let admission = AdmissionQueue::new(
            limits.max_in_flight.get() as usize,
            limits.queue,
            limits.queue_timeout,
            Arc::clone(&metrics.admission),
        );
        SharedState {
            quotas: CallerQuotas::new(config, metrics, None),
            auth_failures: Arc::new(AuthFailureThrottle::new()),
            admission: Arc::new(admission),
            login_forms: Arc::new(LoginForms::new(Arc::clone(&metrics.login_forms))),
            exporter,
        }
    }

    /// The state for a reloaded `config`: requests in flight and the counters of callers that stay
    /// are kept.
    pub fn reload(&self, config: &Config, metrics: &Metrics) -> Self {
        let limits = &config.limits;
        self.admission.resize(
            limits.max_in_flight.get() as usize,
            limits.queue,
            limits.queue_timeout,
        );
        SharedState {
            quotas: CallerQuotas::new(config, metrics, Some(&self.quotas)),
            auth_failures: Arc::clone(&self.auth_failures),
            admission: Arc::clone(&self.admission),
            login_forms: Arc::clone(&self.login_forms),
            exporter: self.exporter.clone(),
        }
    }

    /// Rejects the requests that wait for admission, and all that would: the process shuts down.
    pub fn drain(&self) {
        self.admission.drain();
    }
}

/// Configuration of the steps. Each worker has its own, so that cores share only the counters that
/// have to be one for the process.
#[derive(Debug)]
pub struct Policy {
    #[doc(hidden)]
    pub access_log: Arc<AccessLog>,
    /// Origins of web pages that may call.
    #[doc(hidden)]
    pub origins: Arc<[HeaderValue]>,
    #[doc(hidden)]
    pub validator: Arc<Validator>,
    #[doc(hidden)]
    pub token_stub: Arc<TokenStub>,
    #[doc(hidden)]
    pub authenticator: Arc<Authenticator>,
    #[doc(hidden)]
    pub limiter: Arc<Limiter>,
    #[doc(hidden)]
    pub headers: Arc<HeaderPolicy>,
    #[doc(hidden)]
    pub retry: Arc<RetryPolicy>,
}

impl Policy {
    /// The policy that `config` describes, for requests of `account`, which carry its `tokens`.
    /// `worker` counts requests that end before they get an account.
    pub fn new(
        config: &Config,
        shared: &SharedState,
        tokens: TokenReader,
        worker: &WorkerMetrics,
        account: &Arc<AccountMetrics>,
    ) -> Self {
        let authenticator = Arc::new(Authenticator::new(
            config,
            &shared.quotas,
            Arc::clone(&shared.auth_failures),
            account,
        ));
        let origins: Arc<[HeaderValue]> = config.limits.origins.clone().into();
        Policy {
            access_log: Arc::new(AccessLog::new(
                config,
                shared.exporter.clone(),
                Arc::clone(&worker.without_account),
            )),
            validator: Arc::new(Validator::new(config, Arc::clone(&origins))),
            origins,
            token_stub: Arc::new(TokenStub::new(
                config,
                Arc::clone(&shared.login_forms),
                Arc::clone(&authenticator),
            )),
            authenticator,
            limiter: Arc::new(Limiter::new(config, Arc::clone(&shared.admission))),
            headers: Arc::new(HeaderPolicy::new(&config.forward)),
            retry: Arc::new(RetryPolicy::new(config, tokens)),
        }
    }

    /// The identity of `connection`.
    pub fn identify(&self, connection: ConnectionInfo<'_>) -> ConnectionIdentity {
        let caller = self
            .authenticator
            .caller_of_connection(connection.names, connection.uid);
        ConnectionIdentity::new(connection, caller)
    }
}
