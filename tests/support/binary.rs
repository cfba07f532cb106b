//! The real binary as a process of its own, with a config file, a log that is read along, and an end by signal.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::oneshot,
    task::JoinHandle,
};

use super::{Client, within};

/// Longest wait for a start or an end.
const PATIENCE: Duration = Duration::from_secs(20);

/// `larder serve`, listening.
pub struct Binary {
    pub client: Client,
    /// When the process was started.
    pub started: Instant,
    admin: Client,
    child: Child,
    log: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
}

/// The binary under test, to be run to its end.
pub fn larder() -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_larder"));
    command.env_remove("RUST_LOG").timeout(PATIENCE);
    command
}

impl Binary {
    /// Starts `larder serve` on this config, written to `folder`, which also holds the store. Returns once it listens.
    pub async fn serve(folder: &Path, toml: &str) -> Self {
        Self::serve_with(folder, toml, &[]).await
    }

    /// The same with these environment variables.
    pub async fn serve_with(folder: &Path, toml: &str, vars: &[(&str, &str)]) -> Self {
        let path = config_file(folder, toml);
        let started = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_larder"))
            .args(["serve", "--config"])
            .arg(path)
            .current_dir(folder)
            .env_remove("RUST_LOG")
            .envs(vars.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let (found, addresses) = oneshot::channel();
        let log = Arc::new(Mutex::new(String::new()));
        let reading = tokio::spawn(read_along(stderr, Arc::clone(&log), found));
        let addresses = within(PATIENCE, "the binary listens", addresses).await;
        let Ok((server, admin)) = addresses else {
            panic!("it ended before it listened:\n{}", text_of(&log));
        };
        Self {
            client: Client::new(server),
            started,
            admin: Client::new(admin),
            child,
            log,
            reading,
        }
    }

    /// A sample of `/metrics` without labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let metrics = self.admin.get("/metrics").await;
        let mut lines = metrics
            .text()
            .lines()
            .filter_map(|line| line.split_once(' '));
        let sample = lines.find(|(sample, _)| sample.trim_end_matches("{}") == name);
        let (_, value) = sample.unwrap_or_else(|| panic!("no {name}"));
        value.parse().expect("a sample is a number")
    }

    /// Where its admin API is.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.addr()
    }

    /// Waits until `records` at least were written and all that was written is durable.
    pub async fn durable(&self, records: f64) {
        within(PATIENCE, "everything is flushed", async {
            loop {
                let durable = self.metric("larder_store_writes_durable_total").await;
                let waiting = self.metric("larder_store_write_queue_entries").await;
                if durable >= records && waiting == 0.0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.child.start_kill().expect("the process runs");
        within(PATIENCE, "the process ends", self.child.wait())
            .await
            .expect("the process was ours");
    }

    /// Sends a signal by its name (`TERM`).
    pub fn signal(&self, name: &str) {
        let process = self.child.id().expect("the process runs").to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &process])
            .status();
        assert!(sent.expect("there is a kill command").success());
    }

    /// Waits for the process to end by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = within(PATIENCE, "the process ends", self.child.wait()).await;
        within(PATIENCE, "its log ends", &mut self.reading)
            .await
            .expect("reading does not panic");
        ended.expect("the process was ours")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        text_of(&self.log)
    }
}

/// Writes the config; ports are free ones unless the text has its own `[server]` and `[admin]`.
pub fn config_file(folder: &Path, toml: &str) -> PathBuf {
    let path = folder.join("proxy.toml");
    std::fs::write(&path, toml).expect("the folder can be written");
    path
}

fn text_of(log: &Mutex<String>) -> String {
    log.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Keeps every line, and looks for the one that tells the addresses.
async fn read_along(
    stderr: impl tokio::io::AsyncRead + Unpin,
    log: Arc<Mutex<String>>,
    found: oneshot::Sender<(SocketAddr, SocketAddr)>,
) {
    let mut found = Some(found);
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let (Some(server), Some(admin)) = (address(&line, "listen"), address(&line, "admin"))
            && let Some(found) = found.take()
        {
            // Nobody waits any more where the test has ended.
            let _ = found.send((server, admin));
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push_str(&line);
        log.push('\n');
    }
}

/// `name=127.0.0.1:80` in a line of text.
fn address(line: &str, name: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    words.find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}
