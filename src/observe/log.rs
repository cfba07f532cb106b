//! The process's log: text for people or JSON for machines, written by a thread of its own.
//!
//! The queue before that thread is bounded (`log.queue_max`); what does not fit is dropped and counted, because a slow
//! disk or a closed pipe must never slow an answer down. Everything goes to standard error; standard output belongs to
//! the commands.

use std::io::{self, Write};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt::time::FormatTime, layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::{
    metrics::{Samples, Source},
    transaction::TransactionLogger,
};
use crate::config::{LogConfig, LogFormat};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Not a filter that `EnvFilter` understands.
    #[error(
        "{origin} is not a log filter: {reason}; write a level (`info`) or `target=level` parts, as in `info,larder::cache=debug`"
    )]
    Filter {
        /// `log.level` or `RUST_LOG`.
        origin: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A log was set up before in this process.
    #[error("the log is already set up")]
    AlreadySet,
}

/// The log of the process. Dropping it writes out what is still queued (for a second at most).
#[derive(Debug)]
pub struct Log {
    transactions: TransactionLogger,
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

/// Lines that did not fit into the log's queue.
#[derive(Clone, Debug)]
pub struct DroppedLines(ErrorCounter);

impl Log {
    /// Sets the process's log up as `[log]` says; `RUST_LOG` wins over `log.level`.
    ///
    /// # Errors
    /// The filter cannot be read, or a log is already set up.
    pub fn init(config: &LogConfig) -> Result<Self, LogError> {
        Self::init_with(config, io::stderr())
    }

    /// The same into any writer.
    ///
    /// # Errors
    /// As [`Log::init`].
    pub fn init_with(
        config: &LogConfig,
        out: impl Write + Send + 'static,
    ) -> Result<Self, LogError> {
        let filter = filter(config, std::env::var("RUST_LOG").ok().as_deref())?;
        let (queue, writer) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(config.queue_max.max(1))
            .thread_name("larder-log")
            .finish(out);
        let dropped = queue.error_counter();
        let transactions = TransactionLogger::new(config, queue.clone());
        Registry::default()
            .with(filter)
            .with(format_layer(config.format, queue))
            .try_init()
            .map_err(|_| LogError::AlreadySet)?;
        Ok(Self {
            transactions,
            dropped,
            _writer: writer,
        })
    }

    /// Where transactions are written.
    pub fn transactions(&self) -> TransactionLogger {
        self.transactions.clone()
    }

    /// A source for the metrics: lines dropped so far.
    pub fn dropped(&self) -> DroppedLines {
        DroppedLines(self.dropped.clone())
    }
}

impl Source for DroppedLines {
    fn sample(&self, samples: &mut Samples) {
        let help = "Log lines dropped because the queue was full";
        samples.counter(
            "log_lines_dropped",
            help,
            &[],
            self.0.dropped_lines() as u64,
        );
    }
}

fn filter(config: &LogConfig, rust_log: Option<&str>) -> Result<EnvFilter, LogError> {
    let (origin, directives) = match rust_log {
        Some(directives) if !directives.trim().is_empty() => ("RUST_LOG", directives),
        _ => ("log.level", config.level.as_str()),
    };
    EnvFilter::try_new(directives).map_err(|error| LogError::Filter {
        origin,
        reason: error.to_string(),
    })
}

fn format_layer<S>(format: LogFormat, queue: NonBlocking) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(queue)
        .with_timer(Utc)
        .with_ansi(false);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    }
}

/// Times written as transactions write theirs, so that lines of both sorts can be put in order.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(w, "{:.3}", jiff::Timestamp::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TransactionLog;

    fn config(level: &str) -> LogConfig {
        LogConfig {
            format: LogFormat::Text,
            level: level.to_owned(),
            transactions: TransactionLog::All,
            redact_query: Vec::new(),
            queue_max: 10,
        }
    }

    #[test]
    fn rust_log_wins_over_the_config_and_an_empty_one_does_not() {
        assert_eq!(
            filter(&config("warn"), Some("debug")).unwrap().to_string(),
            "debug"
        );
        assert_eq!(
            filter(&config("warn"), Some(" ")).unwrap().to_string(),
            "warn"
        );
        assert_eq!(filter(&config("warn"), None).unwrap().to_string(), "warn");
    }

    #[test]
    fn a_filter_that_cannot_be_read_names_where_it_came_from() {
        let error = filter(&config("larder=loud"), None)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("log.level is not a log filter"),
            "{error}"
        );
        let error = filter(&config("info"), Some("=x="))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("RUST_LOG is not a log filter"), "{error}");
    }
}
