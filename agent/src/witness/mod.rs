//! The rooms put together: kernel, logs and pods into one sequence of ledger inputs.

mod recording;
mod state;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub use recording::{Recorder, RecordingError, replay};
pub use state::{State, StateError, start_id};
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    capture::{self, Capture, CaptureError, Observation},
    config::{CgroupMount, Config, LogFormat},
    envoy::{Format, FormatError, LineParser, LogReader, Positions},
    http::{HttpEvent, Tracker},
    ledger::{Input, Intake, ListenerFact},
    record::{Fingerprints, Redaction},
    timestamp::Timestamp,
    workload::{Directory, Places, ProblemReport},
};

/// How often logs and pods are looked at; both are followed by notices, so a look is cheap.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The longest that the first look at the pods may take before the programs are attached.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// Everything between the kernel and the ledger.
pub struct Witness {
    capture: Capture,
    tracker: Tracker,
    directory: Directory,
    reader: LogReader,
    intake: Intake,
    last_look: Option<Instant>,
    attached: Vec<PathBuf>,
}

impl Witness {
    /// Reads the pods, opens the logs, attaches the programs and drops every capability. The
    /// inputs so far, [`Input::Started`] last, are put into `inputs`.
    ///
    /// Must be called before other threads start: capabilities belong to threads.
    ///
    /// # Errors
    /// What keeps the agent from seeing anything.
    pub fn start(
        config: &Config,
        positions: Option<Positions>,
        inputs: &mut Vec<Input>,
    ) -> Result<Self, StartError> {
        let mount = match &config.capture.cgroup {
            CgroupMount::Auto => capture::cgroup2_root()?,
            CgroupMount::Path(path) => path.clone(),
        };
        let mut directory = Directory::new(Places {
            cgroup_mount: mount.clone(),
            attach: config.capture.attach.clone(),
            kubelet: config.capture.kubelet.clone(),
            log_root: config.logs.root.clone(),
        });
        let began = Instant::now();
        while !directory.is_settled() && began.elapsed() < FIRST_LOOK {
            inputs.extend(directory.poll(Instant::now()).into_iter().map(Input::Workload));
        }
        let parser = LineParser::new(format(&config.logs.format)?);
        let reader = LogReader::new(
            config.logs.root.clone(),
            config.logs.proxy_containers.clone(),
            parser,
            positions,
        );
        let attached = cgroups(&mount, config);
        let ring_bytes = config.capture.ring_bytes;
        let mut capture = Capture::load(&attached, ring_bytes)?;
        if let Some(own) = own_cgroup(&mount) {
            capture.exclude(own)?;
        }
        capture::drop_privileges()?;
        inputs.push(Input::Started { time: capture.now() });
        Ok(Self {
            capture,
            tracker: Tracker::default(),
            directory,
            reader,
            intake: Intake::new(Fingerprints::new(&random_key()?), redaction(config)),
            last_look: None,
            attached,
        })
    }

    /// Takes in what came since the last call.
    pub fn poll(&mut self, inputs: &mut Vec<Input>) {
        let looks = self.last_look.is_none_or(|last| last.elapsed() >= LOOK_EVERY);
        if looks {
            self.look_at_pods(inputs);
        }
        self.drain(inputs);
        if looks {
            self.read_logs(inputs);
            inputs.push(Input::Tick(self.capture.now()));
            self.last_look = Some(Instant::now());
        }
    }

    /// The present moment on the clock of the capture.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.capture.now()
    }

    /// The cgroups at which the programs are attached.
    #[must_use]
    pub fn attached(&self) -> &[PathBuf] {
        &self.attached
    }

    /// The kernel side, for its counters.
    #[must_use]
    pub fn capture(&self) -> &Capture {
        &self.capture
    }

    /// How far every log was read, to be kept for the next start.
    #[must_use]
    pub fn positions(&self) -> Positions {
        self.reader.positions()
    }

    fn drain(&mut self, inputs: &mut Vec<Input>) {
        let (tracker, intake) = (&mut self.tracker, &self.intake);
        self.capture.drain(|observation| match observation {
            Observation::Listener(listener) => inputs.push(Input::Listener(ListenerFact {
                cookie: listener.cookie,
                cgroup: listener.cgroup,
                process: listener.process,
                port: listener.local.port(),
            })),
            Observation::ClockStep { time, nanoseconds } => {
                inputs.push(Input::ClockStep { time, nanoseconds });
            }
            other => {
                let progress = match &other {
                    Observation::Progress(time) => Some(*time),
                    _ => None,
                };
                tracker.observe(other, |event| inputs.push(input(intake, event)));
                inputs.extend(progress.map(Input::CaptureProgress));
            }
        });
    }

    fn look_at_pods(&mut self, inputs: &mut Vec<Input>) {
        inputs.extend(self.directory.poll(Instant::now()).into_iter().map(Input::Workload));
        for report in self.directory.take_reports() {
            match report {
                ProblemReport::Began(problem) => warn!("{problem}"),
                ProblemReport::Ended(problem) => info!("mended: {problem}"),
            }
        }
    }

    fn read_logs(&mut self, inputs: &mut Vec<Input>) {
        let intake = &self.intake;
        let progress = self.reader.poll(self.capture.now(), |line| {
            inputs.push(Input::Line(Box::new(intake.line(line))));
        });
        for progress in progress {
            let (pod_uid, read_until) = (progress.pod_uid, progress.read_until);
            inputs.push(Input::LogProgress { pod_uid, read_until });
        }
    }
}

fn input(intake: &Intake, event: HttpEvent) -> Input {
    match event {
        HttpEvent::Opened(connection) => Input::Opened(connection),
        HttpEvent::Begun { connection, exchange, time } => Input::Begun { connection, exchange, time },
        HttpEvent::Ended(exchange) => Input::Ended(Box::new(intake.exchange(exchange))),
        HttpEvent::Lost { connection, exchanges, time, cause } => {
            Input::Lost { connection, exchanges, time, cause }
        }
        HttpEvent::Closed(closed) => Input::Closed(closed),
    }
}

/// The cgroups to attach at: each that exists, the kubelet's too; none of the pods': the root.
fn cgroups(mount: &Path, config: &Config) -> Vec<PathBuf> {
    let existing = |names: &[String]| -> Vec<PathBuf> {
        names.iter().map(|name| mount.join(name)).filter(|path| path.is_dir()).collect()
    };
    let pods = existing(&config.capture.attach);
    if pods.is_empty() {
        return vec![mount.to_owned()];
    }
    pods.into_iter().chain(existing(&config.capture.kubelet)).collect()
}

/// The cgroup of this process, which is left out of what is captured.
fn own_cgroup(mount: &Path) -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = membership.lines().find_map(|line| line.strip_prefix("0::/"))?;
    if path.is_empty() {
        return None;
    }
    let metadata = fs::metadata(mount.join(path)).ok()?;
    Some(std::os::unix::fs::MetadataExt::ino(&metadata))
}

fn format(format: &LogFormat) -> Result<Format, FormatError> {
    match format {
        LogFormat::Auto => Ok(Format::auto()),
        LogFormat::IstioText => Ok(Format::istio_text()),
        LogFormat::IstioJson => Ok(Format::istio_json()),
        LogFormat::Text(text) => Format::compile(text),
        LogFormat::Json(fields) => Format::compile_json(fields),
    }
}

fn redaction(config: &Config) -> Redaction {
    Redaction {
        query: config.redact.query,
        paths: config.redact.paths.clone(),
        headers: config.capture.headers.clone(),
    }
}

/// A key that nobody knows, for fingerprints.
fn random_key() -> io::Result<[u8; 16]> {
    let mut key = [0; 16];
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut key)?;
    Ok(key)
}

/// Why the agent cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The kernel side.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The log format.
    #[error("logs.format: {0}")]
    Format(#[from] FormatError),
    /// No random numbers.
    #[error("cannot read random numbers: {0}")]
    Random(#[from] io::Error),
}
