//! Mix of calls by weight.

use std::fmt;
use std::str::FromStr;

/// A kind of call of API v2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A journey starts.
    Start,
    /// Its interaction is fetched.
    Fetch,
    /// Images are submitted.
    Submit,
    /// Its state is fetched.
    State,
}

impl Kind {
    /// All kinds, at the index of their discriminant.
    pub(crate) const ALL: [Kind; 4] = [Kind::Start, Kind::Fetch, Kind::Submit, Kind::State];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Start => "start",
            Kind::Fetch => "fetch",
            Kind::Submit => "submit",
            Kind::State => "state",
        }
    }

    /// The endpoint name in the proxy's metrics and the sandbox's counts.
    pub(crate) fn endpoint(self) -> &'static str {
        match self {
            Kind::Start => "journey/start",
            Kind::Fetch => "journey/interaction/fetch",
            Kind::Submit => "journey/interaction/submit",
            Kind::State => "journey/state/fetch",
        }
    }
}

/// Weights of the kinds, such as `start=1,fetch=2,submit=1,state=3`, or one kind alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix([u32; 4]);

impl Mix {
    /// The kinds in turn, by weight and evenly spread.
    pub(crate) fn turns(self) -> Turns {
        Turns {
            mix: self,
            credit: [0; 4],
        }
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights = [0; 4];
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
            let kind = kind.ok_or_else(|| {
                format!(
                    "there is no kind {name:?}; there are {}",
                    Kind::ALL.map(Kind::name).join(", ")
                )
            })?;
            let weight = weight
                .parse::<u16>()
                .map_err(|_| format!("{weight:?} is no weight"))?;
            weights[kind as usize] = u32::from(weight);
        }
        match weights.iter().sum() {
            0 => Err("one weight at least must be above 0".to_owned()),
            _ => Ok(Mix(weights)),
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weights = Kind::ALL
            .into_iter()
            .zip(self.0)
            .filter(|&(_, weight)| weight > 0);
        let parts: Vec<_> = weights
            .map(|(kind, weight)| format!("{}={weight}", kind.name()))
            .collect();
        f.write_str(&parts.join(","))
    }
}

/// Smooth weighted round robin: deterministic, so every run is the same.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    mix: Mix,
    credit: [i64; 4],
}

impl Turns {
    /// The kind of the next request.
    pub(crate) fn next(&mut self) -> Kind {
        let sum: u32 = self.mix.0.iter().sum();
        let mut chosen = Kind::Start;
        for kind in Kind::ALL {
            self.credit[kind as usize] += i64::from(self.mix.0[kind as usize]);
            if self.credit[kind as usize] > self.credit[chosen as usize] {
                chosen = kind;
            }
        }
        self.credit[chosen as usize] -= i64::from(sum);
        chosen
    }
}
