//! The reference collector, `meshwitness collect`.

use std::{
    ffi::OsStr,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::{
    Lab, agent,
    process::{Process, User},
    records::Records,
};

/// How long it may take to listen.
const READY: Duration = Duration::from_secs(10);

/// A running collector. Dropped, it is killed.
pub struct Collector {
    process: Process,
    port: u16,
    directory: PathBuf,
    /// It stores on a disk of its own.
    small_disk: bool,
}

impl Collector {
    /// Starts one on a free port of 127.0.0.1 under the collector's certificate.
    ///
    /// # Errors
    ///
    /// If it does not come to listen; the message has its stderr.
    pub fn start(lab: &Lab, name: &str) -> Result<Self> {
        Self::start_on(lab, name, false)
    }

    /// Starts one whose disk is full after a mebibyte. Nobody else sees that disk, and it is gone
    /// with the process.
    ///
    /// # Errors
    ///
    /// If it does not come to listen; the message has its stderr.
    pub fn start_on_small_disk(lab: &Lab, name: &str) -> Result<Self> {
        Self::start_on(lab, name, true)
    }

    fn start_on(lab: &Lab, name: &str, small_disk: bool) -> Result<Self> {
        let directory = lab.directory().join("collectors").join(name);
        fs::create_dir_all(directory.join("records"))?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let certificates = lab.certificates();
        let config = json!({
            "listen": format!("127.0.0.1:{port}"),
            "tls": {
                "cert": certificates.collector.certificate,
                "key": certificates.collector.key,
                "client_ca": certificates.authority.certificate(),
            },
            "allow": ["{node}"],
            "dir": directory.join("records"),
            "rotate": "128MiB",
        });
        fs::write(directory.join("collect.yaml"), format!("{config:#}\n"))?;
        let mut collector = Self {
            process: Process::ended(),
            port,
            directory,
            small_disk,
        };
        collector.restart(lab)?;
        Ok(collector)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port, with the same directory.
    ///
    /// # Errors
    ///
    /// If it does not come to listen; the message has its stderr.
    pub fn restart(&mut self, lab: &Lab) -> Result<()> {
        self.kill();
        let binary = agent::binary()?;
        let records = self.directory.join("records");
        let mut words: Vec<&OsStr> = Vec::new();
        if self.small_disk {
            let mount = "mount -t tmpfs -o size=1m tmpfs \"$0\" && exec \"$@\"";
            let own = ["unshare", "--mount", "--propagation", "private"];
            words.extend(own.into_iter().chain(["sh", "-c", mount]).map(OsStr::new));
            words.push(records.as_os_str());
        }
        words.push(binary.as_os_str());
        let mut command = lab.node(User::ROOT).command(words)?;
        let stderr = self.directory.join("stderr");
        command
            .args(["collect", "--config"])
            .arg(self.directory.join("collect.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&stderr)?);
        self.process = Process::start(&mut command)?;
        let deadline = Instant::now() + READY;
        // A connection that ends before its handshake is no delivery.
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if Instant::now() > deadline || self.process.has_ended() {
                bail!(
                    "the collector does not listen; it said:\n{}",
                    fs::read_to_string(&stderr)?
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Makes room on the small disk.
    ///
    /// # Errors
    ///
    /// If the disk cannot be enlarged.
    pub fn enlarge_disk(&self, lab: &Lab) -> Result<()> {
        let process = self.process.id().to_string();
        let records = self.directory.join("records");
        let words = ["nsenter", "--mount", "--target", &process, "mount"];
        let words = words.into_iter().chain(["-o", "remount,size=256m"]);
        let words = words.map(OsStr::new).chain([records.as_os_str()]);
        let output = lab.node(User::ROOT).run(words)?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it wrote to stderr since it was last started.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn stderr(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.join("stderr"))?)
    }

    /// Where it stores what it receives; on a small disk only while it runs.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        let records = self.directory.join("records");
        match (self.small_disk, records.strip_prefix("/")) {
            (true, Ok(below)) => {
                PathBuf::from(format!("/proc/{}/root", self.process.id())).join(below)
            }
            _ => records,
        }
    }

    /// All records that it stored.
    ///
    /// # Errors
    ///
    /// If a line is not a record.
    pub fn records(&self) -> Result<Records> {
        let mut files = Vec::new();
        files_below(&self.directory(), &mut files)?;
        files.sort();
        let mut bytes = Vec::new();
        for file in files {
            let content = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            // A kill may leave a line without its end.
            let whole = content.iter().rposition(|byte| *byte == b'\n');
            bytes.extend_from_slice(&content[..whole.map_or(0, |end| end + 1)]);
        }
        Records::parse(&bytes)
    }
}

fn files_below(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files_below(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
