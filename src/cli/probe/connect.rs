//! Connect: from a name to a connection that speaks HTTP, one step after another, so that each has its own time and its
//! own words when it fails.
//!
//! Not the proxy's client: that races addresses and keeps connections. Whom to believe is the same (`upstream/tls.rs`).

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, ProtocolVersion, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    certificate::Certificate,
    seen::{CertificateTrouble, Reach, TlsSeen, Trouble, shown},
    target::Target,
};
use crate::upstream::{
    UpstreamError,
    tls::{self, Trust},
};

/// Addresses of a name that are tried; a vendor with more than these down is down.
const ADDRESSES_MAX: usize = 4;
/// What is offered by ALPN, as the proxy does.
const BOTH: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Bytes both ways, in the clear or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, and whether HTTP/2 was agreed on for it.
pub(super) struct Connected {
    pub(super) stream: Box<dyn Stream>,
    pub(super) http2: bool,
}

/// Opens connections to one target.
pub(super) struct Dialer {
    patience: Duration,
    /// Present where the target is asked over TLS.
    tls: Option<Tls>,
}

struct Tls {
    config: ClientConfig,
    name: ServerName<'static>,
    witness: Arc<Witness>,
}

// --- Dialer ---

impl Dialer {
    /// A dialer that waits at most `patience` for each step.
    ///
    /// # Errors
    ///
    /// Where there is nobody to trust, or the host's name cannot stand in a certificate.
    pub(super) fn new(
        target: &Target,
        ca_file: Option<&Path>,
        patience: Duration,
    ) -> Result<Self, String> {
        if !target.https {
            return Ok(Self {
                patience,
                tls: None,
            });
        }
        let trust = ca_file.map_or(Trust::System, Trust::File);
        let witness = Arc::new(Witness::new(trust).map_err(|error| error.to_string())?);
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        let name = ServerName::try_from(bare(&target.host).to_owned());
        let name = name.map_err(|_| {
            format!(
                "`{}` is no name that a certificate could be for",
                target.host
            )
        })?;
        Ok(Self {
            patience,
            tls: Some(Tls {
                config,
                name,
                witness,
            }),
        })
    }

    /// Looks the name up and connects to the first of its addresses that can be.
    pub(super) async fn reach(&self, target: &Target) -> (Reach, Result<TcpStream, Trouble>) {
        let mut reach = Reach::default();
        let began = Instant::now();
        let found = lookup(target, self.patience).await;
        reach.lookup = began.elapsed();
        let addresses = match found {
            Ok(addresses) => addresses,
            Err(trouble) => return (reach, Err(trouble)),
        };
        reach.addresses = addresses.iter().map(SocketAddr::ip).collect();
        let mut last = Trouble::NoAddress("the name has no address".to_owned());
        for address in addresses.iter().take(ADDRESSES_MAX) {
            let began = Instant::now();
            match self.tcp(*address).await {
                Ok(stream) => {
                    reach.connect = began.elapsed();
                    reach.connected = Some(*address);
                    return (reach, Ok(stream));
                }
                Err(trouble) => {
                    reach.tried.push((address.ip(), trouble.clone()));
                    last = trouble;
                }
            }
        }
        (reach, Err(last))
    }

    /// Connects to this address.
    pub(super) async fn tcp(&self, address: SocketAddr) -> Result<TcpStream, Trouble> {
        match timeout(self.patience, TcpStream::connect(address)).await {
            Err(_late) => Err(Trouble::ConnectLate),
            Ok(Err(error)) => Err(unconnected(&error)),
            Ok(Ok(stream)) => {
                // Latency is measured: nothing waits for more to send.
                let _ = stream.set_nodelay(true);
                Ok(stream)
            }
        }
    }

    /// Speaks TLS over it where the target says so, and says what the handshake told.
    pub(super) async fn secure(
        &self,
        stream: TcpStream,
    ) -> (Option<TlsSeen>, Result<Connected, Trouble>) {
        let Some(tls) = &self.tls else {
            let stream = Box::new(stream);
            let http2 = false;
            return (None, Ok(Connected { stream, http2 }));
        };
        let (seen, stream) = tls.handshake(stream, &BOTH, self.patience).await;
        let connected = stream.map(|stream| Connected {
            stream: Box::new(stream),
            http2: seen.alpn.as_deref() == Some("h2"),
        });
        (Some(seen), connected)
    }

    /// Whether HTTP/1.1 is spoken where HTTP/2 was agreed on: one handshake more, and no request.
    pub(super) async fn speaks_http1(&self, address: SocketAddr) -> Option<bool> {
        let tls = self.tls.as_ref()?;
        let stream = self.tcp(address).await.ok()?;
        let (seen, stream) = tls.handshake(stream, &BOTH[1..], self.patience).await;
        // RFC 7301 3.2: who knows none of what is offered ends the handshake; who does not know ALPN speaks HTTP/1.1.
        Some(stream.is_ok() && seen.alpn.is_none_or(|alpn| alpn == "http/1.1"))
    }
}

impl Tls {
    async fn handshake(
        &self,
        stream: TcpStream,
        alpn: &[&[u8]],
        patience: Duration,
    ) -> (TlsSeen, Result<TlsStream<TcpStream>, Trouble>) {
        let mut config = self.config.clone();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let began = Instant::now();
        let connecting = TlsConnector::from(Arc::new(config)).connect(self.name.clone(), stream);
        let result = timeout(patience, connecting).await;
        let mut seen = TlsSeen {
            handshake: began.elapsed(),
            certificate: self.witness.certificate(),
            ..TlsSeen::default()
        };
        let stream = match result {
            Err(_late) => return (seen, Err(Trouble::TlsLate)),
            Ok(Err(error)) => return (seen, Err(insecure(&error))),
            Ok(Ok(stream)) => stream,
        };
        let (_, session) = stream.get_ref();
        seen.version = session.protocol_version().map(|version| match version {
            ProtocolVersion::TLSv1_2 => "TLS 1.2",
            ProtocolVersion::TLSv1_3 => "TLS 1.3",
            _ => "another TLS",
        });
        let agreed = session.alpn_protocol();
        seen.alpn = agreed.map(|name| shown(&String::from_utf8_lossy(name), 20));
        (seen, Ok(stream))
    }
}

/// Without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

async fn lookup(target: &Target, patience: Duration) -> Result<Vec<SocketAddr>, Trouble> {
    let host = bare(&target.host);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, target.port)]);
    }
    match timeout(patience, tokio::net::lookup_host((host, target.port))).await {
        Err(_late) => Err(Trouble::LookupLate),
        Ok(Err(error)) => Err(Trouble::NoAddress(error.to_string())),
        Ok(Ok(addresses)) => Ok(addresses.collect()),
    }
}

fn unconnected(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Trouble::Refused,
        io::ErrorKind::TimedOut => Trouble::ConnectLate,
        _ => Trouble::Unreachable(error.to_string()),
    }
}

fn insecure(error: &io::Error) -> Trouble {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => Trouble::Certificate(distrust(why)),
        Some(rustls::Error::InvalidMessage(_)) => Trouble::NotTls,
        Some(other) => Trouble::Tls(shown(&other.to_string(), 200)),
        None => Trouble::Tls(shown(&error.to_string(), 200)),
    }
}

fn distrust(why: &CertificateError) -> CertificateTrouble {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateTrouble::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateTrouble::NotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateTrouble::WrongName
        }
        CertificateError::UnknownIssuer => CertificateTrouble::UnknownIssuer,
        CertificateError::Revoked => CertificateTrouble::Revoked,
        other => CertificateTrouble::Other(shown(&other.to_string(), 200)),
    }
}

// --- Witness ---

/// Judges certificates as rustls does, and remembers the one it saw: one that is not believed is worth showing, too.
#[derive(Debug)]
struct Witness {
    judge: Arc<WebPkiServerVerifier>,
    seen: Mutex<Option<Certificate>>,
}

impl Witness {
    fn new(trust: Trust<'_>) -> Result<Self, UpstreamError> {
        let roots = Arc::new(tls::roots(trust)?);
        let provider = Arc::new(ring::default_provider());
        let judge = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        let judge = judge.map_err(|error| {
            UpstreamError::Tls(rustls::Error::General(format!("no verifier: {error}")))
        })?;
        Ok(Self {
            judge,
            seen: Mutex::default(),
        })
    }

    fn certificate(&self) -> Option<Certificate> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Certificate::read(end_entity);
        self.judge
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}
