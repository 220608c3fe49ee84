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
    scenarios: &[
        Scenario {
            name: "format_json",
            happens: "both sidecars log JSON with other names, nested, which the agent is given",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods: || pods(Format::Json(object())),
            play: |session| understood(session, "/format-json", "\"target\":\"/format-json"),
        },
        Scenario {
            name: "who_asked",
            happens: "a request bears a token, and the log names the identities in both certificates, which the agent is told to keep",
            recorded: "both sides: `matched` 1/1, with the token's `sub` and the peer's identity",
            finds: &[],
            pods: || pods(Format::Json(object())),
            play: who_asked,
        },
    ],
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
        "identity": { "client": "%DOWNSTREAM_PEER_URI_SAN%", "server": "%UPSTREAM_PEER_URI_SAN%" },
    })
}

pub(crate) fn with_string(config: Config) -> Config {
    config.setting("/logs/format", json!(STRING))
}

pub(crate) fn with_object(config: Config) -> Config {
    config
        .setting("/logs/format", json!({ "json": object() }))
        .setting(
            "/redact",
            json!({ "identity": { "jwt_claims": ["sub"], "form": "plain" } }),
        )
}

fn pods(format: Format) -> Vec<PodSpec> {
    vec![
        PodSpec::new("a").logging(format.clone()),
        PodSpec::new("b").logging(format),
    ]
}

fn who_asked(session: &mut Session) -> Result<Judge> {
    // {"alg":"none"}.{"sub":"alice","aud":"shop"}.sig
    const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImF1ZCI6InNob3AifQ.c2ln";
    let header = format!("authorization: Bearer {TOKEN}");
    ensure!(get(session, "a", "b", "/who-asked", &["-H", &header])? == 200);
    judge(|evidence| {
        matched_at_both(evidence, "a", "b", "/who-asked")?;
        for (pod, side, peer) in [
            ("a", "client", ("tls.server.subject", "/sa/b")),
            ("b", "server", ("tls.client.subject", "/sa/a")),
        ] {
            for record in evidence.http(pod, side, "/who-asked").records {
                let attribute = |name: &str| record.text(&format!("/attributes/{name}"));
                let identity = attribute(peer.0);
                let is_peer = identity.starts_with("spiffe://") && identity.ends_with(peer.1);
                ensure!(
                    is_peer && attribute("enduser.id") == "alice",
                    "{}",
                    record.line()
                );
            }
        }
        let token = evidence
            .records
            .find(|record| record.line().contains("eyJ"));
        ensure!(token.is_empty(), "the token is in a record");
        Ok(())
    })
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
