//! Apps behind a unix socket, and pods in the node's own network.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lab::{
    Session,
    envoy::{
        Sidecar,
        edit::{INBOUND, add_route, clusters},
    },
    pod::{APP, PodSpec},
    process::{Place, Process, User},
};
use serde_json::{Value, json};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{PATIENCE, Way, matched},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Unix sockets, and the node's own network",
    scenarios: &[
        Scenario {
            name: "unix_socket",
            happens: "the server's sidecar speaks with its app over a unix socket, which the capture cannot see; with X-Forwarded-For, too",
            recorded: "server: `proxy_answered` 0/1; client: `matched` 1/1",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("a"),
                    PodSpec::new("unixserver").editing(lead_to_socket),
                ]
            },
            play: unix_socket,
        },
        Scenario {
            name: "host_network",
            happens: "a pod in the node's own network asks a pod of the mesh, over both families",
            recorded: "its connections: `outside`, `no_sidecar`; the meshed server: `matched` 1/1",
            finds: &[("hostplain", "MW-113")],
            pods: || {
                vec![
                    PodSpec::new("b"),
                    PodSpec::new("hostplain").without_sidecar(),
                ]
            },
            play: host_network,
        },
    ],
};

/// In the abstract namespace, which is the pod's own.
const SOCKET: &str = "@mwlab-app";

/// Answers each GET with 200.
const SERVER: &str = r"
import http.server, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        self.send_response(200)
        self.send_header('content-length', '5')
        self.end_headers()
        self.wfile.write(b'hello')
    def log_message(self, *words):
        pass
socketserver.ThreadingUnixStreamServer('\0mwlab-app', Handler).serve_forever()
";

/// As for `defaultEndpoint: unix://…` of Istio's Sidecar.
fn lead_to_socket(config: &mut Value, _: &Sidecar<'_>) {
    const NAME: &str = "inbound|8090||";
    let endpoint = json!({ "address": { "pipe": { "path": SOCKET } } });
    clusters(config).push(json!({
        "name": NAME,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": NAME,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": endpoint }] }],
        },
    }));
    add_route(config, INBOUND, "/unix", |route| {
        route["route"]["cluster"] = json!(NAME);
    });
}

fn serve(session: &Session) -> Result<Process> {
    let pod = session.lab.pod("unixserver");
    let server = pod.spawn(APP, User::APP, ["python3", "-c", SERVER])?;
    let deadline = Instant::now() + PATIENCE;
    // proc_pid_net(5)
    let sockets = format!("/proc/{}/net/unix", server.id());
    while !fs::read_to_string(&sockets)?.contains(SOCKET) {
        ensure!(Instant::now() < deadline, "nobody listens on {SOCKET}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(server)
}

fn unix_socket(session: &mut Session) -> Result<Judge> {
    const CASES: [(&str, &[&str]); 2] = [
        ("/unix/plain", &[]),
        ("/unix/forwarded", &["-H", "x-forwarded-for: 198.51.100.7"]),
    ];
    let _server = serve(session)?;
    let cases = || {
        let both = |way: Way| CASES.map(|(base, options)| (way, way.path(base), options));
        Way::ALL.into_iter().flat_map(both)
    };
    for (way, path, options) in cases() {
        let received = way.get(session, "a", "unixserver", &path, options)?;
        ensure!(received == 200, "{path}: expected 200, got {received}");
    }
    judge(move |evidence| {
        for (_, path, _) in cases() {
            matched(evidence, "a", "client", &path)?;
            let found = evidence.http("unixserver", "server", &path);
            found.are("proxy_answered")?.of_units(0, 1)?;
        }
        Ok(())
    })
}

fn host_network(session: &mut Session) -> Result<Judge> {
    // The host outside stands for the node: its network is nobody's but its own.
    let container = session.lab.pod("hostplain").container(APP);
    let place = Place {
        cgroup: container.cgroup.path(),
        ..session.lab.outside().place(User::APP)
    };
    for way in Way::ALL {
        let to = way.socket(session.lab.pod("b").addresses());
        way.ask_from(&place, to, &way.path("/from-the-node"))?;
    }
    judge(|evidence| {
        for way in Way::ALL {
            matched(evidence, "b", "server", &way.path("/from-the-node"))?;
        }
        let found = evidence.of("hostplain", "units", |record| record.units().observed > 0);
        found
            .are("outside")?
            .with_reason("no_sidecar")?
            .of_units(4, 0)?;
        Ok(())
    })
}
