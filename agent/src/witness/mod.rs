//! The rooms put together: kernel, logs and pods into one sequence of ledger inputs.

mod cgroups;
mod flows;
mod http_ports;
mod recording;
mod refusals;
#[cfg(test)]
mod secrets;
mod standstill;
mod state;

use std::{
    fs, io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cgroups::own_cgroup;
pub use cgroups::{cgroup_mount, cgroups};
use flows::FlowWatch;
pub use http_ports::HttpPorts;
pub use recording::{Recorder, Recording, RecordingError, replay};
use standstill::{Pulse, Standstill};
pub use state::{State, StateError, start_id};
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    capture::{
        self, Capture, LoadError, MountError, Observation, Options, ProgramFacts, RawSocket,
        Refusal,
    },
    config::{Config, IdentityForm, LogFormat},
    envoy::{Content, Format, FormatError, LogEvent, LogReader, LogReaderSettings, Positions},
    flow::Flows,
    http::{Bounds, HttpEvent, Tracker},
    ledger::{Input, Intake, ListenerEnd, ListenerFact, RawSocketFact},
    record::{Fingerprints, IdentityRedaction, Redaction},
    telemetry::{Health, Heartbeat, LogLineKind, Metrics},
    timestamp::Timestamp,
    workload::{Directory, Places, ProblemReport},
};

/// How often logs and pods are looked at; both are followed by notices, so a look is cheap.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The longest that the first look at the pods may take before the programs are attached.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// The loop has stalled when it did not turn for this long.
const STALLED: Duration = Duration::from_secs(10);

/// Everything between the kernel and the ledger.
pub struct Witness {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    standstill: Standstill,
    captures: Heartbeat,
    reads: Heartbeat,
    events: Vec<HttpEvent>,
    capture: Capture,
    tracker: Tracker,
    flows: Flows,
    flow_watch: FlowWatch,
    directory: Directory,
    reader: LogReader,
    intake: Intake,
    /// What was read before the programs were attached.
    first_lines: Vec<Input>,
    last_look: Option<Instant>,
    /// When everything that was captured had last been taken in.
    captured: Instant,
    /// The fullest that the rings were since that was last told.
    fullest: (f64, f64),
    refused: u64,
    /// What was refused up to here was told.
    refusals_until: Timestamp,
    last_sweep: Instant,
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
        telemetry: (&Arc<Metrics>, &Arc<Health>),
        inputs: &mut Vec<Input>,
    ) -> Result<Self, StartError> {
        let (metrics, health) = telemetry;
        let mount = cgroup_mount(&config.capture)?;
        let mut directory = Directory::new(Places {
            cgroup_mount: mount.clone(),
            attach: config.capture.attach.clone(),
            kubelet: config.capture.kubelet.clone(),
            log_root: config.logs.root.clone(),
        });
        let began = Instant::now();
        while !directory.is_settled() && began.elapsed() < FIRST_LOOK {
            inputs.extend(
                directory
                    .poll(Instant::now())
                    .into_iter()
                    .map(Input::Workload),
            );
        }
        let mut settings = LogReaderSettings::new(
            config.logs.root.clone(),
            config.logs.proxy_containers.clone(),
        );
        settings.key = random_key()?;
        let mut reader = LogReader::new(settings, format(&config.logs.format)?, positions);
        let intake = Intake::new(Fingerprints::new(&random_key()?), redaction(config));
        // Before anything is captured: a line that is written meanwhile must not be taken for one
        // of before, or its exchange would miss it.
        let mut lines = Vec::new();
        read(&mut reader, &intake, metrics, now(), &mut |line| {
            lines.push(line);
        });
        let attached = cgroups(&mount, &config.capture);
        let excluded: Vec<_> = own_cgroup(&mount).into_iter().collect();
        let ring_bytes = u32::try_from(config.capture.ring_bytes).unwrap_or(u32::MAX);
        let options = Options {
            ring_bytes,
            cgroups: &attached,
            excluded: &excluded,
        };
        let capture = Capture::load(&options)?;
        capture::drop_privileges()?;
        for refusal in Refusal::ALL {
            metrics.capture_refused.add(refusals::word(refusal), 0);
        }
        inputs.push(Input::Started { time: now() });
        Ok(Self {
            metrics: Arc::clone(metrics),
            health: Arc::clone(health),
            standstill: Standstill::default(),
            captures: health.heartbeat("capture", STALLED),
            reads: health.heartbeat("log reading", STALLED),
            events: Vec::new(),
            capture,
            tracker: Tracker::new(Bounds::default()),
            flows: Flows::default(),
            flow_watch: FlowWatch::new(),
            directory,
            reader,
            intake,
            first_lines: lines,
            last_look: None,
            captured: Instant::now(),
            fullest: (0.0, 0.0),
            refused: 0,
            refusals_until: now(),
            last_sweep: Instant::now(),
            attached,
        })
    }

    /// Hands on what came since the last call.
    pub fn poll(&mut self, take: &mut dyn FnMut(Input)) {
        let looks = self
            .last_look
            .is_none_or(|last| last.elapsed() >= LOOK_EVERY);
        if looks {
            self.look_at_pods(take);
            self.take_refusals(take);
        }
        self.drain(take);
        self.first_lines.drain(..).for_each(&mut *take);
        if looks {
            self.look_at_flows(take);
            self.read_logs(take);
            take(Input::Tick(self.capture.now()));
            self.last_look = Some(Instant::now());
        }
    }

    /// Takes the redaction of another configuration. What was captured before keeps the old one.
    pub fn redact(&mut self, config: &Config) {
        self.intake.redact(redaction(config));
    }

    /// The cgroups at which the programs are attached.
    #[must_use]
    pub fn attached(&self) -> &[PathBuf] {
        &self.attached
    }

    /// Tells how full the rings were, and whether anything stands still; to be called every second.
    pub fn tell(&mut self) {
        let metrics = &self.metrics;
        let malformed = self.capture.malformed();
        metrics.malformed_events.set_total(malformed);
        let (sockets, streams) = std::mem::take(&mut self.fullest);
        metrics.ring_fill.set("sockets", sockets);
        metrics.ring_fill.set("streams", streams);
        let (sockets, streams) = self.capture.ring_bytes();
        metrics.ring_bytes.set("sockets", sockets);
        metrics.ring_bytes.set("streams", streams);
        let counted = ProgramFacts::are_counted();
        let programs = counted.then(|| self.capture.programs().ok()).flatten();
        metrics.set_programs(programs.unwrap_or_default());
        self.tell_standstill();
    }

    fn tell_standstill(&mut self) {
        let pulse = Pulse {
            now: Instant::now(),
            captured: self.captured,
            drained_bytes: self.capture.drained_bytes(),
            refused: self.refused,
            read_bytes: self.reader.bytes_read(),
            unread_bytes: self.reader.unread_bytes(),
        };
        let capture = self.standstill.of_capture(&pulse);
        let logs = self.standstill.of_logs(&pulse);
        for (name, failure) in [("capture", capture), ("log reading", logs)] {
            match failure {
                Some(failure) => self.health.failed(name, failure),
                None => self.health.mended(name),
            }
        }
    }

    /// How far every log was read, to be kept for the next start.
    #[must_use]
    pub fn positions(&self) -> Positions {
        self.reader.positions()
    }

    fn drain(&mut self, take: &mut dyn FnMut(Input)) {
        let Self {
            capture,
            tracker,
            flows,
            intake,
            events,
            fullest,
            captured,
            ..
        } = self;
        let (sockets, streams) = capture.fill();
        *fullest = (fullest.0.max(sockets), fullest.1.max(streams));
        let now = Instant::now();
        capture.drain(|observation| {
            let progress = match &observation {
                Observation::Listener(listener) => {
                    take(Input::Listener(ListenerFact {
                        cookie: listener.cookie,
                        time: listener.time,
                        cgroup: listener.cgroup,
                        process: listener.process.clone(),
                        port: listener.local.port(),
                    }));
                    None
                }
                Observation::ListenerClosed(closed) => {
                    take(Input::ListenerClosed(ListenerEnd {
                        cookie: closed.cookie,
                        time: closed.time,
                        cgroup: closed.cgroup,
                        pid: closed.process.pid,
                    }));
                    None
                }
                Observation::ClockStep { time, nanoseconds } => {
                    take(Input::ClockStep {
                        time: *time,
                        nanoseconds: *nanoseconds,
                    });
                    None
                }
                Observation::Progress(time) => {
                    *captured = now;
                    Some(Input::CaptureProgress(*time))
                }
                Observation::Flow(flow) => {
                    if let Some(flow) = flows.begin(flow.clone()) {
                        take(Input::Opened(Box::new(flow)));
                    }
                    None
                }
                Observation::FlowsClosed { cookie, time } => {
                    flows.close(*cookie, *time);
                    None
                }
                Observation::RawSocket(socket) => {
                    take(Input::RawSocket(raw_socket(socket)));
                    None
                }
                Observation::Refused(_)
                | Observation::Socket(_)
                | Observation::Segment(_)
                | Observation::FirstBytes(_) => None,
            };
            tracker.observe(observation, events);
            for event in events.drain(..) {
                take(input(intake, event));
            }
            progress.into_iter().for_each(&mut *take);
        });
        self.captures.beat(Instant::now());
    }

    fn look_at_pods(&mut self, take: &mut dyn FnMut(Input)) {
        let facts = self.directory.poll(Instant::now());
        facts.into_iter().map(Input::Workload).for_each(take);
        self.metrics.set_workloads(&self.directory);
        for report in self.directory.take_reports() {
            match report {
                ProblemReport::Raised(problem) => warn!("{problem}"),
                ProblemReport::Mended(problem) => info!("mended: {problem}"),
            }
        }
    }

    fn read_logs(&mut self, take: &mut dyn FnMut(Input)) {
        let now = self.capture.now();
        read(&mut self.reader, &self.intake, &self.metrics, now, take);
        self.reads.beat(Instant::now());
    }
}

/// Reads what is there of all logs.
fn read(
    reader: &mut LogReader,
    intake: &Intake,
    metrics: &Metrics,
    now: Timestamp,
    take: &mut dyn FnMut(Input),
) {
    reader.poll(now, &mut |event| match event {
        LogEvent::Line(line) => {
            metrics.log_lines.add(kind_of(&line.content), 1);
            take(Input::Line(Box::new(intake.line(line))));
        }
        LogEvent::Progress(progress) => take(Input::LogProgress {
            pod_uid: progress.pod_uid,
            read_until: progress.read_until,
        }),
        LogEvent::Rewritten(rewritten) => take(Input::LogRewritten {
            pod_uid: rewritten.pod_uid,
            time: rewritten.time,
        }),
        LogEvent::Problem(problem) => warn!("{problem}"),
    });
}

/// The present moment on the wall clock.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::default() + since
}

fn kind_of(content: &Content) -> LogLineKind {
    match content {
        Content::Entry(_) => LogLineKind::Entry,
        Content::Ambiguous(_) => LogLineKind::Ambiguous,
        Content::Other => LogLineKind::Other,
        Content::Unknown => LogLineKind::Unknown,
        Content::Hole => LogLineKind::Hole,
    }
}

fn raw_socket(socket: &RawSocket) -> RawSocketFact {
    RawSocketFact {
        cookie: socket.cookie,
        time: socket.time,
        cgroup: socket.cgroup,
        process: socket.process.clone(),
        ipv6: socket.ipv6,
        protocol: socket.protocol,
    }
}

fn input(intake: &Intake, event: HttpEvent) -> Input {
    match event {
        HttpEvent::Opened(connection) => Input::Opened(Box::new(connection)),
        HttpEvent::Greeted {
            connection,
            time,
            greeting,
        } => Input::Greeted {
            connection,
            time,
            greeting,
        },
        HttpEvent::Begun {
            connection,
            exchange,
            stream,
            time,
        } => Input::Begun {
            connection,
            exchange,
            stream,
            time,
        },
        HttpEvent::Ended(exchange) => Input::Ended(Box::new(intake.exchange(exchange))),
        HttpEvent::Lost {
            connection,
            exchanges,
            time,
            cause,
        } => Input::Lost {
            connection,
            exchanges,
            time,
            cause,
        },
        HttpEvent::Dropped {
            cgroup,
            from,
            to,
            cause,
        } => Input::Refused {
            cgroup: Some(cgroup),
            from,
            to,
            cause,
        },
        HttpEvent::Closed(closed) => Input::Closed(closed),
    }
}

fn format(format: &LogFormat) -> Result<Format, FormatError> {
    match format {
        LogFormat::Auto => Format::compile("auto"),
        LogFormat::IstioText => Format::compile("istio-text"),
        LogFormat::IstioJson => Format::compile("istio-json"),
        LogFormat::Text(text) => Format::compile(text),
        LogFormat::Json(fields) => Format::compile_json(fields),
    }
}

fn redaction(config: &Config) -> Redaction {
    let identity = &config.redact.identity;
    Redaction {
        identity: IdentityRedaction::new(
            &identity.jwt_claims,
            identity.form == IdentityForm::Plain,
        ),
        query: config.redact.query,
        paths: config.redact.paths.clone(),
        headers: config
            .capture
            .headers
            .iter()
            .map(|name| name.as_str().into())
            .collect(),
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
    /// The cgroup2 mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The kernel side.
    #[error(transparent)]
    Capture(#[from] LoadError),
    /// The log format.
    #[error("logs.format: {0}")]
    Format(#[from] FormatError),
    /// Capabilities cannot be dropped, or there are no random numbers.
    #[error(transparent)]
    Io(#[from] io::Error),
}
