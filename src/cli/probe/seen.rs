//! Observations: what a probe saw, before anybody says what it means. Data only.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};

use super::{certificate::Certificate, target::Target};
use crate::clock::Timestamp;

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Observations {
    /// What was asked for; behind a redirect on its own host, where that led.
    pub(super) target: Target,
    /// When the probe began.
    pub(super) now: Timestamp,
    /// How the host was reached.
    pub(super) reach: Reach,
    /// The handshake, where there is one and it ended well or told a certificate.
    pub(super) tls: Option<TlsSeen>,
    /// What was asked, in order.
    pub(super) exchanges: Vec<Exchange>,
    /// What ended the probe before its time.
    pub(super) trouble: Option<Trouble>,
    /// Where redirects on the same host led from.
    pub(super) redirected_from: Vec<String>,
    /// Names of the fields that the operator added.
    pub(super) fields_sent: Vec<String>,
    /// Connections opened for requests.
    pub(super) connections: usize,
    /// Requests sent, unanswered ones included.
    pub(super) requests: usize,
}

/// From a name to a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    /// Of the name, in the order in which they were tried.
    pub(super) addresses: Vec<IpAddr>,
    /// How long the name took.
    pub(super) lookup: Duration,
    /// Addresses that could not be connected to, and why.
    pub(super) tried: Vec<(IpAddr, Trouble)>,
    /// The one that could.
    pub(super) connected: Option<SocketAddr>,
    /// How long the TCP connection took.
    pub(super) connect: Duration,
}

/// A TLS handshake.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsSeen {
    /// `TLS 1.3`; absent where the handshake failed.
    pub(super) version: Option<&'static str>,
    /// What was agreed on by ALPN: `h2`, `http/1.1`, or nothing.
    pub(super) alpn: Option<String>,
    /// Whether HTTP/1.1 is spoken, too; absent where it was not tried.
    pub(super) http1: Option<bool>,
    /// The server's own.
    pub(super) certificate: Option<Certificate>,
    /// How long the handshake took.
    pub(super) handshake: Duration,
}

/// Why something was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To see the answer as it is.
    Plain,
    /// To see whether it can be sent compressed.
    Encoded,
    /// To see whether the entity tag is heeded.
    IfNoneMatch,
    /// To see whether the date is heeded.
    IfModifiedSince,
    /// To see whether there is a head without a body.
    Head,
    /// To see whether there are parts.
    Range,
}

/// One request and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    /// Why it was sent.
    pub(super) purpose: Purpose,
    /// When it was sent.
    pub(super) asked_at: Timestamp,
    /// The answer.
    pub(super) answer: Answer,
    /// From the request to the head of the answer.
    pub(super) first_byte: Duration,
    /// From the request to the end of the answer.
    pub(super) total: Duration,
}

/// One answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: StatusCode,
    /// The version it came in.
    pub(super) version: Version,
    /// Its fields.
    pub(super) headers: HeaderMap,
    /// As it was sent, encoded or not; of a large one the beginning.
    pub(super) body: Bytes,
    /// How the body ended.
    pub(super) end: BodyEnd,
}

/// How a body ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// As its framing promised.
    Whole,
    /// It was not read further than the bound.
    Bound,
    /// It was not waited for any longer.
    Late,
    /// It broke off.
    Broken(String),
}

/// What keeps a probe from its answer: a closed set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The name is not known, or nobody can say.
    NoAddress(String),
    /// The name server did not answer in time.
    LookupLate,
    /// Nobody listens there.
    Refused,
    /// No way there.
    Unreachable(String),
    /// No connection in time.
    ConnectLate,
    /// The certificate is not believed.
    Certificate(CertificateTrouble),
    /// No TLS is spoken there.
    NotTls,
    /// The handshake failed.
    Tls(String),
    /// The handshake did not end in time.
    TlsLate,
    /// No head of an answer in time.
    AnswerLate,
    /// The connection was closed before an answer.
    Closed(String),
    /// What came is not HTTP.
    NotHttp(String),
}

/// Why a certificate is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CertificateTrouble {
    /// It was valid.
    Expired,
    /// It will be.
    NotYetValid,
    /// It is for other hosts.
    WrongName,
    /// Whoever signed it is not known here.
    UnknownIssuer,
    /// It was taken back.
    Revoked,
    /// Anything else, in the library's words.
    Other(String),
}

impl Observations {
    /// The answer that everything else is compared with.
    pub(super) fn first(&self) -> Option<&Exchange> {
        self.exchanges.first()
    }

    /// All answers that were asked for in this way.
    pub(super) fn of(&self, purpose: Purpose) -> impl Iterator<Item = &Exchange> {
        let is_of = move |one: &&Exchange| one.purpose == purpose;
        self.exchanges.iter().filter(is_of)
    }
}

impl Answer {
    /// A field as text; of several the first.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What a text of the vendor's may do to a terminal, taken away; cut at so many characters.
pub(super) fn shown(text: &str, chars_max: usize) -> String {
    let mut chars = text.chars().filter(|c| !c.is_control());
    let mut shown: String = chars.by_ref().take(chars_max).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}
