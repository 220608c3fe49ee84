//! Lines that were removed, changed, repeated or never written by the proxy: amid a connection that
//! is kept alive, or of one of the streams that a connection carries at once, in text and in JSON,
//! at either side.

use anyhow::{Result, ensure};
use lab::{
    Session,
    cri::Fault,
    envoy::Format,
    nginx::{HTTP_PORT, HTTP2_PORT},
    pod::{APP, PROXY, Pod, PodSpec},
    process::User,
};
use serde_json::{Value, json};

use super::tamper::{Field, line_of, met, trap};
use crate::{
    evidence::Evidence,
    stage::{Chapter, Judge, Scenario, judge},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Lines that are not what the proxy wrote",
    scenarios: &[
        Scenario {
            name: "removed_line",
            happens: "of nine requests on a connection, one after the other or at once (HTTP/2), the line of one is removed",
            recorded: "`unlogged` 1/0; the other eight `matched`",
            finds: &[("text", "MW-004"), ("json", "MW-004")],
            pods,
            play: |session| removed(session, "/removed", true),
        },
        Scenario {
            name: "removed_line_among_equals",
            happens: "the same where all nine ask for the same",
            recorded: "`unlogged` 1/0; eight `matched`",
            finds: &[("text", "MW-004"), ("json", "MW-004")],
            pods,
            play: |session| removed(session, "/equals", false),
        },
        Scenario {
            name: "removed_forwarded_line",
            happens: "the same with X-Forwarded-For, where the line names no client",
            recorded: "`unlogged` 1/0; the other eight `matched`",
            finds: &[("text", "MW-004"), ("json", "MW-004")],
            pods,
            play: removed_forwarded,
        },
        Scenario {
            name: "edited_status",
            happens: "the status in a line is changed",
            recorded: "`mismatched` 1/1, which names the field",
            finds: &[("text", "MW-007"), ("json", "MW-007")],
            pods,
            play: |session| edited(session, "/edited/status", Field::Status),
        },
        Scenario {
            name: "edited_method",
            happens: "the method in a line is changed",
            recorded: "`mismatched` 1/1, which names the field",
            finds: &[("text", "MW-007"), ("json", "MW-007")],
            pods,
            play: |session| edited(session, "/edited/method", Field::Method),
        },
        Scenario {
            name: "edited_path",
            happens: "the path in a line is changed",
            recorded: "client: `mismatched` 1/1; server: `matched` (`rewritten`) with both paths",
            finds: &[("text", "MW-007"), ("json", "MW-007")],
            pods,
            play: |session| edited(session, "/edited/path", Field::Path),
        },
        Scenario {
            name: "edited_host",
            happens: "the host in a line is changed",
            recorded: "client: `mismatched` 1/1; server: `matched` (`rewritten`) with both hosts",
            finds: &[("text", "MW-007"), ("json", "MW-007")],
            pods,
            play: |session| edited(session, "/edited/host", Field::Host),
        },
        Scenario {
            name: "edited_bytes_received",
            happens: "the size of the request in a line is changed",
            recorded: "`mismatched` 1/1, which names the field",
            finds: &[("text", "MW-007"), ("json", "MW-007")],
            pods,
            play: |session| edited(session, "/upload/received", Field::BytesReceived),
        },
        Scenario {
            name: "edited_bytes_sent",
            happens: "the size of the response in a line is changed",
            recorded: "client: `mismatched` 1/1; server: `matched` (`rewritten`) with both sizes",
            finds: &[("text", "MW-007"), ("json", "MW-007")],
            pods,
            play: |session| edited(session, "/edited/sent", Field::BytesSent),
        },
        Scenario {
            name: "invented_line",
            happens: "a line is written for a request that nobody sent",
            recorded: "`unseen` 0/1",
            finds: &[("text", "MW-005"), ("json", "MW-005")],
            pods,
            play: invented,
        },
        Scenario {
            name: "repeated_line",
            happens: "a line is written twice",
            recorded: "`unseen` (`repeated`) 0/1; the request `matched`",
            finds: &[("text", "MW-006"), ("json", "MW-006")],
            pods,
            play: repeated,
        },
    ],
};

/// Requests on one connection.
const COUNT: usize = 9;
/// The one whose line is tampered with.
const MEANT: usize = 4;

/// Whose log is tampered with, and what its lines are of: both formats at both sides, HTTP/1.1 and
/// HTTP/2.
const PLACES: [Place; 8] = [
    Place::new("text", "client", false),
    Place::new("text", "server", false),
    Place::new("json", "client", false),
    Place::new("json", "server", false),
    Place::new("text", "client", true),
    Place::new("text", "server", true),
    Place::new("json", "client", true),
    Place::new("json", "server", true),
];

#[derive(Clone, Copy)]
struct Place {
    pod: &'static str,
    side: &'static str,
    http2: bool,
}

impl Place {
    const fn new(pod: &'static str, side: &'static str, http2: bool) -> Self {
        Self { pod, side, http2 }
    }

    /// The pod at the other side.
    fn other(self) -> Self {
        let side = if self.side == "client" {
            "server"
        } else {
            "client"
        };
        let pod = if self.pod == "text" { "json" } else { "text" };
        Self { pod, side, ..self }
    }

    fn client(self) -> &'static str {
        match self.side {
            "client" => self.pod,
            _ => self.other().pod,
        }
    }

    /// A path that no other place has.
    fn path(self, base: &str) -> String {
        let version = if self.http2 { "h2" } else { "h1" };
        format!("{base}/{}-{}-{version}", self.pod, self.side)
    }
}

fn pods() -> Vec<PodSpec> {
    vec![
        PodSpec::new("text"),
        PodSpec::new("json").logging(Format::IstioJson),
    ]
}

/// Requests on one connection from the place's client to its server.
fn send(session: &Session, place: Place, requests: &[Value]) -> Result<()> {
    let server = if place.client() == "text" {
        "json"
    } else {
        "text"
    };
    let lab = &session.lab;
    let (client, server) = (lab.pod(place.client()), lab.pod(server).addresses().v4);
    if place.http2 {
        return send_at_once(client, &format!("{server}:{HTTP2_PORT}"), requests);
    }
    let server = format!("{server}:{HTTP_PORT}");
    let script = json!(requests).to_string();
    let responses = client.client(&["requests", &server, &script])?;
    ensure!(responses.len() == requests.len());
    Ok(())
}

/// The same over HTTP/2: the streams are on their way at the same time, with the last body.
fn send_at_once(client: &Pod, server: &str, requests: &[Value]) -> Result<()> {
    let path = |request: &Value| request["path"].as_str().unwrap_or_default().to_owned();
    let mut paths: Vec<String> = requests.iter().map(path).collect();
    paths.dedup();
    // One path is asked for so many times, several once each.
    let times = if paths.len() == 1 { requests.len() } else { 1 };
    let mut words: Vec<String> = ["nghttp", "-nv", "--no-dep", "-m"]
        .map(str::to_owned)
        .into();
    words.push(times.to_string());
    for request in requests.iter().take(1) {
        for (name, value) in request["headers"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            words.extend(["-H".to_owned(), format!("{name}: {value}")]);
        }
    }
    if let Some(body) = requests.iter().find_map(|request| request["body"].as_str()) {
        let file = client.directory().join("body");
        std::fs::write(&file, body)?;
        words.extend(["-d".to_owned(), file.display().to_string()]);
    }
    words.extend(paths.iter().map(|path| format!("http://{server}{path}")));
    let output = client.run(APP, User::APP, words)?;
    let frames = String::from_utf8_lossy(&output.stdout);
    let answered = frames.matches(":status: 2").count();
    ensure!(answered == requests.len(), "{output:?}");
    Ok(())
}

fn matched(evidence: &Evidence, place: Place, path: &str, count: usize) -> Result<()> {
    let count = i64::try_from(count)?;
    evidence
        .http(place.pod, place.side, path)
        .of_verdict("matched")
        .of_units(count, count)?;
    Ok(())
}

fn removed(session: &Session, base: &'static str, distinct: bool) -> Result<Judge> {
    let path = move |place: Place, number: usize| match distinct {
        true => format!("{}/{number}", place.path(base)),
        false => place.path(base),
    };
    for place in PLACES {
        let nth = if distinct { 0 } else { MEANT };
        let fault = trap(session, place.pod, nth, &path(place, MEANT), Fault::Drop);
        let requests: Vec<Value> = (0..COUNT)
            .map(|number| json!({ "path": path(place, number) }))
            .collect();
        send(session, place, &requests)?;
        met(&fault)?;
    }
    judge(move |evidence| {
        for place in PLACES {
            evidence
                .http(place.pod, place.side, &path(place, MEANT))
                .of_verdict("unlogged")
                .are("unlogged")?
                .are_as_many_as(1)?
                .of_units(1, 0)?;
            if distinct {
                for number in (0..COUNT).filter(|number| *number != MEANT) {
                    matched(evidence, place, &path(place, number), 1)?;
                }
            } else {
                matched(evidence, place, &path(place, MEANT), COUNT - 1)?;
                matched(evidence, place.other(), &path(place, MEANT), COUNT)?;
            }
        }
        Ok(())
    })
}

fn removed_forwarded(session: &mut Session) -> Result<Judge> {
    const BASE: &str = "/forwarded";
    for place in PLACES {
        let path = place.path(BASE);
        let meant = format!("{path}/{MEANT}");
        let fault = trap(session, place.pod, 0, &meant, Fault::Drop);
        let requests: Vec<Value> = (0..COUNT)
            .map(|number| {
                let headers = json!({ "x-forwarded-for": "198.51.100.7" });
                json!({ "path": format!("{path}/{number}"), "headers": headers })
            })
            .collect();
        send(session, place, &requests)?;
        met(&fault)?;
    }
    judge(move |evidence| {
        for place in PLACES {
            let path = place.path(BASE);
            let meant = format!("{path}/{MEANT}");
            evidence
                .http(place.pod, place.side, &meant)
                .are("unlogged")?
                .of_units(1, 0)?;
            for number in (0..COUNT).filter(|number| *number != MEANT) {
                matched(evidence, place, &format!("{path}/{number}"), 1)?;
            }
        }
        Ok(())
    })
}

fn edited(session: &Session, base: &'static str, field: Field) -> Result<Judge> {
    for place in PLACES {
        let path = place.path(base);
        let fault = Fault::Edit(Box::new(move |line| field.edited(line)));
        let fault = trap(session, place.pod, 0, &path, fault);
        let before = format!("{path}/before");
        let after = format!("{path}/after");
        let meant = json!({ "path": path, "method": "POST", "body": "eleven byte" });
        send(
            session,
            place,
            &[json!({ "path": before }), meant, json!({ "path": after })],
        )?;
        let line = met(&fault)?;
        ensure!(field.edited(&line) != line, "nothing was changed in {line}");
    }
    judge(move |evidence| {
        for place in PLACES {
            let path = place.path(base);
            matched(evidence, place.other(), &path, 1)?;
            for neighbour in ["before", "after"] {
                matched(evidence, place, &format!("{path}/{neighbour}"), 1)?;
            }
            let found = evidence.http(place.pod, place.side, &path);
            let (name, is_rewritten) = shown_as(field);
            if is_rewritten && place.side == "server" {
                found.are("matched")?.with_reason("rewritten")?;
            } else {
                found.are("mismatched")?;
            }
            found.of_units(1, 1)?.are_as_many_as(1)?;
            let record = found.records[0];
            ensure!(record.differing_fields() == [name], "{}", record.line());
        }
        Ok(())
    })
}

/// The field's name in a record, and whether a proxy may change it on the way to its app.
fn shown_as(field: Field) -> (&'static str, bool) {
    match field {
        Field::Method => ("http.request.method", false),
        Field::Path => ("url.path", true),
        Field::Host => ("http.request.header.host", true),
        Field::Status => ("http.response.status_code", false),
        Field::BytesReceived => ("http.request.body.size", false),
        Field::BytesSent => ("http.response.body.size", true),
    }
}

fn invented(session: &mut Session) -> Result<Judge> {
    const BASE: &str = "/pattern";
    for place in PLACES {
        let path = place.path(BASE);
        send(session, place, &[json!({ "path": path })])?;
        let line = line_of(session, place.pod, &path)?;
        let log = &session.lab.pod(place.pod).container(PROXY).log;
        // On a connection that was there, and on one that never was.
        log.invent(&line.replace(&path, &place.path("/invented")))?;
        let elsewhere = line.replace(&path, &place.path("/nowhere"));
        log.invent(&with_other_ports(&elsewhere))?;
    }
    judge(|evidence| {
        for place in PLACES {
            matched(evidence, place, &place.path(BASE), 1)?;
            for base in ["/invented", "/nowhere"] {
                let path = place.path(base);
                evidence
                    .of(place.pod, &path, |record| record.path() == path)
                    .are("unseen")?
                    .of_units(0, 1)?;
            }
        }
        Ok(())
    })
}

/// The same line from other source ports: every port of five digits becomes port 9.
fn with_other_ports(line: &str) -> String {
    let mut parts = line.split(':');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        text.push(':');
        text.push_str(if digits == 5 { "9" } else { &part[..digits] });
        text.push_str(&part[digits..]);
    }
    text
}

fn repeated(session: &mut Session) -> Result<Judge> {
    const BASE: &str = "/repeated";
    for place in PLACES {
        let path = place.path(BASE);
        let fault = trap(session, place.pod, MEANT, &path, Fault::Repeat);
        let requests = vec![json!({ "path": path }); COUNT];
        send(session, place, &requests)?;
        met(&fault)?;
    }
    judge(|evidence| {
        for place in PLACES {
            let path = place.path(BASE);
            matched(evidence, place, &path, COUNT)?;
            evidence
                .http(place.pod, place.side, &path)
                .of_verdict("unseen")
                .are("unseen")?
                .with_reason("repeated")?
                .of_units(0, 1)?;
        }
        Ok(())
    })
}
