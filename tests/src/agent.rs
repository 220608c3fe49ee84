//! The program under test, run as a DaemonSet would run it.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{process::Signal, thread::CapabilitySet};
use serde_json::{Value, json};

use crate::{
    Lab,
    certificate::Identity,
    delivery::{COLLECTOR, NODE},
    process::{Place, Process, User},
    requirements,
};

/// How long it may take to be ready.
const READY: Duration = Duration::from_secs(30);
/// How long it may take to settle and end; the contract says 5 s.
const END: Duration = Duration::from_secs(5);

/// The `meshwitness` binary: `MESHWITNESS` in the environment, or the release build.
///
/// # Errors
///
/// If it was not built.
pub fn binary() -> Result<PathBuf> {
    let path = match env::var_os("MESHWITNESS") {
        Some(path) => PathBuf::from(path),
        None => requirements::target()?.join("release/meshwitness"),
    };
    if !path.is_file() {
        bail!("no {}: build it with `cargo xtask build`", path.display());
    }
    Ok(path)
}

/// The configuration of an agent: JSON, which YAML includes.
#[derive(Clone, Debug)]
pub struct Config {
    value: Value,
    port: u16,
}

impl Config {
    /// A configuration for the logs of `lab`, with intervals short enough for a test, and without
    /// `forward`. `name` tells this agent's state from that of others.
    ///
    /// # Errors
    ///
    /// If there is no free port for its telemetry.
    pub fn new(lab: &Lab, name: &str) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let value = json!({
            "node": { "name": NODE },
            "logs": { "root": lab.logs(), "flush": "1s" },
            "state": { "dir": lab.directory().join("state").join(name) },
            "ledger": { "interval": "2s" },
            "telemetry": { "listen": format!("127.0.0.1:{port}") },
            "forward": [],
        });
        Ok(Self { value, port })
    }

    /// The same with one sink, under the agent's certificate.
    ///
    /// # Errors
    ///
    /// If there is no free port for its telemetry.
    pub fn delivering_to(lab: &Lab, name: &str, endpoint: &str) -> Result<Self> {
        let certificates = lab.certificates();
        let authority = certificates.authority.certificate();
        Ok(Self::new(lab, name)?.forwarding_to(endpoint, authority, &certificates.agent))
    }

    /// Adds a sink.
    #[must_use]
    pub fn forwarding_to(mut self, endpoint: &str, authority: &Path, identity: &Identity) -> Self {
        if let Some(sinks) = self.value["forward"].as_array_mut() {
            sinks.push(json!({
                "type": "ndjson",
                "endpoint": endpoint,
                "tls": {
                    "ca": authority,
                    "cert": identity.certificate,
                    "key": identity.key,
                    "server_name": COLLECTOR,
                },
            }));
        }
        self
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{:#}\n", self.value)
    }

    /// Sets any key, by its JSON pointer.
    ///
    /// # Panics
    ///
    /// If the pointer's parent is not there.
    #[must_use]
    pub fn setting(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap_or(("", pointer));
        match self.value.pointer_mut(parent) {
            Some(parent) => parent[key] = value,
            None => panic!("the configuration has no {parent}"),
        }
        self
    }
}

/// A running agent. Dropped, it is killed.
pub struct Agent {
    process: Process,
    port: u16,
    directory: PathBuf,
}

/// How an agent ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// From SIGTERM to the end.
    pub after: Duration,
    /// All that it wrote to stderr.
    pub stderr: String,
}

impl Agent {
    /// Starts `meshwitness run` and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it ends or is not ready in time; the message has its stderr.
    pub fn start(lab: &Lab, config: &Config) -> Result<Self> {
        Self::start_command(lab, &["run"], config)
    }

    /// Starts another command that captures, with `--config`, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it ends or is not ready in time; the message has its stderr.
    pub fn start_command(lab: &Lab, words: &[&str], config: &Config) -> Result<Self> {
        let directory = PathBuf::from(
            config.value["state"]["dir"]
                .as_str()
                .context("expected state.dir")?,
        );
        fs::create_dir_all(&directory)?;
        let file = directory.with_extension("yaml");
        fs::write(&file, config.text())?;
        let mut command = place(lab).command([binary()?.as_os_str()])?;
        command
            .args(words)
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(File::create(directory.with_extension("stdout"))?)
            .stderr(File::create(directory.with_extension("stderr"))?);
        let mut agent = Self {
            process: Process::start(&mut command)?,
            port: config.port,
            directory,
        };
        agent.wait_until_ready()?;
        Ok(agent)
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The file with its configuration.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.directory.with_extension("yaml")
    }

    /// What it wrote to stderr so far.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn stderr(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.with_extension("stderr"))?)
    }

    /// What it wrote to stdout so far.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn stdout(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.with_extension("stdout"))?)
    }

    /// Asks its telemetry for a path; the status and the body.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub fn telemetry(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let status = text.split(' ').nth(1).context("expected a status line")?;
        let (_, body) = text
            .split_once("\r\n\r\n")
            .context("expected an empty line")?;
        Ok((status.parse()?, body.to_owned()))
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    ///
    /// If it takes longer than the contract allows.
    pub fn stop(mut self) -> Result<Ended> {
        let begin = Instant::now();
        let status = self
            .process
            .stop(END)
            .with_context(|| self.stderr().unwrap_or_default())?;
        Ok(Ended {
            status,
            after: begin.elapsed(),
            stderr: self.stderr()?,
        })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Puts another text in the place of its configuration and has it read anew.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn reload(&self, text: &str) -> Result<()> {
        fs::write(self.directory.with_extension("yaml"), text)?;
        self.signal(Signal::HUP);
        Ok(())
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY;
        while !matches!(self.telemetry("/readyz"), Ok((200, _))) {
            if self.process.has_ended() || Instant::now() > deadline {
                bail!("the agent is not ready; it said:\n{}", self.stderr()?);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Runs a command of the agent's that ends by itself, with its capabilities.
///
/// # Errors
///
/// If it cannot be started. A failed command is no error here.
pub fn run(lab: &Lab, words: &[&str]) -> Result<Output> {
    let binary = binary()?;
    place(lab).run(
        [binary.as_os_str()]
            .into_iter()
            .chain(words.iter().map(OsStr::new)),
    )
}

/// Starts `watch`, which writes to `stdout` until it is dropped.
///
/// # Errors
///
/// If it cannot be started.
pub fn start_watch(lab: &Lab, config: &Config, stdout: File) -> Result<Process> {
    let file = lab.directory().join("watch.yaml");
    fs::write(&file, config.text())?;
    let mut command = place(lab).command([binary()?.as_os_str()])?;
    command
        .args(["watch", "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::null());
    Process::start(&mut command)
}

/// Root with the three capabilities of the contract and no other: not even the right to read
/// what belongs to others.
fn place(lab: &Lab) -> Place<'_> {
    let mut place = lab.node(User::ROOT);
    place.cgroup = lab.agent_cgroup();
    place.capabilities =
        Some(CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN);
    place
}
