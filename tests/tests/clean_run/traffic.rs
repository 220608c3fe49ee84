//! The traffic: many requests, and every kind that has gone wrong somewhere.

use std::{fs, process::Output};

use lab::{
    Session,
    pod::{APP, Pod},
    process::{Process, User},
};
use serde_json::json;

/// Of the requests of the load generators: on 32 connections in all.
pub(crate) const LOAD: usize = 20_000;
/// Connections with one request each.
pub(crate) const SHORT: usize = 2_000;

/// 20,000 requests over 32 connections: one path, many paths, a third behind X-Forwarded-For.
pub(crate) fn load(session: &Session) {
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let paths = session.lab.directory().join("paths");
    let many: String = (0..500)
        .map(|number| format!("{}\n", url(b, &format!("/distinct/{number}?page={number}"))))
        .collect();
    fs::write(&paths, many).unwrap();
    let third = LOAD / 3;
    let counts = [third, third, LOAD - 2 * third].map(|count| count.to_string());
    let common = |count| ["h2load", "--h1", "-n", count, "-c"];
    let same = url(b, "/identical");
    let forwarded = url(b, "/forwarded");
    let loads = [
        spawn(a, &[&common(&counts[0])[..], &["11", &same]].concat()),
        spawn(
            a,
            &[
                &common(&counts[1])[..],
                &["11", "-i", paths.to_str().unwrap()],
            ]
            .concat(),
        ),
        spawn(
            a,
            &[
                &common(&counts[2])[..],
                &["10", "-H", "x-forwarded-for: 198.51.100.7", &forwarded],
            ]
            .concat(),
        ),
    ];
    for load in loads {
        let report = succeed(load.output().unwrap());
        assert!(
            report.contains(" 0 failed, 0 errored, 0 timeout"),
            "{report}"
        );
    }
}

pub(crate) fn curl_cases(session: &Session) {
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let curl = |words: &[&str]| {
        let words = [&["curl", "-sS", "-o", "/dev/null"], words].concat();
        succeed(a.run(APP, User::APP, words).unwrap());
    };
    let body = session.lab.directory().join("body");
    fs::write(
        &body,
        "GET /fake-in-file HTTP/1.1\r\nhost: b\r\n\r\n".repeat(50_000),
    )
    .unwrap();
    let upload = format!("@{}", body.display());

    curl(&[
        "--data-binary",
        &upload,
        "-H",
        "expect:",
        &url(b, "/upload/sized"),
    ]);
    curl(&[
        "--data-binary",
        &upload,
        "-H",
        "transfer-encoding: chunked",
        &url(b, "/upload/chunked"),
    ]);
    curl(&["--data-binary", &upload, &url(b, "/upload/continue")]);
    curl(&[
        "--data-binary",
        &upload,
        "-H",
        "expect:",
        &url(b, "/early/big"),
    ]);
    curl(&["--head", &url(b, "/head")]);
    curl(&[&url(b, "/missing?password=hunter2")]);
    curl(&[&url(b, "/fail")]);
    curl(&[&url(b, "/large")]);
    curl(&[&url(b, "/chunked")]);
    curl(&[&url(b, "/drip/20")]);
    // Two requests on one connection.
    curl(&[
        &url(b, "/reused/1"),
        "-o",
        "/dev/null",
        &url(b, "/reused/2"),
    ]);
    let outside = session.lab.outside().addresses();
    curl(&[&format!("http://{}/outside", outside.v4)]);
    curl(&[&format!("http://[{}]/outside-six", outside.v6)]);
}

pub(crate) fn helper_cases(session: &Session) {
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let server = format!("{}:8080", b.addresses().v4);
    let outside = format!("{}:80", session.lab.outside().addresses().v4);

    assert_eq!(
        a.client(&["pipeline", &server, "/pipeline", "16"])
            .unwrap()
            .len(),
        16
    );
    assert_eq!(
        a.client(&["websocket", &server, "/ws", "20"])
            .unwrap()
            .len(),
        1
    );
    let fake = "GET /fake-in-body HTTP/1.1\r\nhost: b\r\n\r\n".repeat(100);
    let script = json!([
        { "method": "HEAD", "path": "/keep-alive/head" },
        { "path": "/keep-alive/get" },
        { "method": "HEAD", "path": "/large" },
        { "method": "POST", "path": "/upload/imitation", "body": fake },
        { "method": "POST", "path": "/upload/imitations", "chunks": [fake, "\r\n0\r\n\r\n", fake] },
        { "method": "PUT", "path": "/keep-alive/put", "body": "x" },
        { "method": "DELETE", "path": "/keep-alive/delete" },
        { "method": "OPTIONS", "path": "/keep-alive/options" },
        { "path": "/keep-alive/forwarded", "headers": { "x-forwarded-for": "198.51.100.7" } },
        { "path": "/keep-alive/id", "headers": { "x-request-id": "chosen-by-the-client" } },
    ]);
    let responses = a
        .client(&["requests", &server, &script.to_string()])
        .unwrap();
    assert_eq!(responses.len(), 10);

    let count = SHORT.to_string();
    let both = format!("{server},{outside}");
    let responses = a.client(&["short", &both, "/short", &count]).unwrap();
    assert!(responses.iter().all(|response| response.status == 200));

    // A begun head has a line without method and path; three bytes have none.
    let half = r"GET /half HTTP/1.1\r\nhost: b\r\nx-";
    a.client(&["bytes", &server, half, "100"]).unwrap();
    a.client(&["bytes", &server, "GET", "100"]).unwrap();
    a.client(&["bytes", &server, "", "0"]).unwrap();
}

pub(crate) fn ipv6(session: &Session) {
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let url = format!("http://[{}]:8080/six", b.addresses().v6);
    let words = ["h2load", "--h1", "-n", "500", "-c", "4", &url];
    succeed(a.run(APP, User::APP, words).unwrap());
}

pub(crate) fn url(pod: &Pod, path: &str) -> String {
    format!("http://{}:8080{path}", pod.addresses().v4)
}

pub(crate) fn spawn(pod: &Pod, words: &[&str]) -> Process {
    pod.spawn(APP, User::APP, words).unwrap()
}

pub(crate) fn succeed(output: Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
