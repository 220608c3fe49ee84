//! What a candidate is and why it does not fit, in the words of evidence.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{
    ledger::{
        compare::{compare, fits_in_time},
        evidence::{Candidate, LogPlace, Misfit, Subject},
        input::{Entry, Exchange, Line, LineContent},
        tracked::MeshConnection,
    },
    record::{Difference, Shown, Side},
    timestamp::Timestamp,
};

/// The longest value that is shown of a candidate, in characters.
const MOST_SHOWN: usize = 256;

/// The line that was taken for the other half, although it differs.
pub(super) fn candidate_of_pair(line: &Line, differences: Vec<Difference>) -> Candidate {
    let mut misfits: Vec<_> = differences.into_iter().map(differs).collect();
    misfits.extend(unreadable(line));
    Candidate {
        subject: line_subject(line),
        misfits,
    }
}

pub(super) fn misfits_of_line(side: Side, exchange: &Exchange, line: &Line) -> Vec<Misfit> {
    let compared = line.entry().map(|entry| misfits(side, exchange, entry));
    let mut misfits = compared.unwrap_or_default();
    misfits.extend(unreadable(line));
    misfits
}

pub(super) fn misfits(side: Side, exchange: &Exchange, entry: &Entry) -> Vec<Misfit> {
    let mut misfits = Vec::new();
    let ids = (exchange.request_id, entry.request_id);
    if let (Some(kernel), Some(log)) = ids
        && kernel != log
    {
        misfits.push(Misfit::RequestId);
    }
    if let Some(start) = entry.start_time
        && !fits_in_time(side, exchange.time, exchange.end, entry)
    {
        misfits.push(time_misfit(exchange.time, start));
    }
    misfits.extend(
        compare(side, exchange, entry)
            .differences
            .into_iter()
            .map(differs),
    );
    misfits
}

pub(super) fn time_misfit(begin: Timestamp, start: Timestamp) -> Misfit {
    let distance = begin.distance(start).as_secs_f64();
    let seconds_after_begin = if start < begin { -distance } else { distance };
    Misfit::Time {
        seconds_after_begin,
    }
}

fn unreadable(line: &Line) -> Option<Misfit> {
    let is_sure = matches!(line.content, LineContent::Entry(_));
    (!is_sure).then_some(Misfit::Unreadable)
}

fn differs(difference: Difference) -> Misfit {
    Misfit::Differs {
        field: difference.field,
        kernel: clipped_value(difference.kernel),
        log: clipped_value(difference.log),
    }
}

/// The address by which a line names a connection between app and sidecar.
pub(super) fn named_source(side: Side, entry: &Entry) -> Option<SocketAddr> {
    match side {
        Side::Client => entry.downstream(),
        _ => entry.upstream_local_address,
    }
}

pub(super) fn line_subject(line: &Line) -> Subject {
    let entry = line.entry();
    Subject::Line {
        place: LogPlace {
            file: line.file.to_string(),
            offset: line.offset,
            time: line.time,
        },
        start_time: entry.and_then(|entry| entry.start_time),
        what: entry.map(|entry| what(entry.method.as_deref(), &entry.shown, entry.response_code)),
    }
}

pub(super) fn exchange_subject(mesh: &MeshConnection, exchange: &Exchange) -> Subject {
    let status = exchange
        .response
        .as_ref()
        .and_then(|response| response.status);
    Subject::Exchange {
        source: mesh.connection.source,
        number: exchange.exchange,
        stream: exchange.stream,
        time: exchange.time,
        end: Some(exchange.end),
        what: Some(what(exchange.method.as_deref(), &exchange.shown, status)),
    }
}

/// Method, target and status, as far as they are known.
fn what(method: Option<&str>, shown: &Shown, status: Option<u16>) -> String {
    let path = shown.path.as_deref().unwrap_or("-");
    let query = shown.query.as_ref().map(|query| format!("?{query}"));
    let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let target = clipped(&format!("{path}{}", query.unwrap_or_default()));
    format!("{} {target} {status}", method.unwrap_or("-"))
}

fn clipped_value(value: Value) -> Value {
    match value {
        Value::String(text) => json!(clipped(&text)),
        other => other,
    }
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(MOST_SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
