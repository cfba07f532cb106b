//! `larder stub`: plays the vendor until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::stub::{Break, Set, Stub, StubError, StubOptions};

/// Plays the vendor: data that changes, and faults that can be switched on while it runs.
#[derive(Args, Clone, Debug)]
pub struct StubArgs {
    /// Where the vendor listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9100")]
    pub listen: SocketAddr,
    /// Where the control API listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9101")]
    pub control: SocketAddr,
    /// A TOML file with own resources and scheduled faults.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The built-in sets to serve, separated by commas: pricing, booking, catalogue, lab. Default: all.
    #[arg(long = "set", value_name = "SETS", value_delimiter = ',')]
    pub sets: Vec<Set>,
    /// All data and all chance follow from this number. Default: drawn, and printed.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// A fault on a schedule, like 'kind=hang path=/prices/* at=10s for=5s'; may be given several times.
    #[arg(long = "fault", value_name = "FAULT")]
    pub faults: Vec<Break>,
    /// Does not print the requests.
    #[arg(long)]
    pub quiet: bool,
}

// --- StubArgs ---

impl From<StubArgs> for StubOptions {
    fn from(args: StubArgs) -> Self {
        let sets = if args.sets.is_empty() {
            Set::ALL.to_vec()
        } else {
            args.sets
        };
        Self {
            listen: args.listen,
            control: args.control,
            sets,
            file: args.file,
            schedule: args.faults,
            seed: args
                .seed
                .unwrap_or_else(|| rand::random_range(1..1_000_000)),
            print: !args.quiet,
            ..Self::default()
        }
    }
}

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
///
/// A port in use, or a file that cannot be used; the message says what to do.
pub(super) async fn run(args: StubArgs) -> Result<(), StubError> {
    let options = StubOptions::from(args);
    let sets = options.sets.clone();
    let signal = stop_signal().map_err(|source| StubError::System {
        what: "listen for signals",
        source,
    })?;
    let stub = Stub::start(options).await?;
    print!("{}", greeting(&stub, &sets));
    signal.await;
    stub.shutdown().await;
    Ok(())
}

fn greeting(stub: &Stub, sets: &[Set]) -> String {
    let control = stub.control_addr();
    let mut text = format!(
        "the vendor listens on http://{} (seed {})\n",
        stub.addr(),
        stub.seed()
    );
    for set in sets {
        text += &format!("  try       curl -i '{}'\n", stub.url(set.example()));
    }
    text += &format!("  break it  curl -X POST 'http://{control}/break?kind=refuse'\n");
    text += &format!("  mend it   curl -X POST 'http://{control}/mend'\n");
    text + &format!("  more      curl 'http://{control}/'\n")
}

/// Registered before the stub starts, so that no signal falls between.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        stub: StubArgs,
    }

    fn options(line: &str) -> Result<StubOptions, clap::Error> {
        Line::try_parse_from(line.split('|')).map(|line| line.stub.into())
    }

    #[test]
    fn line_without_options_plays_everything_on_its_two_ports() {
        let options = options("stub").unwrap();
        assert_eq!(options.listen.to_string(), "127.0.0.1:9100");
        assert_eq!(options.control.to_string(), "127.0.0.1:9101");
        assert_eq!(options.sets, Set::ALL);
        assert!(options.print);
    }

    #[test]
    fn line_sets_what_it_says() {
        let options = options(
            "stub|--set|pricing,lab|--seed|7|--quiet|--fault|kind=hang for=5s|--fault|kind=close path=/a",
        );
        let options = options.unwrap();
        assert_eq!(options.sets, [Set::Pricing, Set::Lab]);
        assert_eq!((options.seed, options.print), (7, false));
        assert_eq!(options.schedule[1].to_string(), "kind=close path=/a");
    }

    #[test]
    fn unknown_words_are_refused_with_a_hint() {
        for (line, want) in [
            ("stub|--set|pricng", "did you mean 'pricing'?"),
            ("stub|--fault|kind=hangg", "did you mean 'hang'?"),
        ] {
            let why = options(line).unwrap_err().to_string();
            assert!(why.contains(want), "{why}");
        }
    }

    #[tokio::test]
    async fn greeting_names_the_line_that_breaks_the_vendor() {
        let stub = Stub::start(StubOptions::default()).await.unwrap();
        let text = greeting(&stub, &Set::ALL);
        let control = stub.control_addr();
        assert!(text.contains(&format!(
            "curl -X POST 'http://{control}/break?kind=refuse'"
        )));
        assert!(text.contains(&stub.url("/prices/A-1")) && text.contains("seed 1"));
    }
}
