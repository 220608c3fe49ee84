//! How fast the ledger judges HTTP/2: `cargo bench --package meshwitness --bench streams`.
//!
//! CPU time of the one thread that does it. 200,000 streams of eight connections, a hundred at once
//! on each, 20,000 a second, with lines that a proxy flushes once a second.
#![expect(clippy::print_stdout, reason = "it prints its results")]
#![expect(clippy::unwrap_used, reason = "what it makes up is well-formed")]

use std::{collections::VecDeque, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use libc::{CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec};
use meshwitness::{
    capture::Process,
    http::{Connection, End},
    ledger::{
        ComparedPath, Entry, Exchange, Input, Ledger, Line, LineContent, ListenerFact,
        ResponseFact, Settings,
    },
    record::{Fingerprints, Record, Verdict},
    timestamp::Timestamp,
    workload::{Owner, Pod, WorkloadFact},
};
use mimalloc::MiMalloc;
use serde_json::json;

/// As the agent has it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const STREAMS: u32 = 200_000;
const CONNECTIONS: u32 = 8;
const AT_ONCE: usize = 100;
const EVERY: Duration = Duration::from_micros(50);
const FLUSH: Duration = Duration::from_secs(1);
const LOOKS: Duration = Duration::from_millis(50);
const UID: &str = "11111111-1111-1111-1111-111111111111";

/// What the streams are like.
#[derive(Clone, Copy)]
struct Workload {
    name: &'static str,
    /// So many different paths.
    paths: u32,
    /// The app gives its requests an id.
    ids: bool,
    /// One of so many lines is written; the others never are.
    logged: u32,
    /// Their fields are older than the agent.
    undecoded: bool,
}

fn main() -> Result<()> {
    let plain = Workload {
        name: "distinct",
        paths: STREAMS,
        ids: false,
        logged: 1,
        undecoded: false,
    };
    for workload in [
        plain,
        Workload {
            name: "same",
            paths: 1,
            ..plain
        },
        Workload {
            name: "ids",
            paths: 1,
            ids: true,
            ..plain
        },
        Workload {
            name: "sampled",
            paths: 1,
            logged: 10,
            ..plain
        },
        Workload {
            name: "undecoded",
            undecoded: true,
            ..plain
        },
    ] {
        measure(workload)?;
    }
    Ok(())
}

fn measure(workload: Workload) -> Result<()> {
    let inputs = inputs(workload);
    let mut ledger = Ledger::new(settings());
    let mut records: Vec<Record> = Vec::new();
    let began = thread_time()?;
    for input in inputs {
        ledger.handle(input, &mut records);
    }
    let judging = thread_time()? - began;
    let count = |verdict| {
        records
            .iter()
            .filter(|record| record.verdict == Some(verdict))
            .count()
    };
    println!(
        "{}",
        json!({
            "workload": workload.name,
            "exchanges": STREAMS,
            "records": records.len(),
            "matched": count(Verdict::Matched),
            "unlogged": count(Verdict::Unlogged),
            "unverifiable": count(Verdict::Unverifiable),
            "unseen": count(Verdict::Unseen),
            "mismatched": count(Verdict::Mismatched),
            "ledger_seconds": judging.as_secs_f64(),
            "microseconds_per_exchange": judging.as_secs_f64() * 1e6 / f64::from(STREAMS),
        })
    );
    Ok(())
}

fn settings() -> Settings {
    Settings {
        start_id: "s".into(),
        node: "n".into(),
        version: "0".into(),
        proxy_containers: vec!["istio-proxy".into()],
        mesh_listeners: vec![15001],
        mesh_admin: vec![15000],
        flush: FLUSH,
        interval: Duration::from_secs(10),
        earlier_run: false,
        observe: false,
        policy: Vec::new(),
        sinks: Vec::new(),
    }
}

fn inputs(workload: Workload) -> Vec<Input> {
    let fingerprints = Fingerprints::new(&[7; 16]);
    let begin = Timestamp(1_800_000_000_000_000_000);
    let mut inputs = vec![];
    for (id, container, name) in [(11, "c1", "app"), (12, "c2", "istio-proxy")] {
        let owner = Owner::Container {
            pod_uid: UID.into(),
            container_id: container.into(),
        };
        inputs.push(Input::Workload(WorkloadFact::Cgroup { id, owner }));
        inputs.push(Input::Workload(WorkloadFact::Container {
            id: container.into(),
            pod_uid: UID.into(),
            name: name.into(),
        }));
    }
    inputs.push(Input::Workload(WorkloadFact::Pod(Pod {
        uid: UID.into(),
        namespace: "shop".into(),
        name: "a".into(),
        containers: vec!["app".into(), "istio-proxy".into()],
    })));
    inputs.push(Input::Started { time: begin });
    let process = Process {
        pid: 5,
        user: 0,
        command: "envoy".into(),
    };
    inputs.push(Input::Listener(ListenerFact {
        cookie: 1,
        time: begin,
        cgroup: 12,
        process: process.clone(),
        port: 15001,
    }));
    let mut now = begin + Duration::from_secs(1);
    let connections: Vec<Connection> = (0..CONNECTIONS)
        .map(|at| {
            let local = format!("10.0.0.1:{}", 40_000 + at).parse().unwrap();
            let listener = "127.0.0.1:15001".parse().unwrap();
            let asked = "10.0.0.9:8080".parse().unwrap();
            let end = |cgroup, local, remote| End {
                cookie: u64::from(at),
                cgroup,
                process: Some(process.clone()),
                local,
                remote,
            };
            Connection {
                id: u64::from(at) + 100,
                time: now,
                client: Some(end(11, local, asked)),
                server: Some(end(12, listener, local)),
                source: local,
                destination: listener,
                asked: Some(asked),
                established: true,
                preexisting: false,
                udp: None,
            }
        })
        .collect();
    inputs.extend(
        connections
            .iter()
            .map(|it| Input::Opened(Box::new(it.clone()))),
    );
    let mut open: Vec<VecDeque<(u32, u32, Timestamp)>> = vec![VecDeque::new(); connections.len()];
    let mut lines = Vec::new();
    let (mut flushed, mut looked) = (now, now);
    let mut random = 1_u64;
    for serial in 0..STREAMS {
        now = now + EVERY;
        let at = (serial % CONNECTIONS) as usize;
        let number = serial / CONNECTIONS;
        inputs.push(Input::Begun {
            connection: connections[at].id,
            exchange: number,
            stream: Some(2 * number + 1),
            time: now,
        });
        open[at].push_back((serial, number, now));
        if open[at].len() == AT_ONCE {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let which = (random >> 33) as usize % AT_ONCE;
            let (serial, number, began) = open[at].remove(which).unwrap();
            let path = format!("/item/{}", serial % workload.paths);
            let path = fingerprints.of(path.as_bytes());
            let id = fingerprints.of(format!("id {serial}").as_bytes());
            let exchange = exchange(&connections[at], number, (began, now), workload, path, id);
            let line = line(&connections[at], &exchange, path, id);
            inputs.push(Input::Ended(Box::new(exchange)));
            if serial % workload.logged == 0 {
                lines.push(line);
            }
        }
        if now.since(looked) >= LOOKS {
            looked = now;
            inputs.push(Input::CaptureProgress(now));
            if now.since(flushed) >= FLUSH {
                flushed = now;
                for mut line in lines.drain(..) {
                    line.time = now;
                    inputs.push(Input::Line(Box::new(line)));
                }
            }
            inputs.push(Input::LogProgress {
                pod_uid: UID.into(),
                read_until: now,
            });
            inputs.push(Input::Tick(now));
        }
    }
    for mut line in lines.drain(..) {
        line.time = now;
        inputs.push(Input::Line(Box::new(line)));
    }
    for _ in 0..200 {
        now = now + LOOKS;
        inputs.push(Input::CaptureProgress(now));
        inputs.push(Input::LogProgress {
            pod_uid: UID.into(),
            read_until: now,
        });
        inputs.push(Input::Tick(now));
    }
    inputs
}

fn exchange(
    connection: &Connection,
    number: u32,
    (time, end): (Timestamp, Timestamp),
    workload: Workload,
    path: meshwitness::record::Fingerprint,
    id: meshwitness::record::Fingerprint,
) -> Exchange {
    let known = !workload.undecoded;
    Exchange {
        connection: connection.id,
        exchange: number,
        stream: Some(2 * number + 1),
        time,
        end,
        method: Some("GET".into()),
        path: known.then_some(compared(path)),
        authority: None,
        version: Some("2".into()),
        request_id: workload.ids.then_some(id),
        forwarded: false,
        request_ended: Some(time),
        request_bytes: 0,
        response: Some(ResponseFact {
            time: end,
            status: Some(200),
            ended: Some(end),
            bytes: 10,
            upgraded: false,
            grpc_status: None,
        }),
        gap: None,
        undecoded: workload.undecoded,
        refused: false,
        shown: Arc::default(),
    }
}

fn compared(path: meshwitness::record::Fingerprint) -> ComparedPath {
    ComparedPath {
        raw: path,
        normalized: path,
        bare: path,
        bare_normalized: path,
    }
}

fn line(
    connection: &Connection,
    exchange: &Exchange,
    path: meshwitness::record::Fingerprint,
    id: meshwitness::record::Fingerprint,
) -> Line {
    let milliseconds = exchange.end.since(exchange.time).as_millis();
    Line {
        pod_uid: UID.into(),
        file: "0.log".into(),
        offset: 0,
        length: 300,
        time: exchange.end,
        sensitive: Vec::new(),
        content: LineContent::Entry(Entry {
            start_time: Some(Timestamp(exchange.time.0 / 1_000_000 * 1_000_000)),
            start_time_precision_nanoseconds: 1_000_000,
            method: Some("GET".into()),
            path: Some(compared(path)),
            protocol: Some("HTTP/2".into()),
            can_speak_http: true,
            response_code: Some(200),
            response_code_details: Some("via_upstream".into()),
            bytes_received: Some(0),
            bytes_sent: Some(10),
            duration_milliseconds: u64::try_from(milliseconds).ok(),
            request_id: Some(id),
            downstream_local_address: connection.asked,
            downstream_remote_address: Some(connection.source),
            upstream_cluster: Some("outbound|8080||backend".into()),
            whole: Some(id),
            ..Entry::default()
        }),
    }
}

/// CPU time of this thread up to this very moment.
fn thread_time() -> Result<Duration> {
    let mut time = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to `time`, which is there for as long as it takes.
    let result = unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    ensure!(result == 0, "{}", std::io::Error::last_os_error());
    Ok(Duration::new(
        time.tv_sec.try_into()?,
        time.tv_nsec.try_into()?,
    ))
}
