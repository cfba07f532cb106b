//! Faults: the ways a vendor breaks, each with a name, its settings and a text form.
//!
//! Only what a fault *is*. When it applies is `table`, what it does to an answer is `spoil`, what it
//! does to the connection is `serve` and `line`.
//!
//! # Invariant
//!
//! - The text form of a fault, parsed again, is the same fault.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

/// One way for the vendor to break.
///
/// A fault of the transport acts on the request first and loses the answer afterwards: a `POST` that
/// meets `reset` has created its booking. That is the case in which a careless retry does harm.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The listening socket is closed, so that connecting is refused. For the whole stub (`*`) only.
    Refuse,
    /// The request is read, then the connection is reset (RST) without an answer.
    Reset,
    /// Head and half of the body are sent, then the connection is reset (RST).
    ResetMidBody,
    /// The request is read, then the connection is closed (FIN) without an answer.
    Close,
    /// The request is read and never answered; ends when the client leaves.
    Hang,
    /// The good answer, its head only after `delay`.
    SlowHead {
        /// Wait before the head. Default: 5 s.
        delay: Duration,
    },
    /// The good answer, its body in small pieces.
    Drip {
        /// Size of a piece, at least 1. Default: 16.
        bytes: usize,
        /// Wait before each piece. Default: 100 ms.
        every: Duration,
    },
    /// Half of the body is sent, then the connection is closed (FIN).
    Truncate {
        /// Framed in chunks without the last one, instead of a `Content-Length` that promises more.
        chunked: bool,
    },
    /// An error answer with a JSON body.
    Status {
        /// Any final status, 200 to 599. Default: 503.
        status: StatusCode,
        /// A `Retry-After` field, if any.
        retry_after: Option<RetryAfter>,
    },
    /// 200 with a body that claims to be JSON and is not.
    InvalidJson,
    /// 200 with a maintenance page in HTML.
    Html,
    /// The good body with every `price` and `rate` set to 0.
    ZeroPrice,
    /// The good body without one field, wherever it occurs.
    MissingField {
        /// Name of the field. Default: `price`.
        field: String,
    },
    /// 200 with `Content-Length: 0`.
    Empty,
    /// Another fault in the first half of each period, a good answer in the second.
    Flap {
        /// Length of one bad and one good half together. Default: 2 s.
        period: Duration,
        /// The fault of the bad half; never a `Flap` itself.
        fault: Box<Fault>,
    },
    /// The good answer after a wait, fixed or drawn evenly from a range.
    Latency {
        /// Shortest wait. Default: 1 s.
        min: Duration,
        /// Longest wait, at least `min`.
        max: Duration,
    },
    /// Bytes that are not HTTP, then FIN.
    Garbage,
}

/// What a `Retry-After` field says (RFC 9110 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter {
    /// Seconds from the answer on.
    pub seconds: u32,
    /// Written as a date instead of seconds.
    pub as_date: bool,
}

/// Every kind by its name in the text form, with the settings it takes.
pub(crate) const KINDS: &[(&str, &[&str])] = &[
    ("refuse", &[]),
    ("reset", &[]),
    ("reset_mid_body", &[]),
    ("close", &[]),
    ("hang", &[]),
    ("slow_head", &["delay"]),
    ("drip", &["bytes", "gap"]),
    ("truncate", &["framing"]),
    ("status", &["status", "retry_after", "retry_after_as"]),
    ("invalid_json", &[]),
    ("html", &[]),
    ("zero_price", &[]),
    ("missing_field", &["field"]),
    ("empty", &[]),
    ("flap", &["period", "fault"]),
    ("latency", &["delay"]),
    ("garbage", &[]),
];

// --- Fault ---

impl Fault {
    /// The names of all kinds, for tables that must miss none.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(name, _)| *name)
    }

    /// An error answer without `Retry-After`.
    pub fn status(status: StatusCode) -> Self {
        Self::Status {
            status,
            retry_after: None,
        }
    }

    /// The same wait for every request.
    pub fn latency(delay: Duration) -> Self {
        Self::Latency {
            min: delay,
            max: delay,
        }
    }

    /// The name in the text form.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Reset => "reset",
            Self::ResetMidBody => "reset_mid_body",
            Self::Close => "close",
            Self::Hang => "hang",
            Self::SlowHead { .. } => "slow_head",
            Self::Drip { .. } => "drip",
            Self::Truncate { .. } => "truncate",
            Self::Status { .. } => "status",
            Self::InvalidJson => "invalid_json",
            Self::Html => "html",
            Self::ZeroPrice => "zero_price",
            Self::MissingField { .. } => "missing_field",
            Self::Empty => "empty",
            Self::Flap { .. } => "flap",
            Self::Latency { .. } => "latency",
            Self::Garbage => "garbage",
        }
    }

    /// Whether the listening socket is closed while this fault lasts.
    pub(crate) fn refuses(&self) -> bool {
        match self {
            Self::Refuse => true,
            Self::Flap { fault, .. } => fault.refuses(),
            _ => false,
        }
    }

    /// Settings that contradict each other, or that nothing on the wire could follow.
    pub(crate) fn conflict(&self) -> Option<&'static str> {
        match self {
            Self::Latency { min, max } if min > max => {
                Some("delay must be from the shorter to the longer duration")
            }
            Self::Status { status, .. } if !(200..600).contains(&status.as_u16()) => {
                Some("status must be 200 to 599")
            }
            Self::Drip { bytes: 0, .. } => Some("drip needs at least 1 byte"),
            Self::Flap { period, .. } if *period < Duration::from_millis(2) => {
                Some("period must be at least 2ms")
            }
            Self::Flap { fault, .. } if matches!(**fault, Self::Flap { .. }) => {
                Some("a flap cannot hold a flap")
            }
            Self::Flap { fault, .. } => fault.conflict(),
            _ => None,
        }
    }

    /// Whether the fault needs a body to break, so that a 304 must not take its place.
    pub(crate) fn needs_body(&self) -> bool {
        matches!(
            self,
            Self::ResetMidBody
                | Self::Drip { .. }
                | Self::Truncate { .. }
                | Self::InvalidJson
                | Self::Html
                | Self::ZeroPrice
                | Self::MissingField { .. }
                | Self::Empty
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "kind={}", self.kind())?;
        self.write_settings(out)
    }
}

impl Fault {
    fn write_settings(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlowHead { delay } => write!(out, " delay={delay:?}"),
            Self::Drip { bytes, every } => write!(out, " bytes={bytes} gap={every:?}"),
            Self::Truncate { chunked: true } => write!(out, " framing=chunked"),
            Self::Status {
                status,
                retry_after,
            } => {
                write!(out, " status={}", status.as_u16())?;
                retry_after.map_or(Ok(()), |wait| write!(out, "{wait}"))
            }
            Self::MissingField { field } => write!(out, " field={field}"),
            Self::Flap { period, fault } => {
                write!(out, " period={period:?} fault={}", fault.kind())?;
                fault.write_settings(out)
            }
            Self::Latency { min, max } if min == max => write!(out, " delay={min:?}"),
            Self::Latency { min, max } => write!(out, " delay={min:?}..{max:?}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for RetryAfter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, " retry_after={}", self.seconds)?;
        if self.as_date {
            out.write_str(" retry_after_as=date")?;
        }
        Ok(())
    }
}
