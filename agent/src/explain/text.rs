//! An explanation for people. Control characters are escaped: paths are attackers' bytes.

use std::fmt::{Display, Write};

use serde_json::Value;

use super::{rule, wire::Explanation};
use crate::{
    ledger::evidence::{
        Candidate, ConnectionEvidence, EndEvidence, Evidence, LogPlace, LogWindow, Misfit, Subject,
    },
    record::{Printable, Reason, Verdict},
};

/// The whole of it, a line a fact.
#[must_use]
pub fn to_text(explanation: &Explanation) -> String {
    let mut page = Page::default();
    let Explanation { record, evidence } = explanation;
    page.record(record);
    if let Some(connection) = &evidence.connection {
        page.connection(connection);
    }
    if let Some(log) = &evidence.log {
        page.log(log);
    }
    page.kernel(evidence);
    page.candidates(evidence);
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, name: &str, what: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{name:<12}{}", Printable(&what.to_string()));
    }

    fn record(&mut self, record: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.line("record", text(&record["id"]));
        let units = &record["units"];
        let units = format!("{}/{}", units["observed"], units["logged"]);
        self.line(
            "verdict",
            format_args!("{}, units {units}", text(&record["verdict"])),
        );
        if let Ok(verdict) = serde_json::from_value::<Verdict>(record["verdict"].clone()) {
            self.line("rule", rule::of_verdict(verdict));
        }
        for reason in record["reasons"].as_array().into_iter().flatten() {
            let known = serde_json::from_value::<Reason>(reason.clone());
            let meaning = known.map_or("", rule::of_reason);
            self.line("reason", format_args!("{}: {meaning}", text(reason)));
        }
        self.line("time", text(&record["time"]));
        self.line("what", what(record));
        self.line("side", record["side"].as_str().unwrap_or("not known"));
        self.line("workload", workload(&record["workload"]));
        for difference in record["differences"].as_array().into_iter().flatten() {
            let field = text(&difference["field"]);
            let (kernel, log) = (shown(&difference["kernel"]), shown(&difference["log"]));
            self.line(
                "differs",
                format_args!("{field}: kernel {kernel}, log {log}"),
            );
        }
        let line = &record["envoy"];
        if let Some(file) = line["log.file"].as_str() {
            self.line(
                "line",
                format_args!("{file} at byte {}", line["log.offset"]),
            );
        }
        for revised in record["revises"].as_array().into_iter().flatten() {
            self.line("revises", text(revised));
        }
    }

    fn connection(&mut self, connection: &ConnectionEvidence) {
        match &connection.asked {
            Some((from, to)) => self.line("as asked", format_args!("{from} → {to}")),
            None => self.line(
                "as asked",
                "not seen: the call is older than the agent, or elsewhere",
            ),
        }
        let (from, to) = &connection.sent;
        self.line("as sent", format_args!("{from} → {to}"));
        self.line("opened by", end(connection.client.as_ref()));
        self.line("accepted by", end(connection.server.as_ref()));
        let closed = match &connection.closed {
            Some(closed) => format!("closed {closed}"),
            None => "open at the verdict".to_owned(),
        };
        let established = match connection.established {
            true => "",
            false => ", never established",
        };
        let preexisting = match connection.preexisting {
            true => ", older than the agent",
            false => "",
        };
        let opened = connection.opened;
        self.line(
            "connection",
            format_args!("opened {opened}, {closed}{established}{preexisting}"),
        );
    }

    fn log(&mut self, log: &LogWindow) {
        self.line(
            "log",
            format_args!("searched for stamps from {} to {}", log.from, log.to),
        );
        match (&log.begin, &log.end) {
            (Some(begin), Some(end)) => {
                self.line("", format_args!("from {}", place(begin)));
                self.line("", format_args!("to {}", place(end)));
            }
            _ => self.line("", "not one line of it was read"),
        }
        match &log.read_until {
            Some(until) => self.line("", format_args!("read up to {until}")),
            None => self.line("", "how far it was read is not known"),
        }
        if !log.lines_ever {
            self.line("", "not one access-log line was ever read from this pod");
        }
        match log.holes.is_empty() {
            true => self.line("", "no known hole in that time"),
            false => {
                for hole in &log.holes {
                    self.line("", format_args!("hole in the log, noticed {}", hole.time));
                }
            }
        }
    }

    fn kernel(&mut self, evidence: &Evidence) {
        let until = evidence.captured_until;
        self.line(
            "kernel",
            format_args!("everything sent before {until} was told"),
        );
        if evidence.losses.is_empty() && evidence.connection.is_some() {
            self.line("", "nothing was lost on this connection");
        }
        for loss in &evidence.losses {
            let cause = serde_json::to_value(loss.cause).unwrap_or_default();
            let cause = cause.as_str().unwrap_or_default();
            let what = match loss.heads {
                Some(0) => "request heads in a number that is not known".to_owned(),
                Some(heads) => format!("{heads} request heads"),
                None => "a part of the exchange".to_owned(),
            };
            self.line(
                "",
                format_args!("lost ({cause}): {what}, noticed {}", loss.time),
            );
        }
    }

    fn candidates(&mut self, evidence: &Evidence) {
        if evidence.candidates.is_empty() {
            self.line("candidates", "none");
        }
        for (number, candidate) in (1..).zip(&evidence.candidates) {
            self.line(
                "candidate",
                format_args!("{number}: {}", subject(candidate)),
            );
            if candidate.misfits.is_empty() {
                self.line("", "agrees, and was needed elsewhere");
            }
            for misfit in &candidate.misfits {
                self.line("", misfit_text(misfit));
            }
        }
        if evidence.further_candidates > 0 {
            let further = evidence.further_candidates;
            self.line("", format_args!("and {further} more, further away in time"));
        }
    }
}

fn what(record: &Value) -> String {
    let attributes = &record["attributes"];
    let method = &attributes["http.request.method"];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let end = |end: &str| {
        let address = text(&attributes[format!("{end}.address")]);
        format!("{address}:{}", shown(&attributes[format!("{end}.port")]))
    };
    let ends = format!("{} → {}", end("client"), end("server"));
    if record["kind"] != "http" {
        return format!("{}, {ends}", text(&record["kind"]));
    }
    let query = attributes["url.query"].as_str();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let status = shown(&attributes["http.response.status_code"]);
    format!(
        "{} {}{query} {status}, {ends}",
        text(method),
        text(&attributes["url.path"])
    )
}

fn workload(workload: &Value) -> String {
    let mut parts = Vec::new();
    for (name, word) in [
        ("k8s.namespace.name", "namespace"),
        ("k8s.pod.name", "pod"),
        ("k8s.pod.uid", "uid"),
        ("k8s.container.name", "container"),
        ("process.pid", "process"),
        ("process.command", "command"),
        ("user.id", "user"),
    ] {
        if !workload[name].is_null() {
            parts.push(format!("{word} {}", shown(&workload[name])));
        }
    }
    parts.join(", ")
}

fn end(end: Option<&EndEvidence>) -> String {
    let Some(end) = end else {
        return "nobody in this pod".to_owned();
    };
    let role = match end.role.as_str() {
        "app" => "the app",
        "proxy" => "the proxy",
        "pilot_agent" => "pilot-agent",
        "foreign" => "another program in the proxy's container",
        "mesh_init" => "an init container of the mesh",
        "kubelet" => "the kubelet",
        "outside" => "something outside pods",
        _ => "somebody whose part is not known",
    };
    let container = end.container.as_ref();
    let container = container
        .map(|name| format!(", container {name}"))
        .unwrap_or_default();
    let process = end.process.as_ref().map(|process| {
        format!(
            ", process {} `{}`, user {}",
            process.pid, process.command, process.user
        )
    });
    format!("{role}{container}{}", process.unwrap_or_default())
}

fn place(place: &LogPlace) -> String {
    format!(
        "{} at byte {}, stamped {}",
        place.file, place.offset, place.time
    )
}

fn subject(candidate: &Candidate) -> String {
    match &candidate.subject {
        Subject::Line {
            place: at,
            start_time,
            what,
        } => {
            let what = what.as_deref().unwrap_or("unreadable");
            let start = start_time.map(|start| format!(", START_TIME {start}"));
            format!("line `{what}`, {}{}", place(at), start.unwrap_or_default())
        }
        Subject::Exchange {
            source,
            number,
            stream,
            time,
            end,
            what,
        } => {
            let what = what
                .as_ref()
                .map(|what| format!(" `{what}`"))
                .unwrap_or_default();
            let end = end.map(|end| format!(" to {end}")).unwrap_or_default();
            let carried = carried_by(*stream);
            format!("exchange {number}{carried} of {source}{what}, {time}{end}")
        }
        Subject::Pair {
            number,
            stream,
            time,
            offset,
            stamp,
        } => format!(
            "exchange {number}{} of this connection at {time} with the line at byte {offset}, \
             stamped {stamp}",
            carried_by(*stream)
        ),
        Subject::Connection {
            source,
            destination,
            opened,
            closed,
        } => {
            let closed =
                closed.map_or_else(|| "still open".to_owned(), |time| format!("closed {time}"));
            format!("connection {source} → {destination}, opened {opened}, {closed}")
        }
    }
}

/// The HTTP/2 stream of an exchange, if one carried it.
fn carried_by(stream: Option<u32>) -> String {
    stream.map_or_else(String::new, |stream| format!(" (stream {stream})"))
}

fn misfit_text(misfit: &Misfit) -> String {
    match misfit {
        Misfit::Differs { field, kernel, log } => {
            format!(
                "differs in {field}: kernel {}, log {}",
                shown(kernel),
                shown(log)
            )
        }
        Misfit::Time {
            seconds_after_begin: seconds,
        } => {
            let side = if *seconds < 0.0 { "before" } else { "after" };
            format!(
                "START_TIME is {:.3} s {side} its begin, outside of its time",
                seconds.abs()
            )
        }
        Misfit::RequestId => "another x-request-id".to_owned(),
        Misfit::AnotherConnection {
            source: Some(source),
        } => format!("the line names another connection: {source}"),
        Misfit::AnotherConnection { source: None } => "the line names no connection".to_owned(),
        Misfit::Paired { record } => format!("belongs together: {record}"),
        Misfit::Judged { record } => format!("judged without another half: {record}"),
        Misfit::Repeated { record } => format!("the same line is paired already: {record}"),
        Misfit::NotEnded => "has not ended, so its line is not written yet".to_owned(),
        Misfit::Unreadable => "cannot be read, or not for sure".to_owned(),
    }
}

/// Text without quotes, everything else as JSON; null as `-`.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Evidence, Explanation, Misfit, to_text};
    use crate::{
        ledger::evidence::{Candidate, ConnectionEvidence, LogPlace, LogWindow, Subject},
        timestamp::Timestamp,
    };

    fn explanation() -> Explanation {
        let time = Timestamp(1_795_334_897_916_000_000);
        let place = LogPlace {
            file: "pods/x/0.log".into(),
            offset: 10,
            time,
        };
        let evidence = Evidence {
            sequence: 3,
            connection: Some(ConnectionEvidence {
                opened: time,
                closed: None,
                asked: Some((
                    "10.0.0.1:4000".parse().unwrap(),
                    "10.0.0.9:80".parse().unwrap(),
                )),
                sent: (
                    "10.0.0.1:4000".parse().unwrap(),
                    "127.0.0.1:15001".parse().unwrap(),
                ),
                client: None,
                server: None,
                established: true,
                preexisting: false,
            }),
            log: Some(LogWindow {
                from: time,
                to: time,
                begin: Some(place.clone()),
                end: Some(place.clone()),
                read_until: Some(time),
                holes: Vec::new(),
                lines_ever: true,
            }),
            captured_until: time,
            losses: Vec::new(),
            candidates: vec![Candidate {
                subject: Subject::Line {
                    place,
                    start_time: None,
                    what: Some("GET /\u{1b}[2J 200".into()),
                },
                misfits: vec![Misfit::Differs {
                    field: "url.path".into(),
                    kernel: json!("/a"),
                    log: json!("/b\n"),
                }],
            }],
            further_candidates: 2,
        };
        let record = json!({
            "id": "s-3", "kind": "http", "verdict": "unlogged", "reasons": ["role_by_name"],
            "time": "2026", "units": {"observed": 1, "logged": 0}, "side": "client",
            "workload": {"k8s.pod.name": "a\u{7}"},
            "attributes": {"http.request.method": "GET", "url.path": "/\u{1b}]0;x\u{7}"},
            "differences": [],
        });
        Explanation { record, evidence }
    }

    #[test]
    fn everything_is_said_and_nothing_reaches_the_terminal() {
        let text = to_text(&explanation());
        for line in [
            "record      s-3",
            "verdict     unlogged, units 1/0",
            "reason      role_by_name: the proxy's listeners are older",
            "workload    pod a\\u{7}",
            "what        GET /\\u{1b}]0;x\\u{7} -, -:- → -:-",
            "as asked    10.0.0.1:4000 → 10.0.0.9:80",
            "as sent     10.0.0.1:4000 → 127.0.0.1:15001",
            "accepted by nobody in this pod",
            "            to pods/x/0.log at byte 10, stamped 2026-11-22T08:08:17.916000Z",
            "candidate   1: line `GET /\\u{1b}[2J 200`, pods/x/0.log at byte 10",
            "            differs in url.path: kernel /a, log /b\\n",
            "            and 2 more",
        ] {
            assert!(
                text.lines().any(|other| other.starts_with(line)),
                "{line}\n{text}"
            );
        }
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control()),
            "{text:?}"
        );
    }
}
