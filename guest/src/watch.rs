//! The agent's side of the trial: loads under three capabilities and reads with none.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, Sender, TryRecvError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail, ensure};
use meshwitness::{
    capture::{Capture, CgroupId, Cookie, Observation, Options, ProgramFacts, drop_privileges},
    flow::Flows,
    http::{self, Bounds, Closed, HttpEvent, Tracker},
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::{
    machine,
    record::{Connection, End, Exchange, Flow, Listener, RawSocket, Told},
};

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the agent drains.
const INTERVAL: Duration = Duration::from_millis(10);
const RING_BYTES: u32 = 4 << 20;

/// A capture at work, in a thread of its own.
pub(crate) struct Watch {
    reader: JoinHandle<anyhow::Result<Told>>,
    connections: Sender<usize>,
    programs: Vec<ProgramFacts>,
}

impl Watch {
    /// Loads and attaches, and begins to read.
    pub(crate) fn begin() -> anyhow::Result<Self> {
        let (is_attached, attached) = mpsc::channel();
        let (connections, expected) = mpsc::channel();
        let reader = thread::spawn(move || {
            only_three_capabilities()?;
            let cgroups = [machine::pods()];
            let capture = Capture::load(&Options {
                ring_bytes: RING_BYTES,
                cgroups: &cgroups,
                excluded: &[],
            })?;
            drop_privileges()?;
            let mut programs = capture.programs()?;
            programs.sort_by(|one, other| one.name.cmp(&other.name));
            is_attached.send(programs)?;
            read(capture, &expected)
        });
        match attached.recv() {
            Ok(programs) => Ok(Self {
                reader,
                connections,
                programs,
            }),
            Err(_) => bail!(match join(reader) {
                Ok(_) => anyhow!("the reader ended"),
                Err(error) => error,
            }),
        }
    }

    /// What the kernel says of the programs.
    pub(crate) fn programs(&self) -> &[ProgramFacts] {
        &self.programs
    }

    /// Waits until so many connections and flows were told as closed.
    pub(crate) fn finish(self, connections: usize) -> anyhow::Result<Told> {
        self.connections.send(connections).ok();
        join(self.reader)
    }
}

/// Runs something in a thread with no more than what the agent needs to load.
pub(crate) fn with_three_capabilities<T: Send + 'static>(
    action: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    join(thread::spawn(|| {
        only_three_capabilities()?;
        action()
    }))
}

fn only_three_capabilities() -> anyhow::Result<()> {
    let three = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN;
    let sets = CapabilitySets {
        effective: three,
        permitted: three,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).context("giving up all but three capabilities")
}

fn join<T>(thread: JoinHandle<anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow!("a thread panicked"))?
}

fn read(mut capture: Capture, expected: &Receiver<usize>) -> anyhow::Result<Told> {
    let mut tracker = Tracker::new(Bounds::default());
    let mut events = Vec::new();
    let mut listeners = BTreeMap::new();
    let mut datagrams = Datagrams::default();
    let mut deadline = None;
    let mut connections = usize::MAX;
    loop {
        capture.drain(|observation| {
            note_listener(&observation, &mut listeners);
            datagrams.note(&observation);
            tracker.observe(observation, &mut events);
        });
        datagrams.look(&mut capture);
        let is_close = |event: &&HttpEvent| matches!(event, HttpEvent::Closed(_));
        let closed = events.iter().filter(is_close).count() + datagrams.closed;
        if closed >= connections {
            break;
        }
        match expected.try_recv() {
            Ok(count) => {
                connections = count;
                deadline = Some(Instant::now() + PATIENCE);
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) if deadline.is_none() => bail!("nobody waits"),
            Err(TryRecvError::Disconnected) => {}
        }
        if deadline.is_some_and(|deadline| deadline < Instant::now()) {
            bail!("expected {connections} connections to close, got {closed}: {events:#?}");
        }
        thread::sleep(INTERVAL);
    }
    ensure!(
        capture.malformed() == 0 && capture.losses().is_empty(),
        "records were lost"
    );
    let mut told = Told {
        connections: connections_of(&events)?,
        listeners: listeners.into_values().collect(),
        flows: datagrams.told.into_values().collect(),
        raw_sockets: datagrams.raw_sockets,
    };
    told.flows.sort();
    told.raw_sockets.sort();
    told.connections.sort();
    told.listeners.sort();
    Ok(told)
}

/// What is told of UDP flows and raw sockets.
#[derive(Default)]
struct Datagrams {
    flows: Flows,
    told: BTreeMap<http::ConnectionId, Flow>,
    closed: usize,
    raw_sockets: Vec<RawSocket>,
}

impl Datagrams {
    fn note(&mut self, observation: &Observation) {
        match observation {
            Observation::Flow(flow) => {
                if let Some(flow) = self.flows.begin(flow.clone()) {
                    self.told.insert(flow.id, begin_flow(&flow));
                }
            }
            Observation::FlowsClosed { cookie, time } => self.flows.close(*cookie, *time),
            Observation::RawSocket(socket) => self.raw_sockets.push(RawSocket {
                owner: End {
                    cgroup: cgroup(socket.cgroup),
                    process: Some(socket.process.pid),
                },
                ipv6: socket.ipv6,
                protocol: socket.protocol,
            }),
            _ => {}
        }
    }

    fn look(&mut self, capture: &mut Capture) {
        let (told, closed) = (&mut self.told, &mut self.closed);
        let end = |end: Closed| {
            *closed += 1;
            if let Some(flow) = told.get_mut(&end.connection) {
                (flow.client_bytes, flow.server_bytes) = (end.client_bytes, end.server_bytes);
            }
        };
        let orders = self.flows.sweep(|place| capture.flow_count(place), end);
        for place in orders.end {
            capture.end_flow(place);
        }
        for place in orders.free {
            capture.free_flow(place);
        }
    }
}

fn begin_flow(flow: &http::Connection) -> Flow {
    Flow {
        destination: flow.destination,
        client: flow.client.as_ref().map(end_of),
        server: flow.server.as_ref().map(end_of),
        inside: flow.udp.is_some_and(|udp| udp.inside),
        quic: flow.udp.is_some_and(|udp| udp.quic),
        client_bytes: 0,
        server_bytes: 0,
    }
}

fn end_of(end: &http::End) -> End {
    End {
        cgroup: cgroup(end.cgroup),
        process: end.process.as_ref().map(|process| process.pid),
    }
}

fn note_listener(observation: &Observation, listeners: &mut BTreeMap<Cookie, Listener>) {
    match observation {
        Observation::Listener(listener) => {
            let owner = End {
                cgroup: cgroup(listener.cgroup),
                process: Some(listener.process.pid),
            };
            let listener_told = Listener {
                local: listener.local,
                owner,
                closed: false,
            };
            listeners.insert(listener.cookie, listener_told);
        }
        Observation::ListenerClosed(closed) => {
            if let Some(listener) = closed.cookie.and_then(|cookie| listeners.get_mut(&cookie)) {
                listener.closed = true;
            }
        }
        _ => {}
    }
}

fn connections_of(events: &[HttpEvent]) -> anyhow::Result<Vec<Connection>> {
    let mut connections: BTreeMap<Cookie, Connection> = BTreeMap::new();
    for event in events {
        let unopened = || anyhow!("its connection was not told before: {event:?}");
        match event {
            HttpEvent::Opened(opened) => {
                connections.insert(opened.id, begin(opened));
            }
            HttpEvent::Greeted { connection, .. } | HttpEvent::Begun { connection, .. } => {
                connections.get(connection).ok_or_else(unopened)?;
            }
            HttpEvent::Ended(exchange) => connections
                .get_mut(&exchange.connection)
                .ok_or_else(unopened)?
                .exchanges
                .push(summary(exchange)),
            HttpEvent::Lost {
                connection,
                exchanges,
                ..
            } => connections.get_mut(connection).ok_or_else(unopened)?.lost += exchanges,
            HttpEvent::Closed(closed) => {
                let connection = connections
                    .get_mut(&closed.connection)
                    .ok_or_else(unopened)?;
                connection.client_bytes = closed.client_bytes;
                connection.server_bytes = closed.server_bytes;
                connection.both_fin = closed.both_fin;
                connection.client_closed_first = closed.client_closed_first;
                connection.established = closed.established;
            }
            HttpEvent::Dropped { .. } => bail!("{event:?}"),
        }
    }
    Ok(connections.into_values().collect())
}

fn begin(opened: &http::Connection) -> Connection {
    Connection {
        destination: opened.destination,
        asked: opened.asked,
        client: opened.client.as_ref().map(end_of),
        server: opened.server.as_ref().map(end_of),
        established: false,
        exchanges: Vec::new(),
        lost: 0,
        client_bytes: 0,
        server_bytes: 0,
        both_fin: false,
        client_closed_first: false,
    }
}

fn summary(exchange: &http::Exchange) -> Exchange {
    let (request, response) = (&exchange.request, exchange.response.as_ref());
    let head = request.head.as_ref();
    Exchange {
        stream: exchange.stream,
        method: head.and_then(|head| head.method.as_ref().map(ToString::to_string)),
        path: head.and_then(|head| head.path.clone()),
        authority: head.and_then(|head| head.authority.clone()),
        request_bytes: request.body_bytes,
        status: response.and_then(|response| response.status),
        response_bytes: response.map_or(0, |response| response.body_bytes),
        whole: request.ended.is_some() && response.is_some_and(|it| it.ended.is_some()),
        gap: exchange.gap,
    }
}

/// The container of this cgroup, by name.
fn cgroup(id: CgroupId) -> String {
    let pods = machine::pods();
    match find(&pods, id) {
        Some(path) => path
            .strip_prefix(&pods)
            .unwrap_or(&path)
            .display()
            .to_string(),
        None => id.to_string(),
    }
}

fn find(directory: &Path, id: CgroupId) -> Option<PathBuf> {
    if fs::metadata(directory).ok()?.ino() == id {
        return Some(directory.to_owned());
    }
    let entries = fs::read_dir(directory).ok()?.flatten();
    let mut directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.find_map(|entry| find(&entry.path(), id))
}
