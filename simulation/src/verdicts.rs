//! The verdicts, held against the truth.

use std::{collections::BTreeMap, fmt::Write};

use meshwitness::record::{Record, Verdict};

use crate::{
    books::standing,
    truth::{Statement, Truth},
};

/// Every unit got the verdict that the truth demands, once, and nothing else is said.
pub(crate) fn check(records: &[Record], truth: &Truth) -> Result<(), String> {
    let mut found = Counted::default();
    for statement in statements(records, truth, false)? {
        *found.entry(statement).or_default() += 1;
    }
    let mut message = String::new();
    for expectation in &truth.expected {
        if !expectation.ways.iter().any(|way| take(way, &mut found)) {
            for way in &expectation.ways {
                describe("expected", way.iter(), truth, &mut message);
            }
        }
    }
    for (statement, count) in &found {
        describe(
            "got",
            std::iter::repeat_n(statement, *count),
            truth,
            &mut message,
        );
    }
    match message.is_empty() {
        true => Ok(()),
        false => Err(message),
    }
}

pub(crate) type Counted = BTreeMap<Statement, usize>;

/// Takes all of these out of what was found, or none.
pub(crate) fn take(way: &[Statement], found: &mut Counted) -> bool {
    for (at, statement) in way.iter().enumerate() {
        match found.get_mut(statement) {
            Some(count) if *count > 0 => *count -= 1,
            _ => {
                for taken in &way[..at] {
                    *found.entry(taken.clone()).or_default() += 1;
                }
                return false;
            }
        }
    }
    true
}

pub(crate) fn describe<'a>(
    what: &str,
    statements: impl Iterator<Item = &'a Statement>,
    truth: &Truth,
    message: &mut String,
) {
    for statement in statements {
        let (observed, logged) = (truth.name(statement.observed), truth.name(statement.logged));
        let _ = writeln!(
            message,
            "{what} {:?} {:?} {:?} {:?} {:?}\n    exchange {observed}\n    line     {logged}",
            statement.verdict,
            statement.reasons,
            statement.side,
            statement.units,
            statement.differences,
        );
    }
}

/// What the records that stand say of units. On connections older than the agent these begin at
/// other moments than the scene knows.
pub(crate) fn statements(
    records: &[Record],
    truth: &Truth,
    older: bool,
) -> Result<Vec<Statement>, String> {
    let mut statements = Vec::new();
    for (record, verdict, units, traffic) in standing(records) {
        let uid = traffic.workload.pod_uid.clone().unwrap_or_default();
        let unknown = || {
            format!(
                "{} speaks of what is not in the scene: {traffic:?}",
                record.id
            )
        };
        let observed = match units.observed {
            0 => None,
            _ => match truth.observed_at(&uid, record.time) {
                None if older || verdict == Verdict::Unverifiable => None,
                observed => Some(observed.ok_or_else(unknown)?),
            },
        };
        let logged = match (units.logged, &traffic.envoy) {
            (0, _) => None,
            (_, None) => return Err(format!("{} names no line", record.id)),
            (_, Some(line)) => Some(truth.logged_at(&uid, line.offset).ok_or_else(unknown)?),
        };
        let mut reasons = record.reasons.clone().unwrap_or_default();
        reasons.sort();
        let fields = traffic
            .differences
            .iter()
            .map(|difference| difference.field.clone());
        statements.push(Statement {
            verdict,
            reasons,
            side: traffic.side,
            units: (units.observed, units.logged),
            observed,
            logged,
            differences: fields.collect(),
        });
    }
    Ok(statements)
}
