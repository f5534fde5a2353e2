//! Token endpoint whose tokens have serial numbers, and their verification by the API.

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

/// Short, so that tokens rotate; the proxy requests the next one after half of it.
const LIFETIME_SECONDS: u64 = 3;

/// Time that the API waits for a newer token before a 401, so that the proxy has one to repeat the
/// request with.
const NEWER_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Time for a new token to reach the proxy's workers.
const DELIVERY_TIME: Duration = Duration::from_millis(20);

/// The serial number of the newest token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens(Arc<watch::Sender<u64>>);

impl Tokens {
    /// Issues a new token.
    pub(crate) fn grant(&self) -> u64 {
        self.0.send_modify(|serial| *serial += 1);
        self.newest()
    }

    pub(crate) fn newest(&self) -> u64 {
        *self.0.borrow()
    }

    /// The serial number of the token in `fields`, if the API accepts it: the newest or the one
    /// before.
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

    /// Waits for a token newer than `serial`, but not for long.
    pub(crate) async fn wait_for_newer(&self, serial: u64) {
        let mut newest = self.0.subscribe();
        let _ = timeout(NEWER_TIMEOUT, newest.wait_for(|&newest| newest > serial)).await;
        sleep(DELIVERY_TIME).await;
    }

    /// Starts to serve. Returns the address.
    pub(crate) async fn serve(&self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let tokens = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(tokens.clone().respond(stream));
            }
        });
        Ok(address)
    }

    async fn respond(self, mut stream: TcpStream) {
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
