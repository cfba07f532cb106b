//! Whether anybody is there, who they say they are, and in which HTTP they speak.

use std::{net::IpAddr, time::Duration};

use http::Version;
use serde_json::json;

use super::{
    super::{
        certificate::Certificate,
        seen::{CertificateTrouble, Exchange, Observations, TlsSeen, Trouble},
    },
    Found, count, millis, time,
};

/// A certificate with fewer days left should have been renewed.
const DAYS_FEW: i64 = 21;
/// A name that takes longer delays the first request after each pause.
const LOOKUP_SLOW: Duration = Duration::from_millis(500);

pub(super) fn reach(seen: &Observations, found: &mut Found) {
    let reach = &seen.reach;
    if !reach.addresses.is_empty() {
        let v6 = reach.addresses.iter().filter(|one| one.is_ipv6()).count();
        let v4 = reach.addresses.len() - v6;
        let is_literal = seen.target.host.trim_matches(['[', ']']).parse::<IpAddr>();
        let kinds = match (v4, v6) {
            (_, 0) => "IPv4".to_owned(),
            (0, _) => "IPv6".to_owned(),
            _ => format!("{v4} IPv4, {v6} IPv6"),
        };
        let number = count(reach.addresses.len(), "address");
        let text = match is_literal {
            Ok(_) => format!("an address, no name to look up ({kinds})"),
            Err(_) => format!("{number} ({kinds}), found in {}", time(reach.lookup)),
        };
        let shown: Vec<String> = reach.addresses.iter().map(ToString::to_string).collect();
        let value = json!({ "addresses": shown, "ipv4": v4, "ipv6": v6, "lookup_ms": millis(reach.lookup) });
        let finding = match reach.lookup > LOOKUP_SLOW {
            true => found.note("reach.addresses", text).advise(
                "the name server is slow; larder keeps addresses and looks them up behind (dns_refresh)",
            ),
            false => found.ok("reach.addresses", text),
        };
        finding.value(value);
    }
    if let Some(address) = reach.connected {
        found
            .ok(
                "reach.connect",
                format!("connected to {address} in {}", time(reach.connect)),
            )
            .value(json!({ "address": address.to_string(), "connect_ms": millis(reach.connect) }));
        for (address, why) in &reach.tried {
            found
                .warning(
                    "reach.address_down",
                    format!("{address} does not answer: {}", words(why)),
                )
                .advise("tell the vendor; larder tries all addresses at once, so it costs little")
                .value(json!({ "address": address.to_string() }));
        }
    }
    if let Some(trouble) = &seen.trouble {
        in_trouble(seen, trouble, found);
    }
}

/// What ended the probe: after the first answer a warning, before it the end.
fn in_trouble(seen: &Observations, trouble: &Trouble, found: &mut Found) {
    let name = match trouble {
        Trouble::Certificate(_) => "tls.certificate",
        Trouble::NotTls | Trouble::Tls(_) | Trouble::TlsLate => "tls.handshake",
        Trouble::AnswerLate | Trouble::Closed(_) | Trouble::NotHttp(_) => "http.answer",
        _ => "reach.connect",
    };
    let advice = advice(seen, trouble);
    if seen.exchanges.is_empty() {
        found.problem(name, words(trouble)).advise(advice);
    } else {
        let number = seen.exchanges.len();
        let after = count(number, "answer");
        found
            .warning(name, format!("after {after}: {}", words(trouble)))
            .advise("run it again: a vendor that fails now and then is what larder is for");
    }
}

fn words(trouble: &Trouble) -> String {
    match trouble {
        Trouble::NoAddress(why) => format!("the name was not found ({why})"),
        Trouble::LookupLate => "the name server did not answer in time".to_owned(),
        Trouble::Refused => "connection refused: nobody listens there".to_owned(),
        Trouble::Unreachable(why) => format!("no way there ({why})"),
        Trouble::ConnectLate => "no connection in time".to_owned(),
        Trouble::Certificate(why) => match why {
            CertificateTrouble::Expired => "its certificate has expired".to_owned(),
            CertificateTrouble::NotYetValid => "its certificate is not valid yet".to_owned(),
            CertificateTrouble::WrongName => "its certificate is for other hosts".to_owned(),
            CertificateTrouble::UnknownIssuer => {
                "its certificate was signed by somebody who is not known here".to_owned()
            }
            CertificateTrouble::Revoked => "its certificate was revoked".to_owned(),
            CertificateTrouble::Other(why) => format!("its certificate is not believed ({why})"),
        },
        Trouble::NotTls => "what answers there does not speak TLS".to_owned(),
        Trouble::Tls(why) => format!("the TLS handshake failed ({why})"),
        Trouble::TlsLate => "the TLS handshake did not end in time".to_owned(),
        Trouble::AnswerLate => "connected, and no answer came in time".to_owned(),
        Trouble::Closed(why) => format!("the connection ended before an answer ({why})"),
        Trouble::NotHttp(why) => format!("what it answers is not HTTP ({why})"),
    }
}

fn advice(seen: &Observations, trouble: &Trouble) -> String {
    let target = &seen.target;
    match trouble {
        Trouble::NoAddress(_) => format!("look for a typing error in `{}`", target.host),
        Trouble::LookupLate => "check this machine's name server (/etc/resolv.conf)".to_owned(),
        Trouble::Refused => {
            format!(
                "is {} the right port, and does the service run?",
                target.port
            )
        }
        Trouble::Unreachable(_) | Trouble::ConnectLate => {
            "a firewall, or an allow-list at the vendor's? ask for your address to be let in"
                .to_owned()
        }
        Trouble::Certificate(why) => match why {
            CertificateTrouble::UnknownIssuer => {
                "a private authority: pass its PEM file as --ca-file (`ca_file` in the config)"
                    .to_owned()
            }
            CertificateTrouble::WrongName => names(seen),
            CertificateTrouble::NotYetValid => "check this machine's clock".to_owned(),
            _ => "the vendor has to renew it; larder will not connect either".to_owned(),
        },
        Trouble::NotTls => format!("try http://{}", target.authority()),
        Trouble::Tls(_) | Trouble::TlsLate => {
            "larder speaks TLS 1.2 and 1.3; does the vendor ask for a client certificate?"
                .to_owned()
        }
        Trouble::AnswerLate => {
            "slow vendor or lost packets: try again with a longer --timeout".to_owned()
        }
        Trouble::Closed(_) | Trouble::NotHttp(_) if !target.https => {
            format!("try https://{}", target.host)
        }
        Trouble::Closed(_) | Trouble::NotHttp(_) => {
            "is it an HTTP API at all? ask the vendor for its base URL".to_owned()
        }
    }
}

fn names(seen: &Observations) -> String {
    let certificate = seen.tls.as_ref().and_then(|tls| tls.certificate.as_ref());
    let names = certificate.map_or(&[][..], |one| one.names.as_slice());
    match names {
        [] => "use the host name that the vendor documents".to_owned(),
        names => {
            let some: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
            format!("it is for {}; use one of these", some.join(", "))
        }
    }
}

// --- TLS ---

pub(super) fn tls(seen: &Observations, found: &mut Found) {
    if !seen.target.https {
        if seen.reach.connected.is_some() && !is_this_machine(seen) {
            found
                .warning(
                    "tls.none",
                    "in the clear: anybody on the way reads and changes it",
                )
                .advise(format!("ask for https://{}", seen.target.host));
        }
        return;
    }
    let Some(tls) = &seen.tls else {
        return;
    };
    if let Some(version) = tls.version {
        found
            .ok(
                "tls.version",
                format!("{version}, handshake in {}", time(tls.handshake)),
            )
            .value(json!({ "version": version, "handshake_ms": millis(tls.handshake) }));
    }
    if let Some(certificate) = &tls.certificate {
        certificate_says(seen, tls, certificate, found);
    }
}

fn is_this_machine(seen: &Observations) -> bool {
    seen.reach
        .connected
        .is_some_and(|address| address.ip().is_loopback())
}

fn certificate_says(
    seen: &Observations,
    tls: &TlsSeen,
    certificate: &Certificate,
    found: &mut Found,
) {
    let days = certificate.days_left(seen.now);
    let left = match days {
        None => "an end that cannot be read".to_owned(),
        Some(days) if days < 0 => {
            format!("expired {} ago", count(days.unsigned_abs() as usize, "day"))
        }
        Some(days) => format!("{} left", count(days.unsigned_abs() as usize, "day")),
    };
    let text = format!(
        "certificate of {} by {}, {left}",
        certificate.subject, certificate.issuer
    );
    let is_short = tls.version.is_some() && days.is_some_and(|days| days < DAYS_FEW);
    let finding = match is_short {
        true => found
            .warning("tls.certificate_subject", text)
            .advise("ask the vendor when it is renewed"),
        false => found.add(
            match tls.version {
                Some(_) => super::Level::Ok,
                None => super::Level::Note,
            },
            "tls.certificate_subject",
            text,
        ),
    };
    finding.value(json!({
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "names": certificate.names,
        "days_left": days,
    }));
}

// --- HTTP ---

pub(super) fn http(seen: &Observations, found: &mut Found) {
    let Some(first) = seen.first() else {
        return;
    };
    let answered = version(first);
    let offers = seen
        .tls
        .as_ref()
        .map(|tls| (tls.alpn.as_deref(), tls.http1));
    let text = match offers {
        None => format!("{answered} in the clear (HTTP/2 is offered over TLS only)"),
        Some((Some("h2"), Some(true))) => "HTTP/2 and HTTP/1.1, by ALPN".to_owned(),
        Some((Some("h2"), _)) => "HTTP/2 by ALPN, and no HTTP/1.1".to_owned(),
        Some(_) => format!("{answered}; HTTP/2 is not offered"),
    };
    found.ok("http.versions", text).value(json!({
        "answered": answered,
        "http2": first.answer.version == Version::HTTP_2,
        "http1": first.answer.version < Version::HTTP_2 || matches!(offers, Some((_, Some(true)))),
    }));
    if seen.exchanges.len() < 2 {
        return;
    }
    let (opened, asked) = (seen.connections, seen.exchanges.len());
    let asked = count(asked, "request");
    let finding = match opened {
        1 => found.ok(
            "http.keep_alive",
            format!("connections are kept: {asked} over one"),
        ),
        _ => found
            .warning(
                "http.keep_alive",
                format!("connections are not kept: {opened} for {asked}"),
            )
            .advise("each request pays for a new connection: a hit in the store saves that, too"),
    };
    finding.value(json!({ "connections": opened, "kept": opened == 1 }));
}

fn version(exchange: &Exchange) -> &'static str {
    match exchange.answer.version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
