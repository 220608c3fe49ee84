//! The lab itself: what it brings up is real, and it leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Command, Stdio},
    time::Duration,
};

use lab::{
    Lab, certificate, cri, delivery, envoy,
    pod::{APP, PROXY, PodSpec},
    process::{Process, User},
    receiver::Receiver,
    records::Record,
    requirements, sweep,
};
use rustix::process::Signal;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_request_passes_both_sidecars_and_both_log_it() {
    let lab = Lab::start([
        PodSpec::new("a"),
        PodSpec::new("b").logging(envoy::Format::IstioJson),
    ])
    .unwrap();
    let (a, b) = (lab.pod("a"), lab.pod("b"));

    for (host, path) in [
        (b.addresses().v4.to_string(), "/one"),
        (format!("[{}]", b.addresses().v6), "/six"),
    ] {
        let url = format!("http://{host}:8080{path}");
        let output = a.run(APP, User::APP, ["curl", "-sS", &url]).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("{path}\n"),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );

        let quoted = format!("\"GET {path} HTTP/1.1\" 200");
        let line = wait(a, |line| line.contains(&quoted));
        assert!(line.contains(" outbound|8080||b.shop.svc.cluster.local "));
        let json = format!("\"path\":\"{path}\"");
        let line = wait(b, |line| line.contains(&json));
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(entry["upstream_cluster"], "inbound|8080||");
        // A server name is in the line only if TLS came in.
        assert_eq!(
            entry["requested_server_name"],
            "outbound_.8080_._.b.shop.svc.cluster.local"
        );
        let local = entry["upstream_local_address"].as_str().unwrap();
        let exchange = b.nginx_log().unwrap().pop().unwrap();
        assert_eq!(exchange.path(), path);
        assert!(local.starts_with("127.0.0.6:") || local.starts_with("[::6]:"));
        // nginx writes IPv6 addresses without brackets.
        assert_eq!(exchange.client, local.replace(['[', ']'], ""));
    }
}

#[test]
fn hosts_outside_are_reached_in_plain_text_and_reach_in() {
    let lab = Lab::start([PodSpec::new("a")]).unwrap();
    let a = lab.pod("a");
    let outside = lab.outside();

    let url = format!("http://{}/out", outside.addresses().v4);
    a.run(APP, User::APP, ["curl", "-sS", &url]).unwrap();
    let line = wait(a, |line| line.contains("GET /out "));
    assert!(line.contains(" PassthroughCluster "), "{line}");
    assert_eq!(outside.nginx_log().unwrap()[0].path(), "/out");

    let url = format!("http://{}:8080/in", a.addresses().v4);
    outside.run(["curl", "-sS", &url]).unwrap();
    let line = wait(a, |line| line.contains("GET /in "));
    assert!(line.contains(" inbound|8080|| "), "{line}");
}

#[test]
fn logs_lie_as_the_kubelet_lays_them() {
    let lab = Lab::start([PodSpec::new("a")]).unwrap();
    let a = lab.pod("a");
    let proxy = a.container(PROXY);

    let links: Vec<String> = fs::read_dir(lab.logs().join("containers"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(links.len(), 2);
    let name = format!("a_shop_istio-proxy-{}.log", proxy.id);
    assert!(links.contains(&name), "{links:?}");
    let target = fs::read_link(lab.logs().join("containers").join(name)).unwrap();
    let expected = format!("pods/shop_a_{}/istio-proxy/0.log", a.uid());
    assert!(target.ends_with(expected), "{}", target.display());
    assert_eq!(target, proxy.log.path());

    let cgroup = proxy
        .cgroup
        .path()
        .strip_prefix(lab.cgroup_mount())
        .unwrap();
    let uid = a.uid().replace('-', "_");
    assert_eq!(
        cgroup.to_str().unwrap(),
        format!(
            "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{uid}.slice/\
             cri-containerd-{}.scope",
            proxy.id
        )
    );
    // Envoy and pilot-agent here, nginx's master and worker and the helper there.
    assert_eq!(proxy.cgroup.processes().len(), 2);
    assert_eq!(a.container(APP).cgroup.processes().len(), 3);
}

#[test]
fn the_log_can_be_falsified_split_and_rotated() {
    let lab = Lab::start([PodSpec::new("a")]).unwrap();
    let a = lab.pod("a");
    let log = &a.container(PROXY).log;
    let get = |path: &str| {
        let url = format!("http://{}{path}", lab.outside().addresses().v4);
        a.run(APP, User::APP, ["curl", "-sS", &url]).unwrap();
    };

    let dropped = log.inject(1, |line| line.contains("/same "), cri::Fault::Drop);
    let edit = |line: &str| line.replace(" 200 ", " 204 ");
    let edited = log.inject(
        0,
        |line| line.contains("/edit "),
        cri::Fault::Edit(Box::new(edit)),
    );
    for path in ["/same", "/same", "/same", "/edit"] {
        get(path);
    }
    wait(a, |line| line.contains("/edit "));
    let text = fs::read_to_string(log.path()).unwrap();
    assert_eq!(text.matches("/same ").count(), 2);
    assert!(dropped.line().is_some());
    assert!(edited.line().unwrap().contains(" 200 "));
    assert!(text.contains("/edit HTTP/1.1\" 204 "));

    log.rotate().unwrap();
    let agent = "x".repeat(20_000);
    let url = format!("http://{}/long", lab.outside().addresses().v4);
    a.run(APP, User::APP, ["curl", "-sS", "-A", &agent, &url])
        .unwrap();
    wait(a, |line| line.contains("/long "));
    let text = fs::read_to_string(log.path()).unwrap();
    let tags: Vec<&str> = text
        .lines()
        .map(|line| line.split(' ').nth(2).unwrap())
        .collect();
    assert_eq!(tags, ["P", "F"]);
    let (first, _) = text.split_once('\n').unwrap();
    assert_eq!(first.split_once(" P ").unwrap().1.len(), 16 * 1024);

    // In another second than the first time: both files would have one name otherwise.
    std::thread::sleep(Duration::from_secs(1));
    log.rotate().unwrap();
    let mut names: Vec<String> = fs::read_dir(log.path().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(
        names[1].ends_with(".gz") && !names[2].ends_with(".gz"),
        "{names:?}"
    );
}

#[test]
fn clients_do_what_curl_does_not() {
    let lab = Lab::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let address = format!("{}:8080", b.addresses().v4);
    let outside = format!("{}:80", lab.outside().addresses().v4);
    let statuses = |words: &[&str]| -> Vec<u16> {
        let responses = a.client(words).unwrap();
        responses.iter().map(|response| response.status).collect()
    };

    let url = format!("http://{}:8081/two", b.addresses().v4);
    let curl = [
        "curl",
        "-sS",
        "--http2-prior-knowledge",
        "-w",
        "%{http_version}",
        &url,
    ];
    let output = a.run(APP, User::APP, curl).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/two\n2");
    let two = b.nginx_log().unwrap().remove(0);
    assert!(two.line.ends_with("HTTP/2.0"), "{two:?}");

    assert_eq!(statuses(&["pipeline", &address, "/pipe", "16"]), [200; 16]);
    let targets = format!("{address},{outside}");
    assert_eq!(statuses(&["short", &targets, "/short", "10"]), [200; 10]);
    assert_eq!(statuses(&["websocket", &address, "/ws", "5"]), [101]);
    let half = r"GET /half HTTP/1.1\r\nhost: b\r\nx-";
    assert!(statuses(&["bytes", &address, half, "50"]).is_empty());
    let script = json!([
        { "method": "HEAD", "path": "/large" },
        { "path": "/large" },
        { "path": "/chunked" },
        { "path": "/missing" },
        { "path": "/fail" },
        { "method": "POST", "path": "/upload", "chunks": ["one", "three"] },
        { "method": "POST", "path": "/upload", "body": "GET /fake HTTP/1.1\r\n\r\n" },
        { "method": "POST", "path": "/early", "body": "ignored" },
        { "path": "/drip/3", "headers": { "x-forwarded-for": "9.9.9.9" } },
        { "path": "/slow/1" },
    ]);
    let responses = a
        .client(&["requests", &address, &script.to_string()])
        .unwrap();
    let received: Vec<(u16, u64)> = responses
        .iter()
        .map(|response| (response.status, response.body_bytes))
        .collect();
    assert_eq!(
        received,
        [
            (200, 0),
            (200, 10_000_000),
            (200, 10_500),
            (404, 153),
            (500, 4),
            (201, 2),
            (201, 3),
            (201, 5),
            (200, 24),
            (200, 10),
        ]
    );

    let half = wait(a, |line| line.contains(" 0 DC "));
    assert!(half.contains("\"- - HTTP/1.1\" 0 DC"), "{half}");
    wait(b, |line| line.contains("/slow/1 "));
    // 1 + 16 + 5 + the WebSocket + 10, and nothing of the half head.
    assert_eq!(b.nginx_log().unwrap().len(), 33);
    assert_eq!(lab.outside().nginx_log().unwrap().len(), 5);
}

#[test]
fn a_gateway_a_plain_pod_and_the_kubelet_come_in() {
    let lab = Lab::start([
        PodSpec::new("gate").gateway(8080, "b", 8080),
        PodSpec::new("b")
            .denying("/denied")
            .excluding_inbound(9100)
            .probing(Duration::from_millis(50)),
        PodSpec::new("plain").without_sidecar(),
    ])
    .unwrap();
    let (gate, b) = (lab.pod("gate"), lab.pod("b"));
    let curl = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();

    let url = format!("http://{}:8080/through", gate.addresses().v4);
    let answer = lab.outside().run(["curl", "-sS", &url]).unwrap();
    assert_eq!(curl(answer), "/through\n");
    wait(gate, |line| line.contains("outbound|8080||b.shop"));
    // The gateway tells the client's address; the port is lost with it.
    let line = wait(b, |line| line.contains("/through "));
    assert!(line.contains(" 10.77.0.99:0 "), "{line}");

    let url = format!("http://{}:8080/denied/x", b.addresses().v4);
    let place = lab.pod("plain").place(APP, User::APP);
    place.run(["curl", "-sS", &url]).unwrap();
    let line = wait(b, |line| line.contains("/denied/x "));
    assert!(line.contains(" 403 - direct_response "), "{line}");

    let url = format!("http://{}:9100/by", b.addresses().v4);
    assert_eq!(
        curl(lab.kubelet().run(["curl", "-sS", &url]).unwrap()),
        "/by\n"
    );
    wait(b, |line| line.contains("\tdebug\tapp probe\tstatus=200"));
    let log = b.nginx_log().unwrap();
    let by = log
        .iter()
        .find(|exchange| exchange.path() == "/by")
        .unwrap();
    assert!(by.client.starts_with("10.77.0.1:"), "{by:?}");
    assert!(log.iter().any(|exchange| exchange.path() == "/healthz"));
}

#[test]
fn the_receiver_takes_only_its_own_clients_and_whole_lines() {
    let lab = Lab::start([]).unwrap();
    let mut receiver = Receiver::start(&lab, "receiver").unwrap();
    let certificates = lab.certificates();
    let send = |receiver: &Receiver, identity: &certificate::Identity, text: &str| {
        let mut client = Process::start(
            Command::new("openssl")
                .args([
                    "s_client",
                    "-quiet",
                    "-no_ign_eof",
                    "-connect",
                    &receiver.endpoint(),
                ])
                .args([
                    "-verify_return_error",
                    "-verify_hostname",
                    delivery::COLLECTOR,
                ])
                .arg("-CAfile")
                .arg(certificates.authority.certificate())
                .arg("-cert")
                .arg(&identity.certificate)
                .arg("-key")
                .arg(&identity.key)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )
        .unwrap();
        let mut stdin = client.child().unwrap().stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        client.wait(PATIENCE).unwrap();
    };
    let event = |receiver: &Receiver, name: &str| receiver.wait_for_event(name, PATIENCE).unwrap();

    send(
        &receiver,
        &certificates.agent,
        "{\"id\":\"s-1\",\"kind\":\"http\"}\n{\"id\":\"s",
    );
    assert_eq!(event(&receiver, "accepted")["version"], "TLSv1.3");
    assert_eq!(event(&receiver, "closed")["unfinished"], 8);
    send(
        &receiver,
        &certificates.foreign_agent,
        "{\"id\":\"s-2\",\"kind\":\"http\"}\n",
    );
    event(&receiver, "refused");
    receiver.kill();
    receiver.restart(&lab).unwrap();
    send(
        &receiver,
        &certificates.expired_agent,
        "{\"id\":\"s-3\",\"kind\":\"http\"}\n",
    );
    event(&receiver, "refused");
    send(
        &receiver,
        &certificates.agent,
        "{\"id\":\"s-1\",\"kind\":\"http\"}\n{\"id\":\"s-4\",\"kind\":\"http\"}\n",
    );
    event(&receiver, "closed");
    let records = receiver.records().unwrap();
    let ids: Vec<&str> = records.all().iter().map(Record::id).collect();
    assert_eq!((ids, records.repeated()), (vec!["s-1", "s-4"], 1));
}

#[test]
fn nothing_stays_after_an_end_or_a_panic() {
    let lab = Lab::start([PodSpec::new("a")]).unwrap();
    assert!(!sweep::remains().unwrap().is_empty());
    drop(lab);
    assert_eq!(sweep::remains().unwrap(), Vec::<String>::new());

    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::start([PodSpec::new("a")]).unwrap();
        let envoy = lab.pod("a").container(PROXY).cgroup.processes();
        std::panic::panic_any(envoy);
    }));
    let processes = outcome.unwrap_err().downcast::<Vec<u32>>().unwrap();
    assert_eq!(sweep::remains().unwrap(), Vec::<String>::new());
    assert_eq!(processes.len(), 2);
    for process in *processes {
        assert!(!fs::exists(format!("/proc/{process}")).unwrap());
    }
}

#[test]
fn nothing_stays_after_a_signal_and_a_kill_is_swept_by_the_next() {
    let mut held = hold();
    held.stop(PATIENCE).unwrap();
    assert_eq!(sweep::remains().unwrap(), Vec::<String>::new());

    let mut held = hold();
    held.signal(Signal::KILL);
    held.wait(PATIENCE).unwrap();
    assert!(!sweep::remains().unwrap().is_empty());
    drop(Lab::start([]).unwrap());
    assert_eq!(sweep::remains().unwrap(), Vec::<String>::new());
}

/// A process of its own with a lab that is up.
fn hold() -> Process {
    let helper = requirements::helper("lab-helper").unwrap();
    let mut held = Process::start(Command::new(helper).arg("hold").stdout(Stdio::piped())).unwrap();
    let mut line = String::new();
    let stdout = held.child().unwrap().stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert!(line.starts_with("up: "), "{line}");
    held
}

fn wait(pod: &lab::pod::Pod, matches: impl Fn(&str) -> bool) -> String {
    pod.container(PROXY)
        .log
        .wait_for(PATIENCE, matches)
        .unwrap()
}
