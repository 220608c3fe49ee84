//! A scene, as its inputs, to be read by people.

use meshwitness::{
    http::ConnectionId,
    ledger::{Entry, Exchange, Input},
    timestamp::Timestamp,
};

use crate::scene::BEGIN;

/// One line for each input, without those that only say that time passes.
pub(crate) fn tell(inputs: &[Input]) -> String {
    let mut story = String::new();
    let mut passed: Option<String> = None;
    for input in inputs {
        if let Input::CaptureProgress(_) | Input::LogProgress { .. } | Input::Tick(_) = input {
            passed = Some(line(input));
            continue;
        }
        for line in passed.take().into_iter().chain([line(input)]) {
            story.push_str(&line);
            story.push('\n');
        }
    }
    story
}

fn line(input: &Input) -> String {
    match input {
        Input::Opened(connection) => format!(
            "{} #{} opened {} -> {} asked {:?}{}{}",
            at(connection.time),
            connection.id,
            connection.source,
            connection.destination,
            connection.asked,
            if connection.preexisting {
                " preexisting"
            } else {
                ""
            },
            if connection.established {
                ""
            } else {
                " not established"
            },
        ),
        Input::Greeted {
            connection,
            time,
            greeting,
        } => format!("{} #{connection} greeted: {greeting:?}", at(*time)),
        Input::Begun {
            connection,
            exchange,
            time,
            ..
        } => format!("{} {} begun", at(*time), name(*connection, *exchange)),
        Input::Ended(exchange) => ended(exchange),
        Input::Lost {
            connection,
            exchanges,
            time,
            cause,
        } => format!(
            "{} #{connection} lost {exchanges} heads: {cause:?}",
            at(*time)
        ),
        Input::Closed(closed) => format!(
            "{} #{} closed after {}/{} bytes{}{}",
            at(closed.time),
            closed.connection,
            closed.client_bytes,
            closed.server_bytes,
            if closed.both_fin {
                ""
            } else {
                " without both FIN"
            },
            if closed.no_request {
                " without a request"
            } else {
                ""
            },
        ),
        Input::Line(line) => {
            let what = match line.entry() {
                Some(entry) => logged(entry),
                None => format!("{:?}", line.content),
            };
            let pod = line.pod_uid.trim_start_matches('0');
            let pod = pod.split('-').next().unwrap_or_default();
            format!(
                "{} line {} of pod {pod}: {what}",
                at(line.time),
                line.offset
            )
        }
        Input::CaptureProgress(time) => format!("{} captured", at(*time)),
        Input::Tick(time) => format!("{} tick", at(*time)),
        other => format!("{other:?}"),
    }
}

fn ended(exchange: &Exchange) -> String {
    let response = exchange.response.as_ref();
    format!(
        "{} {} ended: {} {}{} {} bytes in, {:?} {:?} bytes out{}{}, began {}",
        at(exchange.end),
        name(exchange.connection, exchange.exchange),
        exchange.method.as_deref().unwrap_or("-"),
        exchange.shown.path.as_deref().unwrap_or("-"),
        exchange
            .shown
            .query
            .as_ref()
            .map_or(String::new(), |query| format!("?{query}")),
        exchange.request_bytes,
        response.and_then(|response| response.status),
        response.map(|response| response.bytes),
        if exchange.forwarded { " forwarded" } else { "" },
        exchange
            .gap
            .map_or(String::new(), |gap| format!(" {gap:?}")),
        at(exchange.time),
    )
}

fn logged(entry: &Entry) -> String {
    format!(
        "{} {}{} {:?} {} {:?} in {:?} out {:?} ms, start {} from {:?} to {:?} by {:?}",
        entry.method.as_deref().unwrap_or("-"),
        entry.shown.path.as_deref().unwrap_or("-"),
        entry
            .shown
            .query
            .as_ref()
            .map_or(String::new(), |query| format!("?{query}")),
        entry.response_code,
        entry.response_flags.as_deref().unwrap_or("-"),
        entry.bytes_received,
        entry.bytes_sent,
        entry.duration_milliseconds,
        entry.start_time.map_or("-".to_owned(), at),
        entry.downstream_remote_address,
        entry.downstream_local_address,
        entry.upstream_local_address,
    )
}

fn name(connection: ConnectionId, exchange: u32) -> String {
    format!("#{connection}.{exchange}")
}

/// Milliseconds since the agent began.
fn at(time: Timestamp) -> String {
    let milliseconds = |duration: std::time::Duration| duration.as_secs_f64() * 1_000.0;
    if time < BEGIN {
        format!("{:>12.3}", -milliseconds(BEGIN.since(time)))
    } else {
        format!("{:>12.3}", milliseconds(time.since(BEGIN)))
    }
}
