//! Load by h2load, whose counts the project did not write.

use std::{
    fs::{self, File},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    Lab, nginx,
    pod::APP,
    process::{Process, User},
};

use super::latency::Latency;

/// From which pod to which, how, and on how many connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) connections: u32,
    pub(super) protocol: Protocol,
}

/// How requests are sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    /// HTTP/1.1, one request after the other on a connection.
    Http1,
    /// HTTP/2 by prior knowledge, so many streams at a time on a connection.
    Http2(u32),
}

impl Protocol {
    fn port(self) -> u16 {
        match self {
            Self::Http1 => nginx::HTTP_PORT,
            Self::Http2(_) => nginx::HTTP2_PORT,
        }
    }

    /// What h2load is told.
    fn option(self) -> String {
        match self {
            Self::Http1 => "--h1".to_owned(),
            Self::Http2(streams) => format!("--max-concurrent-streams={streams}"),
        }
    }
}

/// How many requests are made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// So many a second.
    Rate(u32),
    /// As many as can be.
    FlatOut,
}

/// A load that goes on. Dropped, it is killed.
pub(super) struct Load {
    process: Process,
    /// One line a request.
    times: PathBuf,
    seconds: u64,
}

/// What came of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Loaded {
    /// Requests that were answered.
    pub(super) requests: u64,
    /// Requests that were not, or not with 200.
    pub(super) failed: u64,
    /// Requests a second.
    pub(super) rate: f64,
    pub(super) latency: Latency,
}

impl Load {
    /// Begins.
    pub(super) fn start(lab: &Lab, route: Route, pace: Pace, seconds: u64) -> Result<Self> {
        let times = lab.directory().join("times");
        File::create(&times)?;
        chown(&times, Some(User::APP.0), Some(User::APP.0))?;
        let url = format!(
            "http://{}:{}/bench",
            lab.pod(route.to).addresses().v4,
            route.protocol.port()
        );
        let mut words = vec![
            "h2load".to_owned(),
            route.protocol.option(),
            format!("--clients={}", route.connections),
        ];
        if let Pace::Rate(rate) = pace {
            // h2load counts by connection.
            words.push(format!("--rps={}", rate / route.connections));
        }
        words.push(format!("--duration={seconds}"));
        words.push(format!("--log-file={}", times.display()));
        words.push(url);
        Ok(Self {
            process: lab.pod(route.from).spawn(APP, User::APP, words)?,
            times,
            seconds,
        })
    }

    /// Whether it is over.
    pub(super) fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Waits for its end.
    pub(super) fn finish(self) -> Result<Loaded> {
        let output = self.process.output()?;
        ensure!(
            output.status.success(),
            "h2load failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        read_times(&self.times, Duration::from_secs(self.seconds))
    }
}

/// Reads what h2load logged: start, status and duration of each request, in microseconds.
fn read_times(file: &Path, duration: Duration) -> Result<Loaded> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut times = Vec::new();
    let mut failed = 0;
    for line in text.lines() {
        let mut fields = line.split('\t').skip(1);
        let (status, time) = (fields.next(), fields.next());
        if status == Some("200") {
            times.push(time.context("expected a duration")?.parse()?);
        } else {
            failed += 1;
        }
    }
    let requests = times.len() as u64;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = requests as f64 / duration.as_secs_f64();
    Ok(Loaded {
        requests,
        failed,
        rate,
        latency: Latency::of(times).context("h2load made no request that was answered")?,
    })
}
