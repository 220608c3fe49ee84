//! `explain` tells of each verdict what it rests on.

use std::{
    process::Output,
    time::{Duration, Instant},
};

use lab::{
    Session, agent,
    cri::Fault,
    pod::{APP, PROXY, PodSpec},
    process::User,
    records::{Record, Records},
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(10);

/// The only record of a pod and verdict that carries units.
fn record<'a>(records: &'a Records, pod: &str, verdict: &str) -> &'a Record {
    let found = records.find(|record| {
        let units = record.units();
        record.pod() == pod && record.verdict() == verdict && units.observed + units.logged > 0
    });
    match found[..] {
        [record] => record,
        _ => panic!("{pod} {verdict}: {}", records.summary()),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn each_verdict_is_explained_by_the_agent_that_runs() {
    let session = Session::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let get = |url: &str| {
        let output = a.run(APP, User::APP, ["curl", "-sS", url]).unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let server = format!("http://{}:8080", b.addresses().v4);
    let log = &a.container(PROXY).log;
    // A line from the moment of the start proves nothing, and would not be called `unseen`.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(300) {
        get(&format!("{server}/before"));
    }
    let removed = b
        .container(PROXY)
        .log
        .inject(0, |line| line.contains("/removed?"), Fault::Drop);
    get(&format!("{server}/removed?key=secret"));
    let change = |line: &str| line.replacen(" 200 ", " 404 ", 1);
    let edited = log.inject(
        0,
        |line| line.contains("/edited "),
        Fault::Edit(Box::new(change)),
    );
    get(&format!("{server}/edited"));
    get(&format!("{server}/pattern"));
    let pattern = log
        .wait_for(PATIENCE, |line| line.contains("/pattern "))
        .unwrap();
    log.invent(&pattern.replace("/pattern ", "/invented "))
        .unwrap();
    // Past its sidecar, as the proxy's own user may.
    let outside = session.lab.outside().addresses().v4;
    let output = a.run(
        APP,
        User::PROXY,
        ["curl", "-sS", &format!("http://{outside}/bypass")],
    );
    assert!(output.unwrap().status.success());
    let records = session.settle().unwrap();
    removed.line().unwrap();
    edited.line().unwrap();

    let config = session.agent.config_file();
    let config = config.to_str().unwrap();
    let run = |words: &[&str]| -> Output {
        let words = [&["explain"], words, &["--config", config]].concat();
        agent::run(&session.lab, &words).unwrap()
    };
    let explain = |record: &Record| -> (Value, String) {
        let output = run(&[record.id(), "--json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let explanation: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(explanation["record"], record.value());
        let output = run(&[record.id()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        (explanation["evidence"].clone(), text(&output.stdout))
    };

    // The line that was removed: which log was searched, how far, and both tuples.
    let unlogged = record(&records, "b", "unlogged");
    let (evidence, page) = explain(unlogged);
    assert!(
        evidence["log"]["end"]["file"]
            .as_str()
            .unwrap()
            .contains("_b_"),
        "{evidence}"
    );
    assert!(
        evidence["log"]["read_until"].as_str() > evidence["log"]["to"].as_str(),
        "{evidence}"
    );
    assert_eq!(evidence["log"]["holes"], json!([]));
    assert_eq!(evidence["connection"]["client"]["role"], "proxy");
    assert_eq!(evidence["connection"]["server"]["role"], "app");
    let sent = evidence["connection"]["sent"][0].as_str().unwrap();
    assert!(sent.starts_with("127.0.0.6:"), "{evidence}");
    for line in [
        "verdict     unlogged, units 1/0",
        "as asked ",
        "as sent ",
        "log ",
        "workload ",
    ] {
        assert!(page.contains(line), "{page}");
    }
    assert!(
        !page.contains("secret") && !evidence.to_string().contains("secret"),
        "{page}"
    );

    // The line that was edited is the first candidate.
    let (evidence, page) = explain(record(&records, "a", "mismatched"));
    let candidate = &evidence["candidates"][0];
    assert_eq!(candidate["kind"], "line", "{evidence}");
    assert_eq!(
        candidate["misfits"],
        json!([{"why": "differs", "field": "http.response.status_code", "kernel": 200, "log": 404}])
    );
    assert!(
        page.contains("differs in http.response.status_code: kernel 200, log 404"),
        "{page}"
    );

    // The line that nobody caused: the exchange that it pretends to be has its own line.
    let (evidence, page) = explain(record(&records, "a", "unseen"));
    let pattern = records.http("a", "client", "/pattern");
    let paired = json!({"why": "paired", "record": pattern[0].id()});
    let candidates = evidence["candidates"].as_array().unwrap();
    assert!(
        candidates
            .iter()
            .any(|candidate| candidate["misfits"][0] == paired),
        "{evidence}"
    );
    assert!(
        page.contains(&format!("belongs together: {}", pattern[0].id())),
        "{page}"
    );

    // The bypass: nobody in the pod holds the other end.
    let (evidence, page) = explain(record(&records, "a", "bypassed"));
    assert_eq!(evidence["connection"]["server"], Value::Null);
    assert_eq!(evidence["connection"]["client"]["role"], "app");
    let asked = format!("{outside}:80");
    assert_eq!(evidence["connection"]["asked"][1], *asked);
    assert!(page.contains("accepted by nobody in this pod"), "{page}");

    // What there is nothing to tell of.
    let refused = |id: &str, code: i32, words: &str| {
        let output = run(&[id]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(words), "{message}");
    };
    refused(pattern[0].id(), 1, "`matched`");
    let (start, _) = pattern[0].id().rsplit_once('-').unwrap();
    refused(&format!("{start}-999999"), 1, "no record with this number");
    refused("00-1", 1, "another start");
    refused("nonsense", 2, "expected the id of a record");
    let id = unlogged.id().to_owned();
    let agent = session.agent;
    assert!(agent.stop().unwrap().status.success());
    let output = agent::run(&session.lab, &["explain", &id, "--config", config]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("no agent runs"),
        "{}",
        text(&output.stderr)
    );
}
