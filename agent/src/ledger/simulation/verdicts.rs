//! The verdicts, held against the truth.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    books::revised,
    truth::{Statement, Truth},
};
use crate::record::{Body, Reason, Record, Units, Verdict};

/// Every unit got the verdict that the truth demands, once, and nothing else is said.
pub(super) fn check(records: &[Record], truth: &Truth) -> Result<(), String> {
    let mut found = Counted::default();
    for statement in statements(records, truth, false)? {
        *found.entry(statement).or_default() += 1;
    }
    let mut message = String::new();
    for expectation in &truth.expected {
        if !expectation.iter().any(|way| take(way, &mut found)) {
            for way in expectation {
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

/// What must hold although the agent was stopped and started again: each line is judged once,
/// and nobody is accused but for what was planted.
pub(super) fn check_interrupted(
    runs: &[Vec<Record>],
    truth: &Truth,
    lines: usize,
) -> Result<(), String> {
    let mut planted = Counted::default();
    for statement in truth.expected.iter().flatten().flatten() {
        *planted.entry(statement.clone()).or_default() += 1;
    }
    let mut message = String::new();
    let mut found = Vec::new();
    for (run, records) in runs.iter().enumerate() {
        found.extend(statements(records, truth, run > 0)?);
    }
    let judged: u64 = found.iter().map(|statement| statement.units.1).sum();
    found.retain(|statement| {
        matches!(
            statement.verdict,
            Verdict::Unlogged | Verdict::Unseen | Verdict::Mismatched | Verdict::Bypassed
        )
    });
    // What is older than the agent is known by what it is alone, after all that is known better.
    found.sort_by_key(|statement| (statement.observed.is_none(), statement.logged.is_none()));
    for mut statement in found {
        statement
            .reasons
            .retain(|reason| *reason != Reason::RoleByName);
        if statement.verdict == Verdict::Bypassed && statement.observed.is_none() {
            let side = statement.side;
            let alike = planted.iter().find(|(other, count)| {
                **count > 0 && other.verdict == Verdict::Bypassed && other.side == side
            });
            statement = alike.map_or(statement, |(alike, _)| alike.clone());
        }
        if !take(std::slice::from_ref(&statement), &mut planted) {
            describe("got", std::iter::once(&statement), truth, &mut message);
        }
    }
    if judged != lines as u64 {
        let _ = writeln!(message, "{lines} lines were read, {judged} judged");
    }
    match message.is_empty() {
        true => Ok(()),
        false => Err(message),
    }
}

type Counted = BTreeMap<Statement, usize>;

/// Takes all of these out of what was found, or none.
fn take(way: &[Statement], found: &mut Counted) -> bool {
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

fn describe<'a>(
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
fn statements(records: &[Record], truth: &Truth, older: bool) -> Result<Vec<Statement>, String> {
    let revised = revised(records);
    let mut statements = Vec::new();
    for record in records
        .iter()
        .filter(|record| !revised.contains(&*record.id))
    {
        let (Some(verdict), Some(units), Body::Traffic(traffic)) =
            (record.verdict, record.units, &record.body)
        else {
            continue;
        };
        if units == Units::default() {
            continue;
        }
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
