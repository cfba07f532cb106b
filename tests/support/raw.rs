//! Both ends as bare connections: a test writes and reads the bytes itself, on either side of the proxy.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::within;

/// Longest wait for bytes that have to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// An origin that only listens; the test plays it.
pub struct RawOrigin {
    listener: TcpListener,
    url: String,
}

/// One end of a connection.
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl RawOrigin {
    /// On a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        Self { listener, url }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next connection.
    pub async fn accept(&self) -> Wire {
        let accepted = within(PATIENCE, "a connection comes", self.listener.accept()).await;
        Wire::new(accepted.expect("it is accepted").0)
    }

    /// The next connection and the head of its first request.
    pub async fn request(&self) -> (Wire, String) {
        let mut wire = self.accept().await;
        let head = wire.head().await;
        (wire, head)
    }

    /// Whether a connection comes within this time.
    pub async fn is_asked_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.listener.accept())
            .await
            .is_ok()
    }
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket option");
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// To this address.
    pub async fn connect(addr: SocketAddr) -> Self {
        let connecting = TcpStream::connect(addr);
        let stream = within(PATIENCE, "a connection", connecting).await;
        Self::new(stream.expect("it is accepted"))
    }

    /// Sends these bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sending = self.stream.write_all(bytes.as_ref());
        within(PATIENCE, "bytes leave", sending)
            .await
            .expect("the other side is there");
    }

    /// Sends what it can of these bytes until the other side is gone.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let sending = self.stream.write_all(bytes.as_ref());
        let _gone = within(PATIENCE, "bytes leave", sending).await;
    }

    /// Everything up to and with this text.
    pub async fn until(&mut self, end: &str) -> String {
        loop {
            let found = self
                .read
                .windows(end.len())
                .position(|at| at == end.as_bytes());
            if let Some(at) = found {
                let rest = self.read.split_off(at + end.len());
                let got = std::mem::replace(&mut self.read, rest);
                return String::from_utf8_lossy(&got).into_owned();
            }
            let more = self.more().await;
            assert!(more, "ended before {end:?}: {:?}", self.so_far());
        }
    }

    /// A head, its empty line included.
    pub async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// So many bytes.
    pub async fn exactly(&mut self, len: usize) -> Vec<u8> {
        while self.read.len() < len {
            let more = self.more().await;
            assert!(more, "ended before {len} bytes: {:?}", self.so_far());
        }
        let rest = self.read.split_off(len);
        std::mem::replace(&mut self.read, rest)
    }

    /// Everything up to the end of the connection, however it ends.
    pub async fn rest(mut self) -> String {
        while self.more().await {}
        self.so_far()
    }

    /// Whether nothing comes for this long.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        self.read.is_empty() && tokio::time::timeout(time, self.more()).await.is_err()
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.expect("it is open");
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Whether there was more.
    async fn more(&mut self) -> bool {
        let reading = self.stream.read_buf(&mut self.read);
        matches!(within(PATIENCE, "bytes come", reading).await, Ok(read) if read > 0)
    }
}
