//! Content codings of answers that are judged: which ones the upstream is asked for, and how they are undone.
//!
//! Pure. Here `gzip` and `deflate` are read (RFC 9110 8.4.1); the upstream is asked for `gzip` at most, and only where the
//! client takes it: what it sends is passed on as it came.
//!
//! # Invariants
//!
//! - Decoding never holds more than the bound, whatever the content says of its size: a bomb is found out while it goes off.
//! - What is cut off, or has something behind its end, is a breach, not what could be read of it.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status, bufread::MultiGzDecoder};
use http::{HeaderMap, HeaderValue, header};

use super::{Breach, Kind};

/// Most codings that are undone one after another. Nobody sends two.
const CODINGS_MAX: usize = 4;
/// Bytes that are decoded at a time.
const STEP_BYTES: usize = 32 << 10;

const GZIP: HeaderValue = HeaderValue::from_static("gzip");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// Why content could not be decoded.
enum Undecodable {
    /// It is larger than the bound.
    TooLarge,
    /// It is not what it says it is.
    Broken(String),
}

// --- Accept-Encoding ---

/// Asks for what both the client and whoever judges can read: `gzip` where the client takes it, `identity` otherwise
/// (RFC 9110 12.5.3).
pub fn restrict_accept_encoding(headers: &mut HeaderMap) {
    let takes_gzip = takes_gzip(headers);
    let value = if takes_gzip { GZIP } else { IDENTITY };
    headers.insert(header::ACCEPT_ENCODING, value);
}

/// Whether the client says that it takes gzip, and does not like identity better. Who says nothing would have to take
/// anything; many do not.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    let lines = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    for item in lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
    {
        let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
        let weight = Some(weight(parameters));
        match coding.trim() {
            coding if is_gzip(coding) => gzip = gzip.max(weight),
            coding if coding.eq_ignore_ascii_case("identity") => identity = weight,
            "*" => any = weight,
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// A weight in thousandths (RFC 9110 12.4.2); 0 where it cannot be read.
fn weight(parameters: &str) -> u16 {
    let Some((name, value)) = parameters.split_once('=') else {
        return 1000;
    };
    let weight = value
        .split(';')
        .next()
        .and_then(|value| value.trim().parse::<f32>().ok());
    match weight {
        Some(weight) if name.trim().eq_ignore_ascii_case("q") && (0.0..=1.0).contains(&weight) => {
            (weight * 1000.0).round() as u16
        }
        _ => 0,
    }
}

fn is_gzip(coding: &str) -> bool {
    // RFC 9110 8.4.1.3: both are the same.
    coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip")
}

// --- Content-Encoding ---

/// Whether content has to be decoded before it can be read.
pub fn is_encoded(headers: &HeaderMap) -> bool {
    match codings(headers) {
        Ok(codings) => !codings.is_empty(),
        Err(_) => true,
    }
}

/// The codings that were applied, in the order in which they were; without `identity`.
fn codings(headers: &HeaderMap) -> Result<Vec<&str>, Breach> {
    let mut codings = Vec::new();
    for line in headers.get_all(header::CONTENT_ENCODING) {
        let Ok(line) = line.to_str() else {
            return Err(unreadable("its `Content-Encoding` cannot be read"));
        };
        let words = line.split(',').map(str::trim);
        codings.extend(
            words.filter(|word| !word.is_empty() && !word.eq_ignore_ascii_case("identity")),
        );
    }
    Ok(codings)
}

/// The content without its codings. Shares the body where there is none.
///
/// # Errors
///
/// `encoding` where it is encoded otherwise, cut off or damaged; `too_complex` where it is larger than `bytes_max`.
pub fn decode(headers: &HeaderMap, body: &Bytes, bytes_max: u64) -> Result<Bytes, Breach> {
    let too_large = || {
        let message = format!("it is larger than {bytes_max} bytes (`body_max`)");
        Breach::new(Kind::TooComplex, "body_max", message)
    };
    let codings = codings(headers)?;
    if codings.len() > CODINGS_MAX {
        let message = format!("it is encoded {} times", codings.len());
        return Err(Breach::new(Kind::TooComplex, "encoding", message));
    }
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let mut body = body.clone();
    for coding in codings.iter().rev() {
        let decoded = match *coding {
            coding if is_gzip(coding) => gunzip(&body, bytes_max),
            coding if coding.eq_ignore_ascii_case("deflate") => inflate(&body, bytes_max),
            other => {
                let other: String = other.chars().take(32).collect();
                return Err(unreadable(format!(
                    "it is encoded as `{other}`, and only gzip and deflate are read here"
                )));
            }
        };
        body = match decoded {
            Ok(decoded) => decoded.into(),
            Err(Undecodable::TooLarge) => return Err(too_large()),
            Err(Undecodable::Broken(why)) => {
                return Err(unreadable(format!("it is no whole {coding}: {why}")));
            }
        };
    }
    if body.len() > bytes_max {
        return Err(too_large());
    }
    Ok(body)
}

fn unreadable(message: impl Into<String>) -> Breach {
    Breach::new(Kind::Encoding, "encoding", message)
}

/// Several members one after another are one content (RFC 1952 2.2).
fn gunzip(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Undecodable> {
    let mut decoder = MultiGzDecoder::new(body);
    let (mut decoded, mut step) = (Vec::new(), vec![0; STEP_BYTES.min(bytes_max + 1)]);
    loop {
        let read = decoder
            .read(&mut step)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Undecodable::Broken("it is cut off".to_owned()),
                _ => Undecodable::Broken(error.to_string()),
            })?;
        if read == 0 {
            return Ok(decoded);
        }
        take(&mut decoded, &step[..read], bytes_max)?;
    }
}

/// In the zlib format (RFC 9110 8.4.1.2); without it, as some send it, where it does not begin as that does.
fn inflate(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Undecodable> {
    // RFC 1950 2.2: method 8, and a header that is a multiple of 31.
    let has_header = match body {
        [method, flags, ..] => {
            method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
        }
        _ => false,
    };
    let mut decoder = Decompress::new(has_header);
    let (mut decoded, mut step) = (Vec::new(), vec![0; STEP_BYTES.min(bytes_max + 1)]);
    loop {
        let at = usize::try_from(decoder.total_in()).unwrap_or(usize::MAX);
        let (rest, before) = (body.get(at..).unwrap_or_default(), decoder.total_out());
        let status = decoder
            .decompress(rest, &mut step, FlushDecompress::None)
            .map_err(|error| Undecodable::Broken(error.to_string()))?;
        let written = usize::try_from(decoder.total_out() - before).unwrap_or(usize::MAX);
        take(
            &mut decoded,
            step.get(..written).unwrap_or_default(),
            bytes_max,
        )?;
        let read = usize::try_from(decoder.total_in()).unwrap_or(usize::MAX);
        match status {
            Status::StreamEnd if read < body.len() => {
                let message = format!("{} bytes follow its end", body.len() - read);
                return Err(Undecodable::Broken(message));
            }
            Status::StreamEnd => return Ok(decoded),
            Status::Ok | Status::BufError if written == 0 && read == at => {
                return Err(Undecodable::Broken("it is cut off".to_owned()));
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

/// Grows as it has to, and never beyond the bound.
fn take(decoded: &mut Vec<u8>, step: &[u8], bytes_max: usize) -> Result<(), Undecodable> {
    let room = bytes_max - decoded.len();
    if step.len() > room {
        return Err(Undecodable::TooLarge);
    }
    if decoded.capacity() - decoded.len() < step.len() {
        decoded.reserve_exact(decoded.len().max(step.len()).min(room));
    }
    decoded.extend_from_slice(step);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use proptest::prelude::*;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(content: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(content: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(line));
        }
        headers
    }

    fn decoded(lines: &[&'static str], body: Vec<u8>) -> Result<Bytes, (Kind, String)> {
        let body = decode(&headers(lines), &Bytes::from(body), 1000);
        body.map_err(|breach| (breach.kind, breach.message))
    }

    #[test]
    fn what_is_encoded_is_decoded_in_reverse_order() {
        for (name, lines, body) in [
            ("not at all", &[][..], b"{}".to_vec()),
            ("identity", &["identity"], b"{}".to_vec()),
            ("an empty list", &[" , "], b"{}".to_vec()),
            ("gzip", &["gzip"], gzip(b"{}")),
            ("by its old name, in capitals", &["X-GZip"], gzip(b"{}")),
            (
                "in several members",
                &["gzip"],
                [gzip(b"{"), gzip(b""), gzip(b"}")].concat(),
            ),
            ("deflate", &["deflate"], zlib(b"{}")),
            ("deflate without a header", &["deflate"], raw(b"{}")),
            ("twice, in one line", &["deflate, gzip"], gzip(&zlib(b"{}"))),
            (
                "twice, in two lines",
                &["gzip", "identity, deflate"],
                zlib(&gzip(b"{}")),
            ),
        ] {
            assert_eq!(
                decoded(lines, body),
                Ok(Bytes::from_static(b"{}")),
                "{name}"
            );
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_a_breach_that_says_why() {
        let gzipped = gzip(b"{\"price\": 1}");
        let cut = |by: usize| gzipped[..gzipped.len() - by].to_vec();
        let mut damaged = gzipped.clone();
        damaged[14] ^= 0x55;
        for (name, lines, body, want) in [
            ("brotli", &["br"][..], b"x".to_vec(), "encoded as `br`"),
            (
                "below gzip",
                &["zstd, gzip"],
                gzip(b"x"),
                "encoded as `zstd`",
            ),
            (
                "plain content that says gzip",
                &["gzip"],
                b"{}".to_vec(),
                "it is no whole gzip",
            ),
            (
                "nothing",
                &["gzip"],
                Vec::new(),
                "it is no whole gzip: it is cut off",
            ),
            ("without its last byte", &["gzip"], cut(1), "it is cut off"),
            ("in the middle", &["gzip"], cut(12), "it is cut off"),
            (
                "a bit has changed",
                &["gzip"],
                damaged,
                "it is no whole gzip",
            ),
            (
                "garbage behind it",
                &["gzip"],
                [gzip(b"{}"), b"<html>".to_vec()].concat(),
                "it is no whole gzip",
            ),
            (
                "deflate that is cut off",
                &["deflate"],
                zlib(b"{}")[..6].to_vec(),
                "it is cut off",
            ),
            (
                "garbage behind deflate",
                &["deflate"],
                [zlib(b"{}"), b"xy".to_vec()].concat(),
                "2 bytes follow its end",
            ),
            (
                "an empty deflate",
                &["deflate"],
                Vec::new(),
                "it is cut off",
            ),
        ] {
            let (kind, message) = decoded(lines, body).unwrap_err();
            assert_eq!(kind, Kind::Encoding, "{name}");
            assert!(message.contains(want), "{name}: {message}");
        }
    }

    #[test]
    fn a_bomb_is_found_out_before_it_is_large() {
        let zeros = vec![0; 10 << 20];
        for (name, lines, body) in [
            ("gzip", &["gzip"][..], gzip(&zeros)),
            ("deflate", &["deflate"], zlib(&zeros)),
            ("inside another", &["gzip, gzip"], gzip(&gzip(&zeros))),
            ("one byte too many", &["gzip"], gzip(&zeros[..1001])),
            ("not encoded", &[], zeros[..1001].to_vec()),
        ] {
            let (kind, message) = decoded(lines, body).unwrap_err();
            assert_eq!(kind, Kind::TooComplex, "{name}: {message}");
        }
        let just_right = decoded(&["gzip"], gzip(&zeros[..1000])).unwrap();
        assert_eq!(just_right.len(), 1000);
        let often = ["gzip, gzip, gzip, gzip, gzip"];
        assert_eq!(decoded(&often, Vec::new()).unwrap_err().0, Kind::TooComplex);
    }

    #[test]
    fn the_bound_is_never_allocated_beyond() {
        let mut decoded = Vec::new();
        for _ in 0..10 {
            take(&mut decoded, &[7; 100], 1000)
                .map_err(|_| "full")
                .unwrap();
            assert!(decoded.capacity() <= 1000, "{}", decoded.capacity());
        }
        assert!(take(&mut decoded, &[7], 1000).is_err());
    }

    #[test]
    fn the_upstream_is_asked_for_what_client_and_judge_can_read() {
        for (name, lines, want) in [
            ("nothing is said", &[][..], "identity"),
            ("an empty field", &[""], "identity"),
            ("what browsers say", &["gzip, deflate, br, zstd"], "gzip"),
            ("brotli alone", &["br"], "identity"),
            ("by its old name", &["X-Gzip"], "gzip"),
            ("anything", &["*"], "gzip"),
            ("anything but gzip", &["gzip;q=0, *"], "identity"),
            ("refused", &["gzip; q=0.000"], "identity"),
            ("a weight", &["br;q=1.0, gzip; Q=0.5"], "gzip"),
            (
                "identity is liked better",
                &["gzip;q=0.5, identity;q=0.8"],
                "identity",
            ),
            ("both are liked", &["identity, gzip"], "gzip"),
            ("identity is refused", &["identity;q=0, gzip;q=0.1"], "gzip"),
            ("a weight that is none", &["gzip;q=x"], "identity"),
            ("in two lines", &["br", "gzip"], "gzip"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            restrict_accept_encoding(&mut headers);
            let got: Vec<_> = headers.get_all(header::ACCEPT_ENCODING).iter().collect();
            assert_eq!(got, [want], "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(body in prop::collection::vec(any::<u8>(), 0..200), as_gzip in any::<bool>()) {
            let lines = if as_gzip { ["gzip"] } else { ["deflate"] };
            let _ = decoded(&lines, body);
        }

        #[test]
        fn a_cut_anywhere_is_noticed(content in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), as_gzip in any::<bool>()) {
            let (lines, whole) = if as_gzip { (["gzip"], gzip(&content)) } else { (["deflate"], zlib(&content)) };
            prop_assert_eq!(decoded(&lines, whole.clone()).unwrap(), content);
            let cut = whole[..at.index(whole.len())].to_vec();
            prop_assert!(decoded(&lines, cut).is_err());
        }
    }
}
