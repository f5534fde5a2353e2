//! The callers of the configuration, and lookup of a caller by each of its credentials.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderName, Request};

use crate::config::{self, CertificateName, Config, PathPrefix};
use crate::error::Error;
use crate::headers::in_either_spelling;
use crate::metrics::AccountMetrics;
use crate::proxy::limit::quota::{CallerQuota, CallerQuotas, NamedQuota};
use crate::proxy::validate::methods::Methods;

/// An authenticated caller; the anonymous one where none are configured.
#[derive(Debug)]
pub(in crate::proxy) struct Caller {
    /// `None` for the anonymous caller.
    name: Option<String>,
    expires: Option<SystemTime>,
    allow: Option<Vec<PathPrefix>>,
    methods: Methods,
    deny_headers: Vec<HeaderName>,
    number: usize,
    pub(in crate::proxy) quota: Arc<CallerQuota>,
    account: Arc<AccountMetrics>,
}

impl Caller {
    pub(in crate::proxy) fn anonymous(
        quota: Arc<CallerQuota>,
        account: Arc<AccountMetrics>,
    ) -> Self {
        Caller {
            name: None,
            expires: None,
            allow: None,
            methods: Methods::new(&[]),
            deny_headers: Vec::new(),
            number: 0,
            quota,
            account,
        }
    }

    fn new(
        caller: &config::CallerConfig,
        named: &NamedQuota,
        account: &Arc<AccountMetrics>,
    ) -> Self {
        Caller {
            name: Some(caller.name.clone()),
            expires: caller.expires,
            allow: caller.allow.clone(),
            methods: Methods::new(caller.methods.as_deref().unwrap_or_default()),
            deny_headers: caller.deny_headers.clone(),
            number: named.number,
            quota: Arc::clone(&named.quota),
            account: Arc::clone(account),
        }
    }

    /// Number of the caller in the metrics, and of its lane in the admission queue; 0 for the
    /// anonymous caller.
    pub(in crate::proxy) fn number(&self) -> usize {
        self.number
    }

    /// `None` for the anonymous caller.
    pub(in crate::proxy) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The account whose token the requests of the caller carry.
    pub(in crate::proxy) fn account(&self) -> &AccountMetrics {
        &self.account
    }

    pub(in crate::proxy) fn check_expiry(&self) -> Result<(), Error> {
        match self.expires {
            // Only callers that expire cost a look at the wall clock.
            Some(ended) if SystemTime::now() >= ended => Err(Error::CallerExpired {
                caller: self.name.clone().unwrap_or_default(),
                ended,
            }),
            _ => Ok(()),
        }
    }

    /// Checks that the caller may make the call `req`.
    pub(super) fn check_call<B>(&self, req: &Request<B>) -> Result<(), Error> {
        if let Some(allow) = &self.allow
            && !PathPrefix::any_covers(allow, req.uri().path())
        {
            return Err(Error::PathNotAllowed {
                allow: PathPrefix::list(allow),
            });
        }
        self.methods.check(req.method())?;
        if self.deny_headers.is_empty() {
            return Ok(());
        }
        let is_denied = |name: &HeaderName| self.deny_headers.contains(name);
        let mut names = req.headers().keys();
        match names.find(|name| in_either_spelling(name, is_denied)) {
            Some(name) => Err(Error::HeaderNotAllowed { name: name.clone() }),
            None => Ok(()),
        }
    }
}

/// All callers, by each of their credentials. Each worker has its own table; only the quotas are
/// shared between cores.
#[derive(Debug)]
pub(super) struct CallerTable {
    pub(super) anonymous: Arc<Caller>,
    is_empty: bool,
    /// By the digest of a key. An attacker can time the lookup of a digest, of which it can choose
    /// no part.
    by_digest: HashMap<[u8; 32], Arc<Caller>>,
    by_certificate: HashMap<CertificateName, Arc<Caller>>,
    by_uid: HashMap<u32, Arc<Caller>>,
}

impl CallerTable {
    /// The callers of `config`, who all use `account`.
    pub(super) fn new(
        config: &Config,
        quotas: &CallerQuotas,
        account: &Arc<AccountMetrics>,
    ) -> Self {
        let anonymous = Caller::anonymous(Arc::clone(&quotas.anonymous), Arc::clone(account));
        let mut table = CallerTable {
            anonymous: Arc::new(anonymous),
            is_empty: config.callers.is_empty(),
            by_digest: HashMap::new(),
            by_certificate: HashMap::new(),
            by_uid: HashMap::new(),
        };
        for (config, named) in config.callers.iter().zip(&quotas.by_caller) {
            let caller = Arc::new(Caller::new(config, named, account));
            for digest in &config.keys {
                table.by_digest.insert(*digest, Arc::clone(&caller));
            }
            if let Some(name) = &config.certificate {
                table
                    .by_certificate
                    .insert(name.clone(), Arc::clone(&caller));
            }
            if let Some(uid) = config.uid {
                table.by_uid.insert(uid, caller);
            }
        }
        table
    }

    /// Whether no callers are configured. A table of callers without credentials is not empty: it
    /// rejects every request.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// The caller of a certificate with `names`, else of the user `uid`.
    pub(super) fn by_connection(
        &self,
        names: &[CertificateName],
        uid: Option<u32>,
    ) -> Option<Arc<Caller>> {
        let by_certificate = names.iter().find_map(|name| self.by_certificate.get(name));
        by_certificate.or_else(|| self.by_uid.get(&uid?)).cloned()
    }

    pub(super) fn by_digest(&self, digest: &[u8; 32]) -> Option<Arc<Caller>> {
        self.by_digest.get(digest).cloned()
    }
}
