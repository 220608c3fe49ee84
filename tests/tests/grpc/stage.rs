//! The run: two meshed pods, servers in one, clients in the other.

use std::{
    env,
    ffi::{OsStr, OsString},
    net::{IpAddr, SocketAddr},
    process::Output,
    sync::LazyLock,
};

use lab::{
    Outcome, Session,
    envoy::Format,
    network::Addresses,
    pod::{APP, Pod, PodSpec},
    process::{Process, User},
    requirements,
};
use serde_json::json;

/// Calls that are open at once on one connection.
pub(crate) const CONCURRENT: usize = 500;
/// Metadata that passes the sidecars' limit of 60 KiB for all headers together, and that does not.
const PASSING_BYTES: usize = 48 << 10;
const EXCEEDING_BYTES: usize = 64 << 10;

/// Where tonic listens, and where the C core does.
const PORTS: [u16; 2] = [9001, 9002];

/// All calls were made, and the agent has ended.
pub(crate) static RUN: LazyLock<Run> = LazyLock::new(run);

/// What came of it.
pub(crate) struct Run {
    /// The calls that reached their server.
    pub(crate) calls: Vec<Call>,
    /// The calls whose metadata is too large for the sidecar.
    pub(crate) exceeding: Vec<Call>,
    pub(crate) outcome: Outcome,
}

/// A call as its client tells it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Its `x-request-id`.
    pub(crate) id: String,
    /// The method's path.
    pub(crate) path: String,
    /// The status (google.rpc.Code) in which it ended at the client.
    pub(crate) code: i64,
}

impl Call {
    /// The client gave it up. The server may have ended it in order before it heard of that.
    pub(crate) fn was_cancelled(&self) -> bool {
        self.id.contains("-cancelled-")
    }

    /// Its deadline passed. Each end sees to that for itself, and tonic calls it cancelled: which
    /// status was sent, if one was, is a race between them.
    pub(crate) fn was_late(&self) -> bool {
        self.id.contains("-late-")
    }
}

fn run() -> Run {
    let format = Format::Json(json!({
        "start_time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "authority": "%REQ(:AUTHORITY)%",
        "protocol": "%PROTOCOL%",
        "response_code": "%RESPONSE_CODE%",
        "response_flags": "%RESPONSE_FLAGS%",
        "response_code_details": "%RESPONSE_CODE_DETAILS%",
        "grpc_status_number": "%GRPC_STATUS_NUMBER%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "duration": "%DURATION%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "upstream_host": "%UPSTREAM_HOST%",
        "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
        "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
        "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
        "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    }));
    let pod = |name| PodSpec::new(name).logging(format.clone());
    let b = PORTS.into_iter().fold(pod("b"), PodSpec::naming);
    let session = Session::start([pod("a"), b]).unwrap();
    let peers = Peers::find(&session);
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let _servers = PORTS.map(|port| peers.serve(b, port));

    let (mut calls, mut exceeding) = (Vec::new(), Vec::new());
    for (client, port) in [
        ("tonic", PORTS[1]),
        ("core", PORTS[0]),
        ("tonic", PORTS[0]),
        ("core", PORTS[1]),
    ] {
        let Addresses { v4, v6 } = b.addresses();
        let call_at = |address: IpAddr, what: &str, number: Option<usize>| {
            let family = if address.is_ipv4() { 4 } else { 6 };
            let address = SocketAddr::new(address, port).to_string();
            let prefix = format!("{client}-{port}-v{family}-{}", number.unwrap_or_default());
            peers.call(a, client, &[what, &address, &prefix], number)
        };
        let call = |what, number| call_at(v4.into(), what, number);
        calls.extend(call("kinds", None));
        calls.extend(call_at(v6.into(), "kinds", None));
        calls.extend(call("metadata", Some(PASSING_BYTES)));
        calls.extend(call("concurrent", Some(CONCURRENT)));
        exceeding.extend(call("metadata", Some(EXCEEDING_BYTES)));
    }
    Run {
        calls,
        exceeding,
        outcome: session.finish().unwrap(),
    }
}

/// The programs that are both clients and servers.
struct Peers {
    tonic: OsString,
    python: OsString,
    script: OsString,
}

impl Peers {
    fn find(session: &Session) -> Self {
        let own = env::current_exe().unwrap();
        let directory = session.lab.directory();
        let script = directory.join("peer.py");
        std::fs::write(&script, include_str!("peer.py")).unwrap();
        Self {
            tonic: requirements::executable_by_all(&own, directory)
                .unwrap()
                .into(),
            python: requirements::python().unwrap().into(),
            script: script.into(),
        }
    }

    /// Starts the server of a port.
    fn serve(&self, pod: &Pod, port: u16) -> Process {
        let program = match port {
            port if port == PORTS[0] => vec![self.tonic.as_os_str()],
            _ => vec![self.python.as_os_str(), self.script.as_os_str()],
        };
        let number = port.to_string();
        let words = program
            .into_iter()
            .chain(["serve", &number].map(OsStr::new));
        // The superuser can read Python's environment wherever it lies.
        let server = pod.spawn(APP, User::ROOT, words).unwrap();
        lab::pod::wait_for_listener(server.id(), port).unwrap();
        server
    }

    /// Makes calls and returns what the client says of them.
    fn call(&self, pod: &Pod, client: &str, words: &[&str], number: Option<usize>) -> Vec<Call> {
        let program = match client {
            "tonic" => vec![self.tonic.as_os_str()],
            _ => vec![self.python.as_os_str(), self.script.as_os_str()],
        };
        let number = number.map(|number| number.to_string());
        let words = ["call"].iter().chain(words).copied();
        let words = words.chain(number.as_deref()).map(OsStr::new);
        let output = pod
            .run(APP, User::ROOT, program.into_iter().chain(words))
            .unwrap();
        calls(&output)
    }
}

fn calls(output: &Output) -> Vec<Call> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let call = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [id, path, code] = words[..] else {
            panic!("expected id, path and code, got {line:?}");
        };
        Call {
            id: id.to_owned(),
            path: path.to_owned(),
            code: code.parse().unwrap(),
        }
    };
    text.lines().map(call).collect()
}
