//! Streaming: a body larger than every limit goes through in constant memory, at the pace of whoever reads it.
//!
//! Alone in its file, because it measures the memory of the whole process. The vendor here is a bare socket that counts
//! what it could write: what it wrote and nobody read is somewhere in between.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use larder::clock::Clock;
use support::{Setup, request, vendor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const MIB: u64 = 1 << 20;
const BODY: u64 = 256 * MIB;
const PIECE: usize = 64 * 1024;
/// The content repeats after this many bytes, which divides no buffer: a piece out of place shows.
const CYCLE: usize = 251;

/// A reader that does not read holds up this much at most: socket buffers of two connections, and a window or two.
const UNREAD_MAX: u64 = 32 * MIB;
/// What the proxy may need on top of what it had.
const MEMORY_MAX: u64 = 24 * MIB;

/// Enough of the content to compare any piece with.
fn pattern() -> Vec<u8> {
    (0..CYCLE + 1024 * 1024)
        .map(|at| (at % CYCLE) as u8)
        .collect()
}

struct Origin {
    addr: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    asked: AtomicU64,
    written: AtomicU64,
}

impl Origin {
    /// Answers every connection with one large body.
    async fn start(chunked: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((line, _)) = listener.accept().await {
                let counts = Arc::clone(&counted);
                // It ends when the client leaves.
                tokio::spawn(async move { answer(line, chunked, &counts).await.ok() });
            }
        });
        Self { addr, counts }
    }

    fn written(&self) -> u64 {
        self.counts.written.load(Ordering::Relaxed)
    }
}

async fn answer(mut line: TcpStream, chunked: bool, counts: &Counts) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(line.read_u8().await?);
    }
    counts.asked.fetch_add(1, Ordering::Relaxed);
    let framing = match chunked {
        true => "Transfer-Encoding: chunked".to_owned(),
        false => format!("Content-Length: {BODY}"),
    };
    let head = format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{framing}\r\n\r\n");
    line.write_all(head.as_bytes()).await?;
    let content = pattern();
    for at in (0..BODY).step_by(PIECE) {
        let from = (at % CYCLE as u64) as usize;
        if chunked {
            line.write_all(format!("{PIECE:x}\r\n").as_bytes()).await?;
        }
        line.write_all(&content[from..from + PIECE]).await?;
        if chunked {
            line.write_all(b"\r\n").await?;
        }
        counts.written.fetch_add(PIECE as u64, Ordering::Relaxed);
    }
    if chunked {
        line.write_all(b"0\r\n\r\n").await?;
    }
    Ok(())
}

/// Memory of this process now, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("a number of KiB") * 1024
}

/// Waits until the vendor has written nothing for a while, or more than it should have been able to.
async fn written_at_standstill(origin: &Origin) -> u64 {
    const STILL: Duration = Duration::from_millis(300);
    let (mut written, mut since) = (origin.written(), Instant::now());
    while since.elapsed() < STILL && written <= UNREAD_MAX {
        // The pace of looking: what is waited for is that nothing moves.
        tokio::time::sleep(Duration::from_millis(10)).await;
        if origin.written() != written {
            (written, since) = (origin.written(), Instant::now());
        }
    }
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_larger_than_every_limit_streams_at_the_readers_pace_in_constant_memory() {
    let content = pattern();
    for chunked in [false, true] {
        let origin = Origin::start(chunked).await;
        let toml = format!(
            "[store]\nbody_max = \"1 MiB\"\n[upstream.files]\nendpoints = [\"http://{}\"]\n\
             [[route]]\npath = \"/{{*rest}}\"\nupstream = \"files\"\nwhole_bytes_max = \"256 KiB\"\n",
            origin.addr
        );
        let proxy = Setup::new(&vendor(&Clock::System).await, &toml)
            .start()
            .await;
        let before = resident();
        let ask = || request(Method::GET, "/large", &[]);
        let mut body = proxy.client.open(ask()).await.unwrap();
        assert_eq!(body.head.status, 200);

        let unread = written_at_standstill(&origin).await;
        assert!(
            unread <= UNREAD_MAX,
            "{unread} bytes taken in for a reader who does not read"
        );
        let (mut read, mut most) = (0, 0);
        while let Some(piece) = body.piece().await {
            let piece = piece.unwrap();
            let from = (read % CYCLE as u64) as usize;
            assert!(
                piece == content[from..from + piece.len()],
                "wrong bytes at {read}"
            );
            if read / MIB != (read + piece.len() as u64) / MIB {
                most = most.max(resident().saturating_sub(before));
            }
            read += piece.len() as u64;
        }
        assert_eq!(read, BODY);
        assert!(
            most < MEMORY_MAX,
            "{most} bytes of memory, chunked: {chunked}"
        );

        drop(proxy.client.open(ask()).await.unwrap());
        let asked = origin.counts.asked.load(Ordering::Relaxed);
        assert_eq!(asked, 2, "it was not to be stored");
    }
}
