//! Our client at the token endpoint, as it is configured at the moment: how it asks, and its
//! credentials, which are read anew for each token.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::exchange;
use crate::config::{Credentials, Problem, Token};
use crate::error::BoxError;
use crate::fs::watcher::FileWatcher;
use crate::rt::blocking::SerialBlocking;
use crate::upstream::Dialer;

/// How long the reading of the credentials is waited for.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// An OAuth client (RFC 6749 section 1.1).
pub struct Client {
    pub(super) config: Token,
    /// Leads to the endpoint. Kept, so that a fetch finds the name lookup that the one before it
    /// began.
    pub(super) dialer: Dialer,
    /// As they were read last without an error.
    credentials: Mutex<Credentials>,
    watcher: FileWatcher,
    /// A watched file is another one, and has not been read since.
    is_stirred: AtomicBool,
    aside: SerialBlocking,
}

impl Client {
    /// The client that `config` describes. Reads files.
    ///
    /// # Errors
    /// When the credentials cannot be read, or a certificate cannot be used.
    pub fn new(config: &Token) -> Result<Self, BoxError> {
        // Before they are read: what is written meanwhile is read again.
        let watcher = FileWatcher::new(
            config
                .credentials
                .files()
                .into_iter()
                .map(Into::into)
                .collect(),
        );
        let credentials = config.credentials.read()?;
        exchange::tls(config, &credentials)?;
        let origin = config
            .endpoint
            .origin()
            .ok_or("token.endpoint has no host")?;
        Ok(Client {
            config: config.clone(),
            dialer: Dialer::new(origin, config.egress.clone()),
            credentials: Mutex::new(credentials),
            watcher,
            is_stirred: AtomicBool::new(false),
            aside: SerialBlocking::default(),
        })
    }

    /// Whether a token of `other` is as good as one of this client.
    pub(super) fn asks_like(&self, other: &Client) -> bool {
        let read = |client: &Client| client.last().clone();
        self.config.asks_like(&other.config) && read(self) == read(other)
    }

    /// Waits until the credentials in the watched files are other ones than those read last. A file
    /// that is written anew with what was in it, or is gone, is no reason to ask for a token.
    pub(super) async fn changed(&self) {
        loop {
            // Kept, since the watch tells a change once, and this may be given up while the files
            // are read.
            if !self.is_stirred.load(Ordering::Relaxed) {
                self.watcher.changed().await;
                self.is_stirred.store(true, Ordering::Relaxed);
            }
            let read = self.read().await;
            self.is_stirred.store(false, Ordering::Relaxed);
            if read.is_some_and(|(read, _)| read != *self.last()) {
                return;
            }
        }
    }

    /// The credentials as they are now; as they were, if they cannot be read.
    pub(super) async fn credentials(&self) -> Credentials {
        let read = self.read().await;
        let mut last = self.last();
        if let Some((credentials, warnings)) = read {
            if credentials != *last {
                warnings
                    .iter()
                    .for_each(|warning| tracing::warn!("{warning}"));
            }
            *last = credentials;
        }
        last.clone()
    }

    fn last(&self) -> MutexGuard<'_, Credentials> {
        self.credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The credentials as they are now, and what is to be warned of in them.
    async fn read(&self) -> Option<(Credentials, Vec<String>)> {
        let sources = self.config.credentials.clone();
        let read = move || {
            let credentials = sources.read()?;
            let warnings = sources.warnings(&credentials);
            Ok::<_, Problem>((credentials, warnings))
        };
        let problem = match timeout(READ_TIMEOUT, self.aside.run(read)).await {
            Ok(Some(Ok(read))) => return Some(read),
            Ok(Some(Err(problem))) => problem.to_string(),
            Ok(None) => "the reading of them panicked".to_owned(),
            Err(_) => "the file system does not answer".to_owned(),
        };
        tracing::warn!(
            problem,
            "the client's credentials cannot be read; those read last are used"
        );
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn another_secret_in_the_same_file_makes_another_client() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let secret = tempfile::NamedTempFile::new().unwrap();
        let client = |text: &str| {
            std::fs::write(secret.path(), text).unwrap();
            let client_secret = format!("token.client_secret=file:{}", secret.path().display());
            let set = vec![
                "token.endpoint=http://127.0.0.1:1".to_owned(),
                "token.client_id=a".to_owned(),
                client_secret,
            ];
            Client::new(
                &load(&Sources {
                    set,
                    ..Sources::default()
                })
                .unwrap()
                .config
                .token,
            )
            .unwrap()
        };
        let (one, same, other) = (client("one"), client("one"), client("other"));
        assert!(one.asks_like(&same) && !one.asks_like(&other));
    }

    #[tokio::test]
    async fn a_change_is_not_lost_when_whoever_waits_for_it_gives_up_while_the_files_are_read() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "one").unwrap();
        let set = vec![
            "token.endpoint=http://127.0.0.1:1".to_owned(),
            "token.client_id=a".to_owned(),
            format!("token.client_secret=file:{}", secret.display()),
        ];
        let config = load(&Sources {
            set,
            ..Sources::default()
        })
        .unwrap()
        .config;
        let client = Client::new(&config.token).unwrap();
        std::fs::write(&secret, "another").unwrap();
        let (release, held) = mpsc::channel::<()>();
        let hang = client.aside.run(move || held.recv());
        let _ = timeout(Duration::from_millis(10), hang).await;
        assert!(
            timeout(Duration::from_millis(1500), client.changed())
                .await
                .is_err()
        );
        drop(release);
        timeout(Duration::from_secs(1), client.changed())
            .await
            .expect("the change is lost");
    }
}
