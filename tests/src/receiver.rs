//! A collector that the project did not write: Python's TLS, a file, and silence.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    Lab,
    certificate::Identity,
    process::{Process, User},
    records::Records,
};

/// How long it may take to listen.
const READY: Duration = Duration::from_secs(10);

/// Accepts TLS 1.3 with a client certificate and writes each whole line to a file. It never sends
/// a byte of its own.
pub struct Receiver {
    process: Process,
    port: u16,
    directory: PathBuf,
    words: Vec<String>,
    read: Mutex<Reading>,
}

/// What was read of the file so far.
#[derive(Default)]
struct Reading {
    records: Records,
    /// Bytes of the file that are in `records`.
    length: u64,
}

impl Reading {
    /// Reads on; whether there was anything new.
    fn read_on(&mut self, path: &Path) -> Result<bool> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.length))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        bytes.truncate(whole.map_or(0, |end| end + 1));
        self.records.extend(&bytes)?;
        self.length += bytes.len() as u64;
        Ok(!bytes.is_empty())
    }
}

impl Receiver {
    /// Starts one on a free port of 127.0.0.1 under the collector's certificate.
    ///
    /// # Errors
    ///
    /// If it does not come to listen.
    pub fn start(lab: &Lab, name: &str) -> Result<Self> {
        let certificates = lab.certificates();
        let authority = certificates.authority.certificate();
        Self::start_as(lab, name, &certificates.collector, authority)
    }

    /// Starts one under any certificate; `authority` signs the clients that it accepts.
    ///
    /// # Errors
    ///
    /// If it does not come to listen.
    pub fn start_as(lab: &Lab, name: &str, identity: &Identity, authority: &Path) -> Result<Self> {
        Self::start_speaking(lab, name, identity, authority, "TLSv1_3")
    }

    /// Starts one that speaks this version of TLS alone, by Python's name of it.
    ///
    /// # Errors
    ///
    /// If it does not come to listen.
    pub fn start_speaking(
        lab: &Lab,
        name: &str,
        identity: &Identity,
        authority: &Path,
        version: &str,
    ) -> Result<Self> {
        let directory = lab.directory().join("receivers").join(name);
        fs::create_dir_all(&directory)?;
        let script = directory.join("receiver.py");
        fs::write(&script, include_str!("receiver.py"))?;
        let words = [
            authority,
            &identity.certificate,
            &identity.key,
            &directory.join("lines"),
        ];
        let mut receiver = Self {
            process: Process::ended(),
            port: 0,
            words: ["python3".into(), script.display().to_string(), "0".into()]
                .into_iter()
                .chain(words.map(|path| path.display().to_string()))
                // OpenSSL's own default.
                .chain(["2".into(), version.into()])
                .collect(),
            directory,
            read: Mutex::default(),
        };
        receiver.restart(lab)?;
        Ok(receiver)
    }

    /// Sends a signal: SIGSTOP makes one that reads nothing.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Kills it: what it had not read is lost.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port, with the same file.
    ///
    /// # Errors
    ///
    /// If it does not come to listen.
    pub fn restart(&mut self, lab: &Lab) -> Result<()> {
        self.kill();
        self.words[2] = self.port.to_string();
        let place = lab.node(User::ROOT);
        let mut command = place.command(&self.words)?;
        command
            .stdin(Stdio::null())
            .stdout(File::create(self.directory.join("events"))?)
            .stderr(File::create(self.directory.join("errors"))?);
        self.process = Process::start(&mut command)?;
        let deadline = Instant::now() + READY;
        loop {
            let event = self.events("listening").into_iter().next();
            if let Some(port) = event.and_then(|event| event["port"].as_u64()) {
                self.port = u16::try_from(port)?;
                return Ok(());
            }
            if Instant::now() > deadline || self.process.has_ended() {
                let errors = fs::read_to_string(self.directory.join("errors"))?;
                bail!("the receiver does not listen: {errors}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What happened to it since it was last started: `listening`, `accepted`, `refused`,
    /// `closed`, `broken`.
    #[must_use]
    pub fn events(&self, name: &str) -> Vec<Value> {
        fs::read_to_string(self.directory.join("events"))
            .unwrap_or_default()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|event: &Value| event["event"] == name)
            .collect()
    }

    /// Waits for an event.
    ///
    /// # Errors
    ///
    /// If it did not happen within `patience`.
    pub fn wait_for_event(&self, name: &str, patience: Duration) -> Result<Value> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(event) = self.events(name).into_iter().next() {
                return Ok(event);
            }
            if Instant::now() > deadline {
                bail!("nothing was {name} at the receiver within {patience:?}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// All bytes it received, whole lines only, resent ones included.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        fs::read(self.directory.join("lines")).context("reading what was received")
    }

    /// The lines it received, each with when it came, in nanoseconds since 1970. What comes while
    /// they are read is left out.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn arrivals(&self) -> Result<Vec<(u64, String)>> {
        let file = self.directory.join("lines.arrivals");
        let arrivals = fs::read_to_string(&file)?;
        let mut arrivals = arrivals.lines().map(|line| {
            let (end, time) = line.split_once(' ').context("expected two numbers")?;
            anyhow::Ok((end.parse::<usize>()?, time.parse::<u64>()?))
        });
        let (mut end, mut until, mut time) = (0, 0, 0);
        let mut lines = Vec::new();
        for line in String::from_utf8(self.bytes()?)?.split_inclusive('\n') {
            end += line.len();
            while end > until {
                let Some(arrival) = arrivals.next() else {
                    return Ok(lines);
                };
                (until, time) = arrival?;
            }
            lines.push((time, line.trim_end().to_owned()));
        }
        Ok(lines)
    }

    /// The records it received.
    ///
    /// # Errors
    ///
    /// If a line is not a record.
    pub fn records(&self) -> Result<Records> {
        let mut read = self.read();
        read.read_on(&self.directory.join("lines"))?;
        Ok(read.records.clone())
    }

    /// Waits until the records are as they should be.
    ///
    /// # Errors
    ///
    /// If they are not within `patience`; the message counts what was received.
    pub fn wait_for(
        &self,
        patience: Duration,
        what: &str,
        complete: impl Fn(&Records) -> bool,
    ) -> Result<Records> {
        let deadline = Instant::now() + patience;
        let lines = self.directory.join("lines");
        let mut read = self.read();
        let mut is_news = true;
        loop {
            is_news |= read.read_on(&lines)?;
            if is_news && complete(&read.records) {
                return Ok(read.records.clone());
            }
            if Instant::now() > deadline {
                bail!(
                    "no {what} within {patience:?}; received {}",
                    read.records.summary()
                );
            }
            is_news = false;
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn read(&self) -> MutexGuard<'_, Reading> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
