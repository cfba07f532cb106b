//! The vendors: HTTP/1.1 by hand, byte by byte, so that everything about it can be broken.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use larder::upstream::network::{Connecting, Stream, Transport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::sleep,
};

use crate::{
    network::{Wire, pair, while_held},
    schedule::Fault,
    simulation::Simulation,
    world::{self, Kind, ROUTES, UPSTREAMS},
};

/// A request as a vendor reads it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub upstream: usize,
    pub endpoint: usize,
    pub method: String,
    pub path: String,
    pub fields: Vec<(String, String)>,
}

impl Asked {
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

// --- Connecting ---

/// What stands where the network would.
pub struct Vendors(pub Arc<Simulation>);

impl Transport for Vendors {
    fn connect(&self, address: SocketAddr) -> Connecting {
        let endpoint = world::endpoint_at(address.ip());
        let sim = Arc::clone(&self.0);
        Box::pin(async move {
            let (upstream, endpoint) =
                endpoint.ok_or_else(|| io::Error::other("no such vendor"))?;
            connect(sim, upstream, endpoint).await
        })
    }
}

async fn connect(sim: Arc<Simulation>, upstream: usize, endpoint: usize) -> io::Result<Stream> {
    let takes = sim.vendor_dice(|dice| 1 + dice.next() % 4);
    sleep(Duration::from_millis(takes)).await;
    let struck = sim.strikes(upstream, endpoint);
    sim.book().contacted(sim.at(), upstream);
    if struck.contains(&Fault::Refuse) {
        sim.note(format_args!("{}.{endpoint} refuses", UPSTREAMS[upstream]));
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    if struck.contains(&Fault::ConnectHang) {
        sim.note(format_args!(
            "{}.{endpoint} does not connect",
            UPSTREAMS[upstream]
        ));
        std::future::pending::<()>().await;
    }
    let (ours, theirs, wire) = pair();
    let number = sim.book().connected(upstream);
    tokio::spawn(async move {
        converse(&sim, (upstream, endpoint), number, theirs, &wire).await;
        sim.book().disconnected(upstream);
    });
    Ok(Stream::Other(Box::new(ours)))
}

// --- One connection ---

async fn converse(
    sim: &Arc<Simulation>,
    (upstream, endpoint): (usize, usize),
    number: u64,
    mut stream: DuplexStream,
    wire: &Arc<Wire>,
) {
    let mut read = Vec::new();
    loop {
        let cut = pin!(sim.cut(upstream, endpoint));
        let asked = tokio::select! {
            biased;
            () = cut => {
                sim.note(format_args!("{} cuts connection {number}", UPSTREAMS[upstream]));
                return wire.reset();
            }
            asked = read_request(&mut stream, &mut read, upstream, endpoint) => asked,
        };
        let Some(asked) = asked else {
            return;
        };
        let ticket = sim.asked(&asked, wire);
        let cut = pin!(sim.cut(upstream, endpoint));
        let answered = tokio::select! {
            biased;
            () = cut => {
                wire.reset();
                Some(After::End)
            }
            answered = while_held(wire, answer(sim, &asked, &mut stream, wire)) => answered,
        };
        sim.answered(ticket, answered.is_some());
        match answered {
            Some(After::KeepAlive) => {}
            Some(After::End) | None => return,
        }
    }
}

/// The next request, its content read too. `None`: there will be none.
async fn read_request(
    stream: &mut DuplexStream,
    read: &mut Vec<u8>,
    upstream: usize,
    endpoint: usize,
) -> Option<Asked> {
    let end = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(read.drain(..end).collect()).ok()?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let fields = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let asked = Asked {
        upstream,
        endpoint,
        method,
        path,
        fields,
    };
    let content = asked.field("content-length").unwrap_or("0");
    let content: usize = content.parse().ok()?;
    while read.len() < content {
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
    read.drain(..content);
    Some(asked)
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    KeepAlive,
    End,
}

async fn answer(
    sim: &Arc<Simulation>,
    asked: &Asked,
    stream: &mut DuplexStream,
    wire: &Wire,
) -> After {
    let struck = sim.strikes(asked.upstream, asked.endpoint);
    let mut takes = sim.vendor_dice(|dice| 3 + dice.next() % 22);
    takes += struck
        .iter()
        .map(|fault| match fault {
            Fault::SlowHead(millis) | Fault::Latency(millis) => *millis,
            _ => 0,
        })
        .sum::<u64>();
    sleep(Duration::from_millis(takes)).await;
    let response = response(sim, asked);
    for fault in &struck {
        match fault {
            Fault::Refuse | Fault::Close => return After::End,
            Fault::Reset => {
                wire.reset();
                return After::End;
            }
            Fault::ConnectHang | Fault::Hang => std::future::pending::<()>().await,
            Fault::Garbage => {
                let _ = stream.write_all(b"\x00\xff{\"price\":0}\r\n\r\n").await;
                return After::End;
            }
            Fault::HalfHead(bytes) => {
                let _ = stream.write_all(&response.head.as_bytes()[..*bytes]).await;
                std::future::pending::<()>().await;
            }
            Fault::Status(code, retry_after) => {
                return say(stream, &refusal(*code, *retry_after, false)).await;
            }
            Fault::StorableStatus(code) => {
                return say(stream, &refusal(*code, None, true)).await;
            }
            Fault::Flap(period) if (sim.at() / period).is_multiple_of(2) => {
                return say(stream, &refusal(503, None, false)).await;
            }
            Fault::ResetInBody | Fault::Truncate if !response.body.is_empty() => {
                let part = response.body.len() / 2;
                let _ = stream.write_all(response.head.as_bytes()).await;
                let _ = stream.write_all(&response.body[..part]).await;
                // So that the beginning is read before the end is met.
                sleep(Duration::from_millis(5)).await;
                if *fault == Fault::ResetInBody {
                    wire.reset();
                }
                return After::End;
            }
            Fault::Drip(pause) => return drip(stream, &response, *pause).await,
            _ => {}
        }
    }
    say(stream, &response).await
}

// --- Responses ---

struct Response {
    head: String,
    body: Vec<u8>,
}

async fn say(stream: &mut DuplexStream, response: &Response) -> After {
    let said = async {
        stream.write_all(response.head.as_bytes()).await?;
        stream.write_all(&response.body).await
    };
    match said.await {
        Ok(()) => After::KeepAlive,
        Err(_) => After::End,
    }
}

async fn drip(stream: &mut DuplexStream, response: &Response, pause: u64) -> After {
    if stream.write_all(response.head.as_bytes()).await.is_err() {
        return After::End;
    }
    for piece in response.body.chunks(response.body.len() / 8 + 1) {
        sleep(Duration::from_millis(pause)).await;
        if stream.write_all(piece).await.is_err() {
            return After::End;
        }
    }
    After::KeepAlive
}

fn refusal(code: u16, retry_after: Option<u64>, storable: bool) -> Response {
    let body = format!("{{\"error\":{code}}}").into_bytes();
    let mut head = format!("HTTP/1.1 {code} No\r\ncontent-length: {}\r\n", body.len());
    if let Some(secs) = retry_after {
        head += &format!("retry-after: {secs}\r\n");
    }
    if storable {
        head += "cache-control: public, max-age=60\r\n";
    }
    head += "\r\n";
    Response { head, body }
}

/// What a vendor that is well says.
fn response(sim: &Simulation, asked: &Asked) -> Response {
    let at = sim.at();
    let date = httpdate::fmt_http_date(world::START.after(Duration::from_millis(at)).into());
    let mut head = format!("HTTP/1.1 200 OK\r\ndate: {date}\r\n");
    let Some((route, rest)) = world::route_of(&asked.path) else {
        let head = head.replace("200 OK", "404 Not Found") + "content-length: 0\r\n\r\n";
        let body = Vec::new();
        return Response { head, body };
    };
    let user = asked.field("authorization").unwrap_or("-");
    if ROUTES[route].kind == Kind::Orders {
        let body = world::document(&asked.path, 1, user).into_bytes();
        let head = head.replace("200 OK", "201 Created");
        let head = format!("{head}content-length: {}\r\n\r\n", body.len());
        return Response { head, body };
    }
    let key: usize = rest.parse().unwrap_or_default();
    let version = sim.truth.version(route, key, at);
    let fields = match (ROUTES[route].kind, key % 3) {
        (Kind::Overridden, 0) => "cache-control: no-cache\r\n",
        (Kind::Overridden, 1) => "cache-control: max-age=1\r\n",
        (Kind::ByOrigin, _) => "cache-control: max-age=5\r\n",
        (Kind::Private, 0) => "cache-control: private, max-age=60\r\n",
        (Kind::Private, 1) => "cache-control: max-age=60\r\nset-cookie: session=1\r\n",
        _ => "",
    };
    head += fields;
    let etag = format!("\"{version}\"");
    if key.is_multiple_of(2) {
        head += &format!("etag: {etag}\r\n");
        if ROUTES[route].is_shared() && asked.field("if-none-match") == Some(&etag) {
            let head = head.replace("200 OK", "304 Not Modified") + "\r\n";
            let body = Vec::new();
            return Response { head, body };
        }
    }
    let mut body = world::document(&asked.path, version, user).into_bytes();
    if key % 4 == 3 {
        head += "transfer-encoding: chunked\r\n\r\n";
        body = chunked(&body);
    } else {
        head += &format!("content-length: {}\r\n\r\n", body.len());
    }
    if asked.method == "HEAD" {
        body.clear();
    }
    Response { head, body }
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(1_000) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
