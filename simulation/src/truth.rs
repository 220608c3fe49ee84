//! What the records must say, known from how the scene was made.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

use meshwitness::{
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

use crate::{clock_step::ClockStep, sidecars::Plaintext};

/// Exchanges, or lines, that nothing tells apart.
pub(crate) type Likeness = u32;

/// What one record must say, and of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Statement {
    pub(crate) verdict: Verdict,
    /// Sorted.
    pub(crate) reasons: Vec<Reason>,
    pub(crate) side: Option<Side>,
    pub(crate) units: (u64, u64),
    pub(crate) observed: Option<Likeness>,
    pub(crate) logged: Option<Likeness>,
    /// The fields in which both differ.
    pub(crate) differences: Vec<String>,
}

/// What must be said together.
#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    /// The ways in which it may be.
    pub(crate) ways: Vec<Vec<Statement>>,
    /// Nothing of it is older.
    pub(crate) since: Timestamp,
}

/// What is known of a scene beside what the ledger is told.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) expected: Vec<Expectation>,
    /// Nothing is older of what is expected from now on.
    pub(crate) since: Timestamp,
    /// The clock by which records tell time may have been set.
    pub(crate) clock_step: Option<ClockStep>,
    /// Legs between sidecars in plaintext, by the pod and the address that send.
    pub(crate) plaintext: BTreeMap<(String, SocketAddr), Plaintext>,
    likenesses: BTreeMap<String, Likeness>,
    names: Vec<String>,
    /// By pod and first byte.
    exchanges: HashMap<(String, Timestamp), Likeness>,
    /// By pod and place in its log.
    lines: HashMap<(String, u64), Likeness>,
}

impl Truth {
    /// The number of a likeness.
    pub(crate) fn likeness(&mut self, name: String) -> Likeness {
        let next = Likeness::try_from(self.names.len()).unwrap();
        let names = &mut self.names;
        *self.likenesses.entry(name).or_insert_with_key(|name| {
            names.push(name.clone());
            next
        })
    }

    /// A likeness that nothing else has.
    pub(crate) fn unlike(&mut self, what: &str) -> Likeness {
        let name = format!("{what} {}", self.names.len());
        self.likeness(name)
    }

    pub(crate) fn name(&self, likeness: Option<Likeness>) -> &str {
        likeness.map_or("-", |likeness| self.names[likeness as usize].as_str())
    }

    /// All of this must be said.
    pub(crate) fn expect(&mut self, statements: Vec<Statement>) {
        for statement in statements {
            self.expect_one_of(vec![vec![statement]]);
        }
    }

    /// This must be said in one of its ways.
    pub(crate) fn expect_one_of(&mut self, ways: Vec<Vec<Statement>>) {
        let since = self.since;
        self.expected.push(Expectation { ways, since });
    }

    /// This must be said, or the same of a line that came late.
    pub(crate) fn expect_early_or_late(&mut self, statement: Statement) {
        let halves = |reason, line_reason| {
            let half = |units: (u64, u64), reason| Statement {
                verdict: Verdict::Unverifiable,
                reasons: vec![reason],
                units,
                observed: statement.observed.filter(|_| units.0 > 0),
                logged: statement.logged.filter(|_| units.1 > 0),
                differences: Vec::new(),
                ..statement.clone()
            };
            vec![half((1, 0), reason), half((0, 1), line_reason)]
        };
        // Without a single line nothing is accused, and so nothing is to be revised.
        let (no_log, before) = (Reason::NoLog, Reason::BeforeStart);
        let late = statement.clone().because(Reason::LateLine);
        let unlogged = [halves(no_log, no_log), halves(no_log, before)];
        // Alone, a line that names no upstream tells no side.
        let without_side = unlogged.clone().map(|mut halves| {
            halves[1].side = None;
            halves
        });
        let ways = [vec![statement.clone()], vec![late]].into_iter();
        self.expect_one_of(ways.chain(unlogged).chain(without_side).collect());
    }

    /// An exchange, or a connection, that began at this moment, at which nothing else did.
    pub(crate) fn observed(&mut self, uid: &str, begun: Timestamp, likeness: Likeness) {
        let before = self.exchanges.insert((uid.to_owned(), begun), likeness);
        assert!(before.is_none(), "two units begin at {begun}");
    }

    pub(crate) fn logged(&mut self, uid: &str, offset: u64, likeness: Likeness) {
        self.lines.insert((uid.to_owned(), offset), likeness);
    }

    /// A line is gone before anybody read it.
    pub(crate) fn lose_line(&mut self, uid: &str, offset: u64) {
        let Some(likeness) = self.lines.remove(&(uid.to_owned(), offset)) else {
            return;
        };
        let says_of_it = |alone: bool| {
            move |expectation: &Expectation| {
                let statement = &expectation.ways[0][0];
                statement.logged == Some(likeness) && statement.observed.is_none() == alone
            }
        };
        // Of lines that are alike the surplus goes first.
        if let Some(at) = self.expected.iter().position(says_of_it(true)) {
            self.expected.remove(at);
        } else if let Some(at) = self.expected.iter().position(says_of_it(false)) {
            let statement = &mut self.expected[at].ways[0][0];
            *statement = Statement {
                verdict: Verdict::Unverifiable,
                reasons: vec![Reason::LineLost],
                units: (1, 0),
                logged: None,
                differences: Vec::new(),
                ..statement.clone()
            };
        }
    }

    pub(crate) fn observed_at(&self, uid: &str, begun: Timestamp) -> Option<Likeness> {
        let step = self.clock_step;
        let moments = step.map_or([begun; 2], |step| step.moments(begun));
        let mut found = moments.map(|begun| self.exchanges.get(&(uid.to_owned(), begun)));
        found.iter_mut().find_map(|found| found.take()).copied()
    }

    pub(crate) fn logged_at(&self, uid: &str, offset: u64) -> Option<Likeness> {
        self.lines.get(&(uid.to_owned(), offset)).copied()
    }
}

impl Statement {
    pub(crate) fn new(verdict: Verdict, side: Side) -> Self {
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

    pub(crate) fn because(mut self, reason: Reason) -> Self {
        self.reasons.push(reason);
        self.reasons.sort();
        self
    }

    pub(crate) fn observed(mut self, likeness: Likeness) -> Self {
        self.units.0 = 1;
        self.observed = Some(likeness);
        self
    }

    pub(crate) fn logged(mut self, likeness: Likeness) -> Self {
        self.units.1 = 1;
        self.logged = Some(likeness);
        self
    }

    pub(crate) fn differing(mut self, field: &str) -> Self {
        self.differences.push(field.to_owned());
        self
    }
}
