//! The outbox against a model of a peer that may read, store, answer and die at any point.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    proptest,
};

use crate::{
    forward::queue::{Bounds, Outbox, Receiver},
    record::{Envelope, Kind, LossCause, SinkGap},
};

const BOUNDS: Bounds = Bounds {
    queue_bytes: 1000,
    window_bytes: 400,
};

#[derive(Clone, Debug)]
enum Action {
    Push {
        hole: u64,
        length: usize,
    },
    Connect {
        receiver: Receiver,
    },
    Prove,
    Give {
        limit: usize,
    },
    Flush,
    Acknowledge {
        part: usize,
    },
    End {
        orderly: bool,
        unread: usize,
    },
    /// The agent writes a record for each loss.
    Tell,
}

fn action() -> impl Strategy<Value = Action> {
    let receiver = prop_oneof![Just(Receiver::Acknowledging), Just(Receiver::Silent)];
    prop_oneof![
        6 => (0..3_u64, 20..300_usize).prop_map(|(hole, length)| Action::Push { hole, length }),
        2 => receiver.prop_map(|receiver| Action::Connect { receiver }),
        3 => Just(Action::Prove),
        5 => (0..600_usize).prop_map(|limit| Action::Give { limit }),
        5 => Just(Action::Flush),
        3 => (0..8_usize).prop_map(|part| Action::Acknowledge { part }),
        1 => (any::<bool>(), 0..=4 * BOUNDS.window_bytes)
            .prop_map(|(orderly, unread)| Action::End { orderly, unread }),
        2 => Just(Action::Tell),
    ]
}

fn record(sequence: u64, length: usize) -> Envelope {
    let mut line = sequence.to_string().into_bytes();
    line.resize(length - 1, b' ');
    line.push(b'\n');
    Envelope {
        id: Arc::from(format!("start-{sequence}")),
        sequence,
        kind: Kind::Http,
        verdict: None,
        gap: None,
        line: Arc::from(line),
    }
}

/// The other end and the wire to it.
struct Model {
    outbox: Outbox,
    receiver: Option<Receiver>,
    proven: bool,
    sequence: u64,
    pushed: BTreeSet<u64>,
    stored: BTreeSet<u64>,
    /// What the records of losses say, by their numbers.
    gaps: BTreeMap<u64, SinkGap>,
    /// Given on this connection, with lengths; the part before `flushed` has left.
    wire: Vec<(u64, usize)>,
    flushed: usize,
}

impl Model {
    fn new() -> Self {
        Self {
            outbox: Outbox::new(Arc::from("sink"), BOUNDS),
            receiver: None,
            proven: false,
            sequence: 0,
            pushed: BTreeSet::new(),
            stored: BTreeSet::new(),
            gaps: BTreeMap::new(),
            wire: Vec::new(),
            flushed: 0,
        }
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Push { hole, length } => {
                self.sequence += 1 + hole;
                self.pushed.insert(self.sequence);
                self.outbox.push(record(self.sequence, length));
            }
            Action::Connect { receiver } => {
                if self.receiver.is_none() {
                    self.outbox.connected(receiver);
                    self.receiver = Some(receiver);
                }
            }
            Action::Prove => {
                if self.receiver.is_some() {
                    self.outbox.proven();
                    self.proven = true;
                }
            }
            Action::Give { limit } => self.give(limit),
            Action::Flush => {
                if self.receiver.is_some() {
                    self.outbox.flushed();
                    self.flushed = self.wire.len();
                }
            }
            Action::Acknowledge { part } => {
                if self.receiver == Some(Receiver::Acknowledging) && self.flushed > 0 {
                    let last = self.flushed - 1 - part.min(self.flushed - 1);
                    self.stored
                        .extend(self.wire[..=last].iter().map(|(sequence, _)| *sequence));
                    let id = format!("start-{}", self.wire[last].0);
                    self.outbox.acknowledged(&id).unwrap();
                }
            }
            Action::End { orderly, unread } => self.end(orderly, unread),
            Action::Tell => self.tell(),
        }
        assert!(self.outbox.queue_bytes() <= BOUNDS.queue_bytes);
        assert!(self.outbox.window_bytes() <= BOUNDS.window_bytes);
        let queued: usize = self.outbox.queued().map(|record| record.line.len()).sum();
        assert_eq!(queued, self.outbox.queue_bytes());
        assert_eq!(self.outbox.queued().count(), self.outbox.queued_records());
    }

    fn tell(&mut self) {
        for gap in self.outbox.take_losses() {
            self.sequence += 1;
            self.pushed.insert(self.sequence);
            let mut envelope = record(self.sequence, 150);
            envelope.gap = Some(Arc::new(gap.clone()));
            self.gaps.insert(self.sequence, gap);
            self.outbox.push(envelope);
        }
    }

    fn give(&mut self, limit: usize) {
        let mut batch = Vec::new();
        self.outbox.give(&mut batch, limit);
        assert!(batch.is_empty() || self.proven);
        for line in batch.split_inclusive(|byte| *byte == b'\n') {
            let text = std::str::from_utf8(line).unwrap();
            let sequence = text.trim().parse().unwrap();
            if let Some((last, _)) = self.wire.last() {
                assert!(sequence > *last, "{sequence} after {last}");
            }
            self.wire.push((sequence, line.len()));
        }
    }

    /// A silent peer has read all that left but the last `unread` bytes.
    fn end(&mut self, orderly: bool, mut unread: usize) {
        if self.receiver == Some(Receiver::Silent) {
            let mut read = self.flushed;
            while !orderly && read > 0 && self.wire[read - 1].1 <= unread {
                unread -= self.wire[read - 1].1;
                read -= 1;
            }
            self.stored
                .extend(self.wire[..read].iter().map(|(sequence, _)| *sequence));
        }
        self.outbox.ended(orderly);
        self.receiver = None;
        self.proven = false;
        self.wire.clear();
        self.flushed = 0;
    }

    /// Everything goes to a peer that acknowledges; then nothing may be missing that was not told.
    fn settle(mut self) {
        self.end(false, BOUNDS.window_bytes);
        self.apply(Action::Connect {
            receiver: Receiver::Acknowledging,
        });
        self.apply(Action::Prove);
        self.give(usize::MAX);
        self.apply(Action::Flush);
        self.apply(Action::Acknowledge { part: 0 });
        assert!(self.outbox.is_settled());
        let told: Vec<SinkGap> = self
            .gaps
            .into_iter()
            .filter(|(sequence, _)| self.stored.contains(sequence))
            .map(|(_, gap)| gap)
            .chain(self.outbox.take_losses())
            .collect();
        let range = |gap: &SinkGap| number(&gap.ids.0)..=number(&gap.ids.1);
        for sequence in self.pushed.difference(&self.stored) {
            assert!(
                told.iter().any(|gap| range(gap).contains(sequence)),
                "{sequence} is neither stored nor told as lost"
            );
        }
        // What was told by a record that may not have been read is told again, word for word.
        let never_sent: BTreeMap<_, _> = told
            .iter()
            .filter(|gap| gap.cause == LossCause::Queue)
            .map(|gap| (&gap.ids, gap))
            .collect();
        let mut records = 0;
        let mut lost = BTreeSet::new();
        for gap in never_sent.into_values() {
            records += gap.records;
            lost.extend(self.pushed.range(range(gap)));
        }
        assert_eq!(records, lost.len() as u64, "{told:?}");
        let told_in_vain: Vec<_> = lost.intersection(&self.stored).collect();
        assert!(told_in_vain.is_empty(), "{told_in_vain:?} of {told:?}");
    }
}

fn number(id: &str) -> u64 {
    id.rsplit_once('-').unwrap().1.parse().unwrap()
}

proptest! {
    #[test]
    fn nothing_is_lost_untold_nor_out_of_order(actions in vec(action(), 0..200)) {
        let mut model = Model::new();
        for action in actions {
            model.apply(action);
        }
        model.settle();
    }

    #[test]
    fn an_answer_of_any_text_never_frees_what_was_not_given(id in "\\PC{0,40}|start-[0-9]{1,20}") {
        let mut outbox = Outbox::new(Arc::from("sink"), BOUNDS);
        for sequence in 1..=3 {
            outbox.push(record(sequence, 100));
        }
        outbox.connected(Receiver::Acknowledging);
        outbox.proven();
        outbox.give(&mut Vec::new(), 200);
        let result = outbox.acknowledged(&id);
        let left = outbox.queued_records();
        match id.strip_prefix("start-").and_then(|rest| rest.parse().ok()) {
            Some(1_u64) => assert_eq!(left, 2),
            Some(2) => assert_eq!(left, 1),
            _ => assert_eq!(left, 3, "{result:?}"),
        }
    }
}

fn given(outbox: &mut Outbox) -> Vec<u64> {
    let mut batch = Vec::new();
    outbox.give(&mut batch, usize::MAX);
    let text = String::from_utf8(batch).unwrap();
    text.lines()
        .map(|line| line.trim().parse().unwrap())
        .collect()
}

#[test]
fn a_silent_receiver_gets_the_window_again_unless_we_closed() {
    let mut outbox = Outbox::new(Arc::from("sink"), BOUNDS);
    for sequence in 1..=6 {
        outbox.push(record(sequence, 150));
    }
    outbox.connected(Receiver::Silent);
    assert_eq!(given(&mut outbox), [0; 0], "not proven yet");
    outbox.proven();
    assert_eq!(given(&mut outbox), [1, 2, 3, 4, 5, 6]);
    outbox.flushed();
    assert_eq!(outbox.queue_bytes(), 0);
    assert_eq!(outbox.counts().sent, 6);

    outbox.ended(false);
    assert!(
        !outbox.is_settled(),
        "a broken connection waits for its resend"
    );
    outbox.connected(Receiver::Silent);
    outbox.proven();
    assert_eq!(given(&mut outbox), [5, 6], "the last 400 bytes");
    outbox.flushed();
    assert_eq!((outbox.counts().sent, outbox.counts().resent), (6, 2));

    outbox.ended(true);
    assert!(outbox.is_settled());
    outbox.connected(Receiver::Silent);
    outbox.proven();
    assert_eq!(given(&mut outbox), [0; 0]);
}

#[test]
fn overflow_is_told_by_range_and_counts_records_not_ids() {
    let mut outbox = Outbox::new(Arc::from("sink"), BOUNDS);
    for sequence in [1, 4, 5, 9, 10, 11, 12] {
        outbox.push(record(sequence, 250));
    }
    let gap = |first: u64, last: u64, records, cause| SinkGap {
        sink: "sink".to_owned(),
        ids: (format!("start-{first}"), format!("start-{last}")),
        records,
        cause,
    };
    assert_eq!(outbox.take_losses(), [gap(1, 5, 3, LossCause::Queue)]);
    outbox.push(record(13, 1001));
    assert_eq!(outbox.queued_records(), 0, "larger than the whole queue");
    assert_eq!(outbox.take_losses(), [gap(9, 13, 5, LossCause::Queue)]);
}

#[test]
fn what_is_on_its_way_is_not_given_up() {
    let mut outbox = Outbox::new(Arc::from("sink"), BOUNDS);
    for sequence in 1..=4 {
        outbox.push(record(sequence, 250));
    }
    outbox.connected(Receiver::Acknowledging);
    outbox.proven();
    let mut batch = Vec::new();
    outbox.give(&mut batch, 500);
    outbox.push(record(5, 250));
    let lost = outbox.take_losses();
    assert_eq!(lost[0].ids, ("start-3".to_owned(), "start-3".to_owned()));
    outbox.flushed();
    outbox.acknowledged("start-2").unwrap();
    assert_eq!(given(&mut outbox), [4, 5]);
}

#[test]
fn more_unread_than_the_window_held_is_told_when_the_connection_breaks() {
    let mut outbox = Outbox::new(Arc::from("sink"), BOUNDS);
    outbox.connected(Receiver::Silent);
    outbox.proven();
    for sequence in 1..=6 {
        outbox.push(record(sequence, 150));
        outbox.give(&mut Vec::new(), usize::MAX);
        outbox.flushed();
    }
    assert_eq!(outbox.take_losses(), [], "nobody has lost anything yet");
    outbox.ended(false);
    let lost = outbox.take_losses();
    assert_eq!(lost[0].ids, ("start-1".to_owned(), "start-4".to_owned()));
    assert_eq!((lost[0].records, lost[0].cause), (4, LossCause::Window));
    assert_eq!(outbox.counts().unconfirmed, 4);

    // Resent, read, and closed in order: nothing is in doubt.
    outbox.connected(Receiver::Silent);
    outbox.proven();
    assert_eq!(given(&mut outbox), [5, 6]);
    outbox.flushed();
    outbox.push(record(7, 150));
    assert_eq!(given(&mut outbox), [7]);
    outbox.flushed();
    outbox.ended(true);
    assert_eq!(outbox.take_losses(), []);
}
