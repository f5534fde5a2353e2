//! The token endpoint, whose tokens have a serial number, and what the API thinks of them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::http1::Reader;

/// Short, so that tokens rotate; the proxy asks for the next one after half of it.
const LIFETIME_SECONDS: u64 = 3;

/// How long the API waits for a later token before it answers 401, so that there is one to repeat
/// the request with.
const LATER_TIMEOUT: Duration = Duration::from_millis(2_500);

/// How long a new token may take to the proxy's workers.
const DELIVERY: Duration = Duration::from_millis(20);

/// The serial number of the newest token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens(Arc<watch::Sender<u64>>);

impl Tokens {
    /// Makes another token.
    pub(crate) fn grant(&self) -> u64 {
        self.0.send_modify(|serial| *serial += 1);
        self.newest()
    }

    pub(crate) fn newest(&self) -> u64 {
        *self.0.borrow()
    }

    /// The serial number of the token that `fields` bring, if the API takes it: the newest or the
    /// one before.
    pub(crate) fn accepted(&self, fields: &HeaderMap) -> Option<u64> {
        let token = fields
            .get(AUTHORIZATION)?
            .to_str()
            .ok()?
            .strip_prefix("Bearer storm-")?;
        token
            .parse()
            .ok()
            .filter(|&serial: &u64| serial + 1 >= self.newest())
    }

    /// Waits until there is a later token than `serial`, but not for long.
    pub(crate) async fn later(&self, serial: u64) {
        let mut newest = self.0.subscribe();
        let _ = timeout(LATER_TIMEOUT, newest.wait_for(|&newest| newest > serial)).await;
        sleep(DELIVERY).await;
    }

    /// Serves tokens; where.
    pub(crate) async fn serve(&self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let tokens = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(tokens.clone().answer(stream));
            }
        });
        Ok(address)
    }

    async fn answer(self, mut stream: TcpStream) {
        let (read, mut write) = stream.split();
        let mut reader = Reader::new(read);
        while let Some(head) = reader.head(false).await {
            reader.body(&head.fields, false).await;
            let token = format!(
                r#"{{"access_token":"storm-{}","token_type":"Bearer","expires_in":{LIFETIME_SECONDS}}}"#,
                self.grant()
            );
            let response = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{token}",
                token.len()
            );
            if write.write_all(response.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
