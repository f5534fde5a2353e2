//! The callers of the configuration, ready to be found, each with what it may do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use http::Method;

use crate::config::{self, CertificateName, Config, PathPrefix};
use crate::error::Error;
use crate::proxy::limit::{CallerQuota, CallerQuotas};
use crate::proxy::validate::Methods;

/// A caller that is known, or anyone, where none are.
#[derive(Debug)]
pub(in crate::proxy) struct Known {
    /// `None` for anyone.
    name: Option<String>,
    expires: Option<SystemTime>,
    allow: Option<Vec<PathPrefix>>,
    methods: Methods,
    number: usize,
    pub(in crate::proxy) share: Arc<CallerQuota>,
}

impl Known {
    pub(in crate::proxy) fn anyone(share: Arc<CallerQuota>) -> Self {
        Known {
            name: None,
            expires: None,
            allow: None,
            methods: Methods::new(&[]),
            number: 0,
            share,
        }
    }

    pub(in crate::proxy) fn new(
        number: usize,
        caller: &config::Caller,
        share: Arc<CallerQuota>,
    ) -> Self {
        Known {
            name: Some(caller.name.clone()),
            expires: caller.expires,
            allow: caller.allow.clone(),
            methods: Methods::new(caller.methods.as_deref().unwrap_or_default()),
            number,
            share,
        }
    }

    /// The number of the caller, its lane where requests wait; 0 where callers have none.
    pub(in crate::proxy) fn number(&self) -> usize {
        self.number
    }

    /// The name in the log; `None` where callers have none.
    pub(in crate::proxy) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The caller, unless it has expired.
    pub(super) fn unexpired(self: Arc<Self>) -> Result<Arc<Self>, Error> {
        match self.expires {
            // The wall clock is read for those alone that expire.
            Some(expires) if SystemTime::now() >= expires => {
                Err(Error::CallerUnknown("this caller has expired"))
            }
            _ => Ok(self),
        }
    }

    /// Whether this caller may call `path` with `method`.
    pub(super) fn check(&self, method: &Method, path: &str) -> Result<(), Error> {
        if let Some(allow) = &self.allow
            && !allow.iter().any(|prefix| path.starts_with(prefix.as_str()))
        {
            return Err(Error::PathNotAllowed);
        }
        self.methods.check(method)
    }
}

/// All callers, by all that they may be known by. Each worker has one of its own: cores share the
/// shares alone.
#[derive(Debug)]
pub(super) struct Table {
    /// Who calls where there are no callers.
    pub(super) anyone: Arc<Known>,
    is_empty: bool,
    /// By the digest of a key. What an attacker can time is the search for a digest, of which he
    /// can choose no part.
    by_digest: HashMap<[u8; 32], Arc<Known>>,
    by_certificate: HashMap<CertificateName, Arc<Known>>,
    by_uid: HashMap<u32, Arc<Known>>,
}

impl Table {
    /// The callers of `config`, each with its share.
    pub(super) fn new(config: &Config, shares: &CallerQuotas) -> Self {
        let mut table = Table {
            anyone: Arc::new(Known::anyone(shares.of_anyone())),
            is_empty: config.callers.is_empty(),
            by_digest: HashMap::new(),
            by_certificate: HashMap::new(),
            by_uid: HashMap::new(),
        };
        for (caller, (number, share)) in config.callers.iter().zip(shares.of_callers()) {
            let known = Arc::new(Known::new(number, caller, share));
            table.by_digest.extend(
                caller
                    .keys
                    .iter()
                    .map(|digest| (*digest, Arc::clone(&known))),
            );
            table.by_certificate.extend(
                caller
                    .certificate
                    .clone()
                    .map(|name| (name, Arc::clone(&known))),
            );
            table
                .by_uid
                .extend(caller.uid.map(|uid| (uid, Arc::clone(&known))));
        }
        table
    }

    /// Whether there are no callers; not whether none can be known, which lets nobody in.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// The caller of a certificate or of a user; the certificate counts first.
    pub(super) fn of_connection(
        &self,
        names: &[CertificateName],
        uid: Option<u32>,
    ) -> Option<Arc<Known>> {
        let by_certificate = names.iter().find_map(|name| self.by_certificate.get(name));
        by_certificate.or_else(|| self.by_uid.get(&uid?)).cloned()
    }

    pub(super) fn of_digest(&self, digest: &[u8; 32]) -> Option<Arc<Known>> {
        self.by_digest.get(digest).cloned()
    }
}
