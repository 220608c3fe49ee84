//! What must hold although the agent was stopped and started again.

use std::{collections::BTreeMap, fmt::Write, iter, time::Duration};

use meshwitness::{
    record::{Reason, Record, Side, Verdict},
    timestamp::Timestamp,
};

use crate::{
    truth::{Statement, Truth},
    verdicts::{Counted, describe, statements, take},
};

/// What began this long after the second run did is new to it.
const YOUNG_AFTER: Duration = Duration::from_millis(150);

/// Each line is judged once; what began in the second run is judged as if there had been no first;
/// and nobody is accused but for what was planted.
pub(crate) fn check(
    runs: [&[Record]; 2],
    truth: &Truth,
    start: Timestamp,
    lines: usize,
) -> Result<(), String> {
    let mut message = String::new();
    let first = statements(runs[0], truth, false)?;
    let second = statements(runs[1], truth, true)?;
    let judged: u64 = first.iter().chain(&second).map(|it| it.units.1).sum();
    if judged != lines as u64 {
        let _ = writeln!(message, "{lines} lines were read, {judged} judged");
    }
    let mut found = Counted::default();
    for statement in second {
        *found.entry(without_role(statement)).or_default() += 1;
    }
    let mut older = Vec::new();
    for expectation in &truth.expected {
        // Nobody saw pilot-agent bind its ports, and of the log there is less to tell whether it
        // doubles its lines.
        let needs_more = [
            Reason::FromProxyContainer,
            Reason::PilotAgent,
            Reason::Repeated,
        ];
        let mut reasons = expectation.ways[0][0].reasons.iter();
        let is_open = reasons.any(|reason| needs_more.contains(reason));
        if is_open || expectation.since < start + YOUNG_AFTER {
            older.extend(expectation.ways.iter().flatten());
            continue;
        }
        let less = [Reason::PilotAgent, Reason::NoLog].map(|reason| {
            let way = expectation.ways[0].iter();
            way.map(|it| with_less(it, reason)).collect::<Vec<_>>()
        });
        let mut ways = expectation.ways.iter().chain(&less);
        if !ways.any(|way| take(way, &mut found)) {
            for way in &expectation.ways {
                describe("expected", way.iter(), truth, &mut message);
            }
        }
    }
    let mut planted = Counted::default();
    for statement in older {
        *planted.entry(statement.clone()).or_default() += 1;
    }
    let left = found.clone();
    let found = found.into_iter();
    let found = found.flat_map(|(statement, count)| iter::repeat_n(statement, count));
    let mut accusing: Vec<Statement> = found.chain(first).filter(accuses).collect();
    // What is older than the agent is known by what it is alone, after all that is known better.
    accusing.sort_by_key(|it| (it.observed.is_none(), it.logged.is_none()));
    for statement in accusing {
        if !take_planted(&statement, &mut planted) {
            describe("got", iter::once(&statement), truth, &mut message);
        }
    }
    if message.is_empty() {
        return Ok(());
    }
    for (statement, count) in &left {
        describe(
            "left",
            iter::repeat_n(statement, *count),
            truth,
            &mut message,
        );
    }
    Err(message)
}

fn accuses(statement: &Statement) -> bool {
    use Verdict::{Bypassed, Mismatched, Unlogged, Unseen};
    matches!(statement.verdict, Unlogged | Unseen | Mismatched | Bypassed)
}

/// Whether this was planted; it is not found a second time.
fn take_planted(found: &Statement, planted: &mut BTreeMap<Statement, usize>) -> bool {
    let is_it = |other: &Statement| match (found.verdict, other.verdict) {
        // When a connection is older than the agent, only its side is known.
        (Verdict::Bypassed, Verdict::Bypassed) if found.observed.is_none() => {
            found.side == other.side
        }
        // The kubelet's end of a probe may have gone before the run began.
        (Verdict::Bypassed, Verdict::Outside) if found.observed.is_none() => {
            found.side == other.side && other.reasons == [Reason::Kubelet]
        }
        // Between what is not known, an edited line may not find its exchange.
        (Verdict::Unlogged, Verdict::Mismatched) => found.observed == other.observed,
        (Verdict::Unseen, Verdict::Mismatched) => found.logged == other.logged,
        _ => found == other,
    };
    let left = planted.iter_mut().filter(|(_, count)| **count > 0);
    let (mut exact, mut like) = (None, None);
    for (other, count) in left {
        if other == found {
            exact = Some(count);
        } else if is_it(other) {
            like = Some(count);
        }
    }
    let count = exact.or(like);
    count.map(|count| *count -= 1).is_some()
}

/// What is said of a missing line where nobody saw the proxy bind its ports, or where no other line
/// was read.
fn with_less(statement: &Statement, reason: Reason) -> Statement {
    let mut statement = statement.clone();
    if statement.verdict == Verdict::Unlogged {
        statement.verdict = match (reason, statement.side) {
            (Reason::NoLog, _) => Verdict::Unverifiable,
            (_, Some(Side::Server)) => Verdict::Outside,
            _ => return statement,
        };
        statement.reasons = vec![reason];
    }
    statement
}

/// Without what a run that began later says of the proxy.
fn without_role(mut statement: Statement) -> Statement {
    statement
        .reasons
        .retain(|reason| *reason != Reason::RoleByName);
    statement
}
