//! In-memory connections for tests in simulated time.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Mutex, mpsc};

use super::Accept;

/// 16 KiB: the buffer in each direction. A socket's buffer is larger.
const BUFFER: usize = 16 * 1024;

/// The server's end: it accepts the connections.
pub(in crate::http) struct Memory(Mutex<mpsc::UnboundedReceiver<DuplexStream>>);

/// The clients' end: it opens the connections.
#[derive(Clone)]
pub(in crate::http) struct Network(mpsc::UnboundedSender<DuplexStream>);

pub(in crate::http) fn network() -> (Memory, Network) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Memory(Mutex::new(receiver)), Network(sender))
}

impl Accept for Memory {
    type Connection = DuplexStream;

    async fn accept(&self) -> io::Result<DuplexStream> {
        match self.0.lock().await.recv().await {
            Some(connection) => Ok(connection),
            None => std::future::pending().await,
        }
    }
}

impl Network {
    pub(in crate::http) fn connect(&self) -> DuplexStream {
        let (ours, theirs) = duplex(BUFFER);
        self.0.send(theirs).expect("the server runs");
        ours
    }

    /// Connects and sends all bytes. Waits for the server to read what does not fit into the buffer, and panics if it closes before that.
    pub(in crate::http) async fn send(&self, bytes: &[u8]) -> DuplexStream {
        let mut connection = self.connect();
        for chunk in bytes.chunks(BUFFER) {
            connection.write_all(chunk).await.expect("it is read");
        }
        connection
    }

    /// Sends one request over HTTP/1.1 and reads to the end of the connection.
    pub(in crate::http) async fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let mut connection = self.send(request.as_bytes()).await;
        to_end(&mut connection).await
    }
}

/// Reads until the server closes the connection.
pub(in crate::http) async fn to_end(connection: &mut DuplexStream) -> String {
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}
