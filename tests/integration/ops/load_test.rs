//! The load test's own arithmetic; that it runs at all is tested by its short run, which `cargo
//! test` makes as well.

use std::collections::BTreeMap;
use std::time::Duration;

#[path = "../../../benches/load/arithmetic/mod.rs"]
mod arithmetic;
#[path = "../../../benches/load/harness.rs"]
mod harness;

use arithmetic::arrivals::Arrivals;
use arithmetic::knee::{Step, is_past, knee};
use arithmetic::mix::{Kind, Mix};
use arithmetic::reconcile::{Counts, Ledger, mismatches, total};
use arithmetic::recovery::{Span, recovered};
use arithmetic::{refreshes, trend};
use harness::{Invocation, MODES, parse_invocation};

const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

#[test]
fn arrivals_are_evenly_spread_and_do_not_drift() {
    let arrivals = Arrivals::new(300.0, ms(2000));
    let due: Vec<_> = (0..).map_while(|index| arrivals.due(index)).collect();
    assert_eq!((due.len() as u64, arrivals.count()), (600, 600));
    assert_eq!(
        (due[0], due[300], arrivals.due(600)),
        (Duration::ZERO, ms(1000), None)
    );
    assert!(
        due.windows(2)
            .all(|pair| (pair[1] - pair[0]).abs_diff(ms(1000) / 300) < Duration::from_nanos(10))
    );
    assert_eq!(Arrivals::new(0.4, ms(1000)).count(), 0);
}

#[test]
fn kinds_are_spread_by_weight() {
    let mix: Mix = "start=1,fetch=2,state=3".parse().unwrap();
    let mut turns = mix.turns();
    let kinds: Vec<_> = (0..6).map(|_| turns.next()).collect();
    for (kind, count) in [
        (Kind::Start, 1),
        (Kind::Fetch, 2),
        (Kind::Submit, 0),
        (Kind::State, 3),
    ] {
        assert_eq!(
            kinds.iter().filter(|&&one| one == kind).count(),
            count,
            "{kinds:?}"
        );
    }
    assert!(kinds.windows(2).all(|pair| pair[0] != pair[1]), "{kinds:?}");
    assert_eq!(mix.to_string(), "start=1,fetch=2,state=3");
}

#[test]
fn a_mix_needs_a_kind_of_positive_weight() {
    let mut turns = "submit".parse::<Mix>().unwrap().turns();
    assert!((0..3).all(|_| turns.next() == Kind::Submit));
    assert_eq!(
        "strat=2".parse::<Mix>().unwrap_err(),
        "there is no kind \"strat\"; there are start, fetch, submit, state"
    );
    assert_eq!(
        "start=-1".parse::<Mix>().unwrap_err(),
        "\"-1\" is no weight"
    );
    assert!("start=0".parse::<Mix>().unwrap_err().contains("above 0"));
}

#[test]
fn endpoints_match_the_sandboxs_counters() {
    for kind in Kind::ALL {
        let path = format!("{}{}", gbg_proxy::gbg::V2, kind.endpoint());
        assert_eq!(gbg_proxy::gbg::parse_path(&path).name, kind.endpoint());
    }
}

fn step(asked: f64, achieved: f64, failures: u64, p99: u64) -> Step {
    Step {
        asked,
        achieved,
        failures,
        p99: ms(p99),
    }
}

#[test]
fn the_knee_is_the_last_step_that_holds() {
    let bound = ms(100);
    let steps = [
        step(100.0, 100.0, 0, 5),
        step(200.0, 200.0, 0, 120),
        step(300.0, 297.1, 0, 50),
        step(400.0, 390.0, 0, 60),
        step(500.0, 500.0, 1, 60),
    ];
    let broken: Vec<_> = steps.iter().map(|step| step.broken_by(bound)).collect();
    assert_eq!(
        broken,
        [None, Some("p99"), None, Some("rate"), Some("failures")]
    );
    assert_eq!(knee(&steps, bound), Some(2));
    assert!(
        !is_past(&steps[..4], bound),
        "one step alone may be a moment of the machine's"
    );
    assert!(is_past(&steps, bound));
    assert_eq!(knee(&steps[1..2], bound), None);
    assert!(!is_past(&steps[1..2], bound));
}

fn counts(of: &[(&str, u16, u64)]) -> Counts {
    let mut counts = Counts::new();
    for &(endpoint, status, count) in of {
        counts
            .entry(endpoint.to_owned())
            .or_default()
            .insert(status, count);
    }
    counts
}

#[test]
fn responses_match_the_counted_calls() {
    let answered = counts(&[("start", 201, 5), ("state", 200, 7)]);
    let ledger = Ledger {
        due: 15,
        answered: answered.clone(),
        refused: 3,
        unknown: BTreeMap::new(),
    };
    assert_eq!(
        (ledger.answers(), ledger.unknowns(), total(&answered)),
        (12, 0, 12)
    );
    assert!(mismatches(&ledger, &answered, 0).is_empty());
    assert_eq!(
        mismatches(&Ledger { due: 16, ..ledger }, &answered, 0),
        ["16 requests were due, and 15 ended"]
    );
}

#[test]
fn lost_and_duplicate_calls_are_named() {
    let answered = counts(&[("start", 201, 5), ("state", 200, 7)]);
    let ledger = Ledger {
        due: 12,
        answered,
        ..Ledger::default()
    };
    let lost = mismatches(&ledger, &counts(&[("start", 201, 5), ("state", 200, 6)]), 0);
    assert_eq!(lost, ["state: 7 answers 200, of which the sandbox gave 6"]);
    let twice = mismatches(&ledger, &counts(&[("start", 201, 6), ("state", 200, 7)]), 0);
    assert!(
        twice.len() == 1 && twice[0].starts_with("start: the sandbox had 1 calls beyond"),
        "{twice:?}"
    );
    let both = mismatches(&ledger, &counts(&[("start", 201, 6), ("state", 200, 6)]), 0);
    assert_eq!(
        both.len(),
        2,
        "one does not make up for the other: {both:?}"
    );
}

#[test]
fn unknown_outcomes_and_retries_explain_one_call() {
    let answered = counts(&[("start", 201, 5), ("state", 200, 7)]);
    let unknown = BTreeMap::from([("start".to_owned(), 1)]);
    let ledger = Ledger {
        due: 13,
        answered,
        refused: 0,
        unknown,
    };
    for seen in [5, 6] {
        assert!(
            mismatches(
                &ledger,
                &counts(&[("start", 201, seen), ("state", 200, 7)]),
                0
            )
            .is_empty()
        );
    }
    let elsewhere = counts(&[("start", 201, 5), ("state", 200, 8)]);
    assert_eq!(
        mismatches(&ledger, &elsewhere, 0).len(),
        1,
        "it was no state that nobody answered"
    );
    let repeated = counts(&[("start", 201, 6), ("state", 200, 7), ("state", 401, 1)]);
    assert!(mismatches(&ledger, &counts(&[("start", 201, 5), ("state", 200, 7)]), 1).is_empty());
    assert_eq!(mismatches(&ledger, &repeated, 0).len(), 1);
    let repeated = mismatches(&ledger, &counts(&[("start", 201, 6), ("state", 200, 8)]), 1);
    assert!(repeated.is_empty(), "{repeated:?}");
    let more = mismatches(&ledger, &counts(&[("start", 201, 7), ("state", 200, 8)]), 1);
    assert!(
        more.len() == 1 && more[0].starts_with("the sandbox had 3 calls beyond"),
        "{more:?}"
    );
}

#[test]
fn recovery_starts_when_all_stays_well() {
    let span = |failed, median: Option<u64>| Span {
        failed,
        median: median.map(ms),
    };
    let well = span(0, Some(39));
    let (before, slow, refused) = (ms(20), span(0, Some(41)), span(3, Some(20)));
    assert_eq!(recovered(&[well, well], before), Some(0));
    assert_eq!(
        recovered(&[refused, well, slow, well, span(0, None)], before),
        Some(3)
    );
    assert_eq!(recovered(&[well, refused], before), None);
}

#[test]
fn new_tokens_are_dated_between_two_samples() {
    let samples = [
        (ms(0), 1),
        (ms(250), 1),
        (ms(500), 2),
        (ms(750), 2),
        (ms(1000), 4),
    ];
    assert_eq!(refreshes::refresh_times(&samples), [ms(375), ms(875)]);
    let found: Vec<_> = (0..7)
        .filter(|&second| refreshes::has_refresh(second, &[ms(999), ms(5000)]))
        .collect();
    assert_eq!(found, [0, 5]);
    assert!(!refreshes::has_refresh(0, &[]));
}

#[test]
fn growth_is_distinguished_from_bursts() {
    let flat = |level: fn(u64) -> u64| {
        let samples: Vec<_> = (0..100).map(level).collect();
        trend::is_flat(trend::floors(&samples).unwrap())
    };
    assert!(flat(|_| 1000) && flat(|at| 1000 - at) && flat(|at| 1000 + at / 2));
    assert!(!flat(|at| 1000 + at), "slow and steady");
    assert!(
        !flat(|at| if at < 30 { 1000 } else { 2000 }),
        "at once, and it stays"
    );
    assert!(!flat(|at| 1000 + at / 30 * 100), "in steps");
    assert!(
        flat(|at| if at / 10 == 8 { 2000 } else { 1000 }),
        "a burst late in the run is no growth"
    );
    assert!(
        flat(|at| if at % 3 == 0 { 1000 } else { 2000 }),
        "nor are many"
    );
    assert_eq!(trend::floors(&[1, 2, 3]), None);
}

#[test]
fn cargo_runs_the_short_mode_by_default() {
    for short in [
        &[][..],
        &["--bench"],
        &["--test"],
        &["steps", "--test", "--bench"],
        &["load"],
        &["--nocapture"],
    ] {
        assert_eq!(parse_invocation(short), Invocation::ShortRun, "{short:?}");
    }
    for mode in MODES {
        assert_eq!(
            parse_invocation(&[mode, "--rate", "5", "--bench"]),
            Invocation::Mode
        );
        assert_eq!(
            parse_invocation(&[mode]),
            Invocation::Other(mode.to_owned()),
            "cargo test {mode} wants tests of that name"
        );
        assert_eq!(parse_invocation(&[mode, "--help"]), Invocation::Mode);
    }
    assert_eq!(parse_invocation(&["--help", "--bench"]), Invocation::Mode);
    assert_eq!(
        parse_invocation(&["tidy"]),
        Invocation::Other("tidy".to_owned())
    );
}
