//! What an error of the HTTP client means: which cause, and whether anything was sent.
//!
//! Walks the chain of sources and looks at types, never at texts; where the chain says nothing, the safe reading wins:
//! the request may have been acted on.

use std::{error::Error, io};

use hyper_util::client::legacy;

use crate::{
    failure::{Cause, Failure, Sent},
    http::BodyError,
};

/// No connection, TLS included, within `connect_timeout`.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {0:?}")]
pub(super) struct ConnectElapsed(pub(super) std::time::Duration);

/// The name of an endpoint could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("name cannot be resolved")]
pub(super) struct Unresolved(#[source] pub(super) io::Error);

/// The failure behind an error of the client.
pub(super) fn failure(error: legacy::Error) -> Failure {
    let (cause, sent) = if error.is_connect() {
        (connect_cause(&error), Sent::Nothing)
    } else {
        exchange_cause(&error)
    };
    Failure::new(cause, sent).with_source(error)
}

/// Whether this says that the peer ended the connection, and nothing else: no time that ran out, no bytes that are not HTTP, no
/// fault of the request's own content.
pub(super) fn is_end_of_connection(error: &legacy::Error) -> bool {
    let (cause, sent) = exchange_cause(error);
    let is_end = |link: &(dyn Error + 'static)| {
        let by_hyper = link.downcast_ref::<hyper::Error>();
        let by_system = link.downcast_ref::<io::Error>();
        by_hyper.is_some_and(hyper::Error::is_incomplete_message)
            || by_system.is_some_and(|error| {
                use io::ErrorKind::{
                    BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof,
                };
                matches!(
                    error.kind(),
                    BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
                )
            })
    };
    !error.is_connect()
        && (cause, sent) == (Cause::ConnectionTerminated, Sent::MayHaveActed)
        && chain(error).any(is_end)
}

fn connect_cause(error: &(dyn Error + 'static)) -> Cause {
    let mut depth_io = 0;
    let mut cause = Cause::ConnectRefused;
    for link in chain(error) {
        if link.is::<Unresolved>() {
            return Cause::Dns;
        } else if link.is::<ConnectElapsed>() {
            return Cause::ConnectTimeout;
        } else if link.is::<rustls::Error>() {
            return Cause::Tls;
        } else if let Some(io) = link.downcast_ref::<io::Error>() {
            depth_io += 1;
            if io.kind() == io::ErrorKind::TimedOut {
                cause = Cause::ConnectTimeout;
            }
        }
    }
    // hyper-rustls wraps what ends a handshake in an I/O error of its own; a TCP connect fails with a single one.
    if depth_io > 1 { Cause::Tls } else { cause }
}

fn exchange_cause(error: &(dyn Error + 'static)) -> (Cause, Sent) {
    let mut found = None;
    for link in chain(error) {
        // The client's, not the upstream's: the stream of the request broke while it was passed on.
        match link.downcast_ref::<BodyError>() {
            Some(BodyError::TooLarge { .. }) => {
                return (Cause::RequestTooLarge, Sent::MayHaveActed);
            }
            Some(_) => return (Cause::RequestBody, Sent::MayHaveActed),
            None => {}
        }
        let Some(error) = link.downcast_ref::<hyper::Error>() else {
            continue;
        };
        if error.is_canceled() {
            // hyper: dropped before it was ever processed, so not a byte was written.
            return (Cause::ConnectionTerminated, Sent::Nothing);
        }
        found = found.or(if error.is_parse() {
            Some(Cause::Protocol)
        } else if error.is_timeout() {
            Some(Cause::ResponseTimeout)
        } else {
            None
        });
    }
    let cause = found.unwrap_or(Cause::ConnectionTerminated);
    (cause, Sent::MayHaveActed)
}

/// The error and all its sources. An I/O error is asked for the error it wraps: its own `source` skips one.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |link: &&'a (dyn Error + 'static)| {
        let link = *link;
        match link.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => link.source(),
        }
    })
    // A chain that bites its tail is bounded too.
    .take(32)
}
