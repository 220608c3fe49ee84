//! One request, two witnesses: the first promise, from the socket to the receiver.
#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use lab::{
    Lab, Session,
    agent::{self, Agent, Config},
    pod::{APP, PROXY, PodSpec},
    process::{Place, User},
    receiver::Receiver,
    records::Record,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn one_request_yields_its_two_matched_records() {
    let session = Session::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let before = Timestamp::now();
    let url = format!("http://{}:8080/hello?token=secret", b.addresses().v4);
    a.run(APP, User::APP, ["curl", "-sS", "-A", "probe/1", &url])
        .unwrap();
    let after = Timestamp::now();

    let records = session
        .receiver
        .wait_for(PATIENCE, "records of both sides", |records| {
            records.http("a", "client", "/hello").len() == 1
                && records.http("b", "server", "/hello").len() == 1
        })
        .unwrap();
    let exchange = b.nginx_log().unwrap().pop().unwrap();
    for (pod, side) in [(a, "client"), (b, "server")] {
        let record = records.http(pod.name(), side, "/hello")[0];
        assert_eq!(record.verdict(), "matched", "{}", record.line());
        let value = record.value();
        assert_eq!(value["units"], json!({ "observed": 1, "logged": 1 }));
        assert_eq!(value["differences"], json!([]));
        assert_eq!(value["node"], "n1");
        let time: Timestamp = value["time"].as_str().unwrap().parse().unwrap();
        assert!((before..=after).contains(&time), "{before} {time} {after}");
        let duration = value["duration"].as_f64().unwrap();
        assert!(duration > 0.0 && duration < after.duration_since(before).as_secs_f64());

        let workload = &value["workload"];
        assert_eq!(workload["k8s.namespace.name"], "shop");
        assert_eq!(workload["k8s.pod.name"], pod.name());
        assert_eq!(workload["k8s.pod.uid"], pod.uid());
        assert_eq!(workload["k8s.container.name"], APP);
        assert_eq!(workload["container.id"], pod.container(APP).id);

        let attributes = &value["attributes"];
        assert_eq!(attributes["http.request.method"], "GET");
        assert_eq!(attributes["url.path"], "/hello");
        assert_eq!(attributes["url.query"], "token=REDACTED");
        assert_eq!(attributes["http.response.status_code"], 200);
        assert_eq!(attributes["network.protocol.version"], "1.1");
        assert_eq!(attributes["server.address"], b.addresses().v4.to_string());
        assert_eq!(attributes["server.port"], 8080);
        assert_eq!(attributes["client.address"], a.addresses().v4.to_string());
        assert_eq!(
            attributes["http.request.header.user-agent"],
            json!(["probe/1"])
        );
        assert_eq!(value["envoy"]["request_id"], exchange.request_id);
        assert_eq!(value["envoy"]["response_code_details"], "via_upstream");
        assert!(!record.line().contains("secret"));
        assert_line(&value, &pod.container(PROXY).log.path(), "/hello?token=");
    }
    let client = records.http("a", "client", "/hello")[0].value();
    assert_eq!(client["workload"]["process.command"], "curl");
    assert_eq!(client["workload"]["user.id"], 1000);
    let server = records.http("b", "server", "/hello")[0].value();
    let peer = &server["attributes"];
    let peer = (&peer["network.peer.address"], &peer["network.peer.port"]);
    let (address, port) = exchange.client.rsplit_once(':').unwrap();
    assert_eq!(
        peer,
        (&json!(address), &json!(port.parse::<u16>().unwrap()))
    );

    let outcome = session.finish().unwrap();
    assert!(outcome.ended.status.success(), "{:?}", outcome.ended);
    let briefs = outcome.records.accusing().into_iter().map(Record::brief);
    assert_eq!(briefs.collect::<Vec<_>>(), Vec::<String>::new());
    let books = outcome.records.audit().unwrap();
    assert_eq!(
        (
            books.units("matched").observed,
            books.units("matched").logged
        ),
        (2, 2)
    );
    let lifecycle = outcome
        .records
        .all()
        .iter()
        .filter(|record| record.kind() == "lifecycle");
    let lifecycle: Vec<&str> = lifecycle.map(Record::line).collect();
    assert!(
        lifecycle.first().unwrap().contains("\"start\""),
        "{lifecycle:?}"
    );
    assert!(
        lifecycle.last().unwrap().contains("\"stop\""),
        "{lifecycle:?}"
    );
}

/// None is excused for being older than the agent that comes when it is ready.
#[test]
fn a_line_that_is_invented_once_the_agent_is_ready_is_unseen() {
    let session = Session::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let (client, server) = (a.addresses().v4, b.addresses().v4);
    let line = format!(
        "[{:.3}] \"GET /invented HTTP/1.1\" 200 - via_upstream - \"-\" 0 6 1 1 \"-\" \"curl/7.88.1\" \
         \"3f6b8c1e-5a7d-9e42-8b1f-0c2d4e6f8a9b\" \"{server}:8080\" \"{server}:8080\" \
         outbound|8080||b.shop.svc.cluster.local {client}:40001 {server}:8080 {client}:40002 - default",
        Timestamp::now()
    );
    a.container(PROXY).log.invent(&line).unwrap();
    let records = session
        .receiver
        .wait_for(PATIENCE, "record of the line", |records| {
            !records.http("a", "client", "/invented").is_empty()
        })
        .unwrap();
    let record = records.http("a", "client", "/invented")[0];
    assert_eq!(record.verdict(), "unseen", "{}", record.line());
    assert!(session.finish().unwrap().ended.status.success());
}

/// The record names the place of its line, and the line is there.
fn assert_line(record: &Value, log: &std::path::Path, expected: &str) {
    let envoy = &record["envoy"];
    let file = envoy["log.file"].as_str().unwrap();
    assert!(
        log.to_str()
            .unwrap()
            .ends_with(file.trim_start_matches('/')),
        "{file}"
    );
    let offset = usize::try_from(envoy["log.offset"].as_u64().unwrap()).unwrap();
    let text = fs::read_to_string(log).unwrap();
    let line = text[offset..].lines().next().unwrap();
    assert!(line.contains(expected), "{line}");
}

#[test]
fn pods_that_come_and_go_under_a_running_agent_are_known() {
    let mut session = Session::start([]).unwrap();
    session
        .lab
        .add_pods([PodSpec::new("a"), PodSpec::new("b")])
        .unwrap();
    let address = session.lab.pod("b").addresses().v4;
    let url = format!("http://{address}:8080/late");
    let a = session.lab.pod("a");
    a.run(APP, User::APP, ["curl", "-sS", &url]).unwrap();
    a.container(PROXY)
        .log
        .wait_for(PATIENCE, |line| line.contains("/late "))
        .unwrap();
    session.lab.remove_pod("a");

    let records = session.settle().unwrap();
    for (pod, side) in [("a", "client"), ("b", "server")] {
        let found = records.http(pod, side, "/late");
        assert_eq!(found.len(), 1, "{pod} {}", records.summary());
        assert_eq!(found[0].verdict(), "matched", "{}", found[0].line());
    }
    let outcome = session.finish().unwrap();
    let briefs = outcome.records.accusing().into_iter().map(Record::brief);
    assert_eq!(briefs.collect::<Vec<_>>(), Vec::<String>::new());
    outcome.records.audit().unwrap();
}

#[test]
fn a_recording_is_replayed_to_the_same_bytes() {
    let lab = Lab::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    // Beside an agent that runs.
    let running = Receiver::start(&lab, "running").unwrap();
    let config = Config::delivering_to(&lab, "running", &running.endpoint()).unwrap();
    let running_agent = Agent::start(&lab, &config).unwrap();

    let receiver = Receiver::start(&lab, "recorder").unwrap();
    let file = lab.directory().join("recording");
    let config = Config::delivering_to(&lab, "recorder", &receiver.endpoint()).unwrap();
    let words = ["record", file.to_str().unwrap()];
    let recorder = Agent::start_command(&lab, &words, &config).unwrap();

    let url = format!(
        "http://{}:8080/hello?token=secret",
        lab.pod("b").addresses().v4
    );
    let a = lab.pod("a");
    a.run(APP, User::APP, ["curl", "-sS", &url]).unwrap();
    for receiver in [&running, &receiver] {
        receiver
            .wait_for(PATIENCE, "matched records", |records| {
                let matched = |pod, side| {
                    let found = records.http(pod, side, "/hello");
                    found.len() == 1 && found[0].verdict() == "matched"
                };
                matched("a", "client") && matched("b", "server")
            })
            .unwrap();
    }
    assert!(recorder.stop().unwrap().status.success());
    assert!(running_agent.stop().unwrap().status.success());
    receiver.wait_for_event("closed", PATIENCE).unwrap();

    let recording = fs::read(&file).unwrap();
    let text = String::from_utf8_lossy(&recording);
    assert!(!text.contains("secret"), "a recording keeps no secrets");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let first = replay(&lab, &file);
    assert_eq!(first, replay(&lab, &file));
    assert_eq!(
        String::from_utf8_lossy(&first),
        String::from_utf8_lossy(&receiver.bytes().unwrap())
    );
}

/// What `replay` prints, without any right.
fn replay(lab: &Lab, file: &std::path::Path) -> Vec<u8> {
    let binary = agent::binary().unwrap();
    let place = Place {
        user: User(65534),
        ..lab.node(User::ROOT)
    };
    let words = [binary.as_os_str(), "replay".as_ref(), file.as_os_str()];
    let output = place.run(words).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
fn preflight_finds_the_lab_in_order() {
    let lab = Lab::start([]).unwrap();
    let receiver = Receiver::start(&lab, "receiver").unwrap();
    let check = |name: &str, config: Config| {
        let file = lab.directory().join(name);
        fs::write(&file, config.text()).unwrap();
        let output = agent::run(&lab, &["check", "--config", file.to_str().unwrap()]).unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let begin = SystemTime::now();
    let right = Config::delivering_to(&lab, "right", &receiver.endpoint()).unwrap();
    let (code, text) = check("right.yaml", right);
    assert_eq!(code, Some(0), "{text}");

    let certificates = lab.certificates();
    let foreign = Config::new(&lab, "foreign").unwrap().forwarding_to(
        &receiver.endpoint(),
        certificates.authority.certificate(),
        &certificates.foreign_agent,
    );
    let (code, text) = check("foreign.yaml", foreign);
    assert_eq!(code, Some(1), "{text}");
    assert!(begin.elapsed().unwrap() < PATIENCE);

    let elsewhere = Config::delivering_to(&lab, "elsewhere", &receiver.endpoint())
        .unwrap()
        .setting("/logs/root", json!(lab.directory().join("no-such-logs")));
    let (code, text) = check("elsewhere.yaml", elsewhere);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("failure  log directory"), "{text}");

    // Beside an agent that runs with the same state directory and address.
    let running = Config::delivering_to(&lab, "running", &receiver.endpoint()).unwrap();
    let agent = Agent::start(&lab, &running).unwrap();
    let file = agent.config_file();
    let words = ["check", "--json", "--config", file.to_str().unwrap()];
    let output = agent::run(&lab, &words).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["state"], "failure");
    let items = report["items"].as_array().unwrap();
    let failed = items.iter().filter(|item| item["state"] == "failure");
    let failed: Vec<_> = failed.map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(
        failed,
        ["state directory", "telemetry address"],
        "{report:#}"
    );
    assert!(agent.stop().unwrap().status.success());

    let unknown = Config::new(&lab, "unknown")
        .unwrap()
        .setting("/lgos", json!({}));
    let (code, _) = check("unknown.yaml", unknown);
    assert_eq!(code, Some(2));
}
