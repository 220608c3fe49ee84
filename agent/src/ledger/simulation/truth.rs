//! What the records must say, known from how the scene was made.

use std::collections::{BTreeMap, HashMap};

use crate::{
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

/// Exchanges, or lines, that nothing tells apart.
pub(super) type Likeness = u32;

/// What one record must say, and of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Statement {
    pub(super) verdict: Verdict,
    /// Sorted.
    pub(super) reasons: Vec<Reason>,
    pub(super) side: Option<Side>,
    pub(super) units: (u64, u64),
    pub(super) observed: Option<Likeness>,
    pub(super) logged: Option<Likeness>,
    /// The fields in which both differ.
    pub(super) differences: Vec<String>,
}

/// What must be said together, in the ways in which it may be.
pub(super) type Expectation = Vec<Vec<Statement>>;

/// What is known of a scene beside what the ledger is told.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// Each must be said in one of its ways.
    pub(super) expected: Vec<Expectation>,
    likenesses: BTreeMap<String, Likeness>,
    names: Vec<String>,
    /// By pod and first byte.
    exchanges: HashMap<(String, Timestamp), Likeness>,
    /// By pod and place in its log.
    lines: HashMap<(String, u64), Likeness>,
}

impl Truth {
    /// The number of a likeness.
    pub(super) fn likeness(&mut self, name: String) -> Likeness {
        let next = Likeness::try_from(self.names.len()).unwrap();
        let names = &mut self.names;
        *self.likenesses.entry(name).or_insert_with_key(|name| {
            names.push(name.clone());
            next
        })
    }

    /// A likeness that nothing else has.
    pub(super) fn unlike(&mut self, what: &str) -> Likeness {
        let name = format!("{what} {}", self.names.len());
        self.likeness(name)
    }

    pub(super) fn name(&self, likeness: Option<Likeness>) -> &str {
        likeness.map_or("-", |likeness| self.names[likeness as usize].as_str())
    }

    /// All of this must be said.
    pub(super) fn expect(&mut self, statements: Vec<Statement>) {
        let each = statements.into_iter();
        self.expected
            .extend(each.map(|statement| vec![vec![statement]]));
    }

    /// An exchange, or a connection, that began at this moment, at which nothing else did.
    pub(super) fn observed(&mut self, uid: &str, begun: Timestamp, likeness: Likeness) {
        let before = self.exchanges.insert((uid.to_owned(), begun), likeness);
        assert!(before.is_none(), "two units begin at {begun}");
    }

    pub(super) fn logged(&mut self, uid: &str, offset: u64, likeness: Likeness) {
        self.lines.insert((uid.to_owned(), offset), likeness);
    }

    pub(super) fn observed_at(&self, uid: &str, begun: Timestamp) -> Option<Likeness> {
        self.exchanges.get(&(uid.to_owned(), begun)).copied()
    }

    pub(super) fn logged_at(&self, uid: &str, offset: u64) -> Option<Likeness> {
        self.lines.get(&(uid.to_owned(), offset)).copied()
    }
}

impl Statement {
    pub(super) fn new(verdict: Verdict, side: Side) -> Self {
        Self {
            verdict,
            reasons: Vec::new(),
            side: Some(side),
            units: (0, 0),
            observed: None,
            logged: None,
            differences: Vec::new(),
        }
    }

    pub(super) fn because(mut self, reason: Reason) -> Self {
        self.reasons.push(reason);
        self.reasons.sort();
        self
    }

    pub(super) fn observed(mut self, likeness: Likeness) -> Self {
        self.units.0 = 1;
        self.observed = Some(likeness);
        self
    }

    pub(super) fn logged(mut self, likeness: Likeness) -> Self {
        self.units.1 = 1;
        self.logged = Some(likeness);
        self
    }

    pub(super) fn differing(mut self, field: &str) -> Self {
        self.differences.push(field.to_owned());
        self
    }
}
