//! Text that a terminal would obey.

use std::{
    fs::{self, File},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lab::{
    Session,
    agent::{self, Config},
    pod::{APP, PodSpec},
    process::User,
};
use serde_json::json;

use crate::stage::{Chapter, Judge, Scenario, judge};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Text that a terminal would obey",
    scenarios: &[Scenario {
        name: "escapes_and_markup",
        happens: "paths, user agents and names of programs hold control characters, escape sequences, marks that reorder text, and `</script>`",
        recorded: "`matched`, `outside` within the pod; records, `watch`, and the agent's own log hold none of them unescaped",
        finds: &[("painter", "MW-010"), ("painted", "MW-010")],
        pods: || ["painter", "painted"].map(PodSpec::new).to_vec(),
        play: escapes_and_markup,
    }],
};

/// How long `watch` may take to attach, and to show a record.
const PATIENCE: Duration = Duration::from_secs(60);

/// The app, asked without its sidecar.
const WITHIN: &str = "127.0.0.1:8080";

/// What Envoy lets pass: C1 controls, a mark that reorders text, markup.
const USER_AGENT: &str =
    "\u{9b}2J\u{9d}0;title\u{9c}\u{202e}nimda</script><script>alert(1)</script>";

fn escapes_and_markup(session: &mut Session) -> Result<Judge> {
    let lab = &session.lab;
    let painter = lab.pod("painter");
    let config = Config::new(lab, "watch")?;
    let shown = lab.directory().join("watched");
    let watch = agent::start_watch(lab, &config, File::create(&shown)?)?;
    shows(&shown, |text| text.contains("start, version"))?;
    let server = format!("{}:8080", lab.pod("painted").addresses().v4);
    let script = json!([
        { "path": "/painted", "headers": { "user-agent": USER_AGENT } },
        { "path": "/</script>\u{202e}", "headers": { "user-agent": USER_AGENT } },
    ]);
    ensure!(
        painter
            .client(&["requests", &server, &script.to_string()])?
            .len()
            == 2
    );
    // Envoy refuses these; within the pod nobody does.
    let escapes = r"GET /\x1b[2J\x7f HTTP/1.1\r\nhost: b\r\nuser-agent: \x1b[2J\r\n\r\n";
    let controls = r"GET /\xc2\x9b2J\xe2\x80\xae HTTP/1.1\r\nhost: b\r\n\r\n";
    for address in [&server, WITHIN] {
        for raw in [escapes, controls] {
            painter.client(&["bytes", address, raw, "200"])?;
        }
    }
    // A program may call itself what it likes.
    let program = lab.directory().join("\u{1b}[2Jcurl");
    fs::copy("/usr/bin/curl", &program)?;
    let url = format!("http://{WITHIN}/named");
    let words = [program.as_os_str(), "-sS".as_ref(), url.as_ref()];
    let output = painter.run(APP, User::APP, words)?;
    ensure!(output.status.success(), "{output:?}");
    session.settle()?;
    let watched = shows(&shown, |text| {
        [r"/\u{9b}2J\u{202e}", r"\u{1b}[2Jcurl", "/painted"]
            .iter()
            .all(|part| text.contains(part))
    })?;
    drop(watch);
    ensure!(is_harmless(&watched), "{watched:?}");
    judge(|evidence| {
        ensure!(
            is_harmless(&evidence.ended.stderr),
            "{:?}",
            evidence.ended.stderr
        );
        for record in evidence.records.all() {
            ensure!(is_harmless(record.line()), "{:?}", record.line());
        }
        for (pod, side) in [("painter", "client"), ("painted", "server")] {
            let found = evidence.http(pod, side, "/painted");
            found.are("matched")?.of_units(1, 1)?;
            let told = found.records[0].text("/attributes/http.request.header.user-agent/0");
            ensure!(told == USER_AGENT, "{told:?}");
        }
        evidence
            .of("painter", "requests within the pod", |record| {
                record.server() == Some(("127.0.0.1", 8080))
            })
            .are("outside")?
            .with_reason("pod_internal")?;
        Ok(())
    })
}

/// Waits until a file's text is as it should be.
fn shows(file: &Path, complete: impl Fn(&str) -> bool) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(file)?;
        if complete(&text) {
            return Ok(text);
        }
        ensure!(Instant::now() < deadline, "watch shows:\n{text}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Nothing in it is obeyed by a terminal, the ends of lines aside.
fn is_harmless(text: &str) -> bool {
    text.chars().all(|character| {
        character == '\n'
            || !character.is_control()
                && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
    })
}
