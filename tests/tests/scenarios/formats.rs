//! Access logs in forms that the mesh's operators chose.

use anyhow::{Result, ensure};
use lab::{Session, agent::Config, envoy::Format, pod::PodSpec};
use serde_json::{Value, json};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{get, matched_at_both},
};

pub(crate) const TEXT: Chapter = Chapter {
    title: "A log in a format string of one's own",
    scenarios: &[Scenario {
        name: "format_string",
        happens: "both sidecars log in a format string that the agent is given",
        recorded: "both sides: `matched` 1/1",
        finds: &[],
        pods: || pods(Format::Text(STRING.to_owned())),
        play: |session| understood(session, "/format-string", "request=\"GET /format-string"),
    }],
};

pub(crate) const JSON: Chapter = Chapter {
    title: "A log in JSON of one's own",
    scenarios: &[Scenario {
        name: "format_json",
        happens: "both sidecars log JSON with other names, nested, which the agent is given",
        recorded: "both sides: `matched` 1/1",
        finds: &[],
        pods: || pods(Format::Json(object())),
        play: |session| understood(session, "/format-json", "\"target\":\"/format-json"),
    }],
};

const STRING: &str = concat!(
    "%START_TIME(%s.%3f)% request=\"%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%\" ",
    "status=%RESPONSE_CODE% flags=%RESPONSE_FLAGS% in=%BYTES_RECEIVED% out=%BYTES_SENT% ",
    "took=%DURATION% app=%UPSTREAM_LOCAL_ADDRESS% to=%UPSTREAM_HOST% via=%UPSTREAM_CLUSTER% ",
    "asked=%DOWNSTREAM_LOCAL_ADDRESS% from=%DOWNSTREAM_REMOTE_ADDRESS%\n",
);

fn object() -> Value {
    json!({
        "at": "%START_TIME%",
        "request": { "verb": "%REQ(:METHOD)%", "target": "%REQ(:PATH)%", "id": "%REQ(X-REQUEST-ID)%" },
        "answer": { "code": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%", "bytes": "%BYTES_SENT%" },
        "ends": {
            "app": "%UPSTREAM_LOCAL_ADDRESS%",
            "asked": "%DOWNSTREAM_LOCAL_ADDRESS%",
            "from": "%DOWNSTREAM_REMOTE_ADDRESS%",
            "via": "%UPSTREAM_CLUSTER%",
        },
    })
}

pub(crate) fn with_string(config: Config) -> Config {
    config.setting("/logs/format", json!(STRING))
}

pub(crate) fn with_object(config: Config) -> Config {
    config.setting("/logs/format", json!({ "json": object() }))
}

fn pods(format: Format) -> Vec<PodSpec> {
    vec![
        PodSpec::new("a").logging(format.clone()),
        PodSpec::new("b").logging(format),
    ]
}

fn understood(session: &Session, path: &'static str, part: &'static str) -> Result<Judge> {
    ensure!(get(session, "a", "b", path, &[])? == 200);
    let other = format!("{path}/missing");
    ensure!(
        get(
            session,
            "a",
            "b",
            &other,
            &["-H", "x-forwarded-for: 198.51.100.7"]
        )? == 200
    );
    judge(move |evidence| {
        ensure!(!evidence.lines("b", part)?.is_empty(), "no line has {part}");
        matched_at_both(evidence, "a", "b", path)?;
        matched_at_both(evidence, "a", "b", &other)
    })
}
