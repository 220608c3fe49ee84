//! The verdicts, held against the truth.

use std::fmt::Write;

use super::{
    books::revised,
    truth::{Statement, Truth},
};
use crate::record::{Body, Record, Units};

/// Every unit got the verdict that the truth demands, once, and nothing else is said.
pub(super) fn check(records: &[Record], truth: &Truth) -> Result<(), String> {
    let mut found = statements(records, truth)?;
    let mut expected = truth.expected.clone();
    found.sort();
    expected.sort();
    let missing = without(&expected, &found);
    let surplus = without(&found, &expected);
    if missing.is_empty() && surplus.is_empty() {
        return Ok(());
    }
    let mut message = String::new();
    for (what, statements) in [("expected", missing), ("got", surplus)] {
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
    Err(message)
}

/// What the records that stand say of units.
fn statements(records: &[Record], truth: &Truth) -> Result<Vec<Statement>, String> {
    let revised = revised(records);
    let mut statements = Vec::new();
    for record in records
        .iter()
        .filter(|record| !revised.contains(record.id.as_str()))
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
            _ => Some(truth.observed_at(&uid, record.time).ok_or_else(unknown)?),
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

/// Of two sorted lists: what the first has more of than the second.
fn without(left: &[Statement], right: &[Statement]) -> Vec<Statement> {
    let mut rest = right.iter().peekable();
    let mut surplus = Vec::new();
    for statement in left {
        while rest.next_if(|other| *other < statement).is_some() {}
        if rest.next_if(|other| *other == statement).is_none() {
            surplus.push(statement.clone());
        }
    }
    surplus
}
