//! Records for people: a line a record, in columns, verdicts that stand out.

use std::fmt::Write;

use anstyle::{AnsiColor, Color, Style};

use crate::record::{
    Body, FindingState, Kind, Lifecycle, Printable, Record, Side, Traffic, Verdict, Workload,
};

/// The heading of the columns.
#[must_use]
pub(super) fn heading() -> String {
    let bold = Style::new().bold();
    format!(
        "{bold}{:<15} {:<14} {:<6} {:<24} {:<44} {}{bold:#}",
        "TIME", "VERDICT", "SIDE", "WORKLOAD", "WHAT", "WHY"
    )
}

/// One record. Everything that came from outside has its control characters escaped.
#[must_use]
pub(super) fn row(record: &Record) -> String {
    let time = record.time.to_string();
    let clock = time.get(11..26).unwrap_or(&time);
    match &record.body {
        Body::Traffic(traffic) => traffic_row(clock, record, traffic),
        Body::Finding(found) => {
            let (workload, finding) = (workload_text(&found.workload), &found.finding);
            let (id, title, count) = (finding.id, finding.title, finding.count);
            let state = match finding.state {
                FindingState::Open => "open",
                FindingState::Closed => "closed",
                FindingState::Observed => "observed",
            };
            let what = format!("{id} {title} ({state}, {count} times)");
            format!(
                "{clock:<15} {:<14} {:<6} {workload:<24} {what}",
                "finding", ""
            )
        }
        Body::Ledger(ledger) => {
            let verdicts = ledger.account.verdicts.iter().map(|(verdict, units)| {
                format!("{} {}/{}", verdict.as_str(), units.observed, units.logged)
            });
            let closing = ledger.account.closing;
            let mut books = verdicts.collect::<Vec<_>>().join(", ");
            let _ = write!(books, "; pending {}/{}", closing.observed, closing.logged);
            format!("{clock:<15} {:<14} {:<6} {:<24} {books}", "books", "", "")
        }
        Body::Lifecycle { lifecycle } => {
            format!(
                "{clock:<15} {:<14} {:<6} {:<24} {}",
                "",
                "",
                "",
                lifecycle_text(lifecycle)
            )
        }
    }
}

/// How a verdict is shown.
#[must_use]
pub(super) fn style(verdict: Verdict) -> Style {
    let color = |color| Style::new().fg_color(Some(Color::Ansi(color)));
    match verdict {
        Verdict::Matched => color(AnsiColor::Green),
        Verdict::ProxyAnswered => color(AnsiColor::Cyan),
        Verdict::Outside => Style::new().dimmed(),
        Verdict::Unverifiable => color(AnsiColor::Yellow),
        Verdict::Mismatched | Verdict::Unlogged | Verdict::Bypassed | Verdict::Unseen => {
            color(AnsiColor::Red).bold()
        }
    }
}

fn workload_text(workload: &Workload) -> String {
    match (&workload.namespace, &workload.pod) {
        (Some(namespace), Some(pod)) => format!("{namespace}/{pod}"),
        _ => workload.pod_uid.as_deref().unwrap_or_default().to_owned(),
    }
}

fn traffic_row(clock: &str, record: &Record, traffic: &Traffic) -> String {
    let verdict = record.verdict.map_or("", Verdict::as_str);
    let style = record.verdict.map(style).unwrap_or_default();
    let side = match traffic.side {
        Some(Side::Client) => "client",
        Some(Side::Server) => "server",
        Some(Side::Proxy) => "proxy",
        None => "",
    };
    let workload = workload_text(&traffic.workload);
    let what = if record.kind == Kind::Http {
        exchange(traffic)
    } else {
        connection(traffic)
    };
    let (workload, what) = (clip(&workload, 24), clip(&what, 44));
    let why = why(record, traffic);
    format!("{clock:<15} {style}{verdict:<14}{style:#} {side:<6} {workload:<24} {what:<44} {why}")
}

fn exchange(traffic: &Traffic) -> String {
    let attributes = &traffic.attributes;
    let method = attributes.method.as_deref().unwrap_or("-");
    let path = attributes.shown.path.as_deref().unwrap_or("-");
    let status = attributes.status;
    let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let query = attributes.shown.query.as_ref();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{status} {method} {path}{query}")
}

fn connection(traffic: &Traffic) -> String {
    let server = traffic.attributes.server;
    let server = server.map_or_else(
        || "-:0".to_owned(),
        |server| format!("{}:{}", server.ip(), server.port()),
    );
    let command = traffic.workload.command.as_deref().unwrap_or_default();
    format!("tcp {server} {command}").trim_end().to_owned()
}

fn why(record: &Record, traffic: &Traffic) -> String {
    let mut why: Vec<String> = record
        .reasons
        .iter()
        .flatten()
        .map(|reason| reason.as_str().to_owned())
        .collect();
    for difference in &traffic.differences {
        let difference = format!(
            "{}: kernel {}, log {}",
            difference.field, difference.kernel, difference.log
        );
        why.push(Printable(&difference).to_string());
    }
    if !traffic.revises.is_empty() {
        why.push(format!("revises {}", traffic.revises.join(" ")));
    }
    why.join("; ")
}

fn lifecycle_text(lifecycle: &Lifecycle) -> String {
    match lifecycle {
        Lifecycle::Start {
            version,
            not_covered,
        } => {
            format!(
                "start, version {version}; not covered: {}",
                not_covered.join(", ")
            )
        }
        Lifecycle::Stop => "stop".to_owned(),
        Lifecycle::Config { changed, .. } => {
            format!("configuration read; changed: {}", changed.join(", "))
        }
        Lifecycle::Gap(gap) => {
            format!(
                "gap: sink {} lost {} records, {} to {}",
                Printable(&gap.sink),
                gap.records,
                gap.ids.0,
                gap.ids.1
            )
        }
        Lifecycle::ClockStep { seconds } => format!("clock set by {seconds:+.3} s"),
    }
}

/// At most so many characters, escaped, with an ellipsis where something was cut.
fn clip(text: &str, width: usize) -> String {
    let text = Printable(text).to_string();
    if text.chars().count() <= width {
        return text;
    }
    let mut cut: String = text.chars().take(width - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::row;
    use crate::{
        record::{Body, Kind, Reason, Record, Shown, Side, Traffic, Units, Verdict},
        timestamp::Timestamp,
    };

    #[test]
    fn hostile_paths_do_not_reach_the_terminal() {
        let mut traffic = Traffic {
            side: Some(Side::Client),
            ..Traffic::default()
        };
        traffic.attributes.shown = Arc::new(Shown {
            path: Some("/\u{1b}[2J\u{7}".into()),
            ..Shown::default()
        });
        let record = Record {
            id: "s-1".into(),
            sequence: 1,
            time: Timestamp(1_795_334_897_916_000_000),
            kind: Kind::Http,
            verdict: Some(Verdict::Outside),
            reasons: Some(vec![Reason::PodInternal]),
            units: Some(Units::new(1, 0)),
            node: "n".into(),
            body: Body::Traffic(Box::new(traffic)),
        };
        let row = row(&record);
        assert!(row.starts_with("08:08:17.916000 "), "{row}");
        assert!(
            row.contains("/\\u{1b}[2J\\u{7}") && row.ends_with("pod_internal"),
            "{row}"
        );
    }
}
