//! How the two ends of a connection begin to speak.

use super::{
    event::Greeting,
    hello::{Beginning, Hello, Start},
};
use crate::{
    capture::{FirstBytes, Segment},
    timestamp::Timestamp,
};

/// The beginnings of both directions, and what they came to.
#[derive(Debug, Default)]
pub(super) struct Greetings {
    /// By the end that sends.
    beginnings: [Beginning; 2],
    /// Not told yet, by the end that sent it.
    untold: Vec<(usize, Timestamp, Start)>,
}

impl Greetings {
    /// Takes a segment of the end at `index`.
    pub(super) fn sent(&mut self, index: usize, segment: &Segment) {
        let beginning = &mut self.beginnings[index];
        if segment.joined || segment.after_gap {
            beginning.end();
        }
        let start = beginning.add(segment.offset, &segment.bytes);
        self.note(index, segment.time, start);
    }

    /// Takes what the end at `index` says of a direction.
    pub(super) fn first_bytes(&mut self, index: usize, first: &FirstBytes) {
        let sender = if first.received { 1 - index } else { index };
        let beginning = &mut self.beginnings[sender];
        let start = match &first.bytes {
            Some(bytes) => beginning.add(first.offset, bytes),
            None => beginning.plain(),
        };
        self.note(sender, first.time, start);
    }

    /// Takes in those of the second end, which was alone till now.
    pub(super) fn join(&mut self, other: Self) {
        let [beginning, _] = other.beginnings;
        self.beginnings[1] = beginning;
        let untold = other.untold.into_iter();
        let of_its_own = untold.filter(|(sender, ..)| *sender == 0);
        self.untold
            .extend(of_its_own.map(|(_, time, start)| (1, time, start)));
    }

    /// What is to be told, where the end at `client` opened the connection. What only the other end
    /// says is left out, and so is plaintext inside a pod, where nothing else is expected.
    pub(super) fn take(
        &mut self,
        client: usize,
        remote: bool,
    ) -> impl Iterator<Item = (Timestamp, Greeting)> {
        self.untold
            .drain(..)
            .filter_map(move |(sender, time, start)| {
                let greeting = match (start, sender == client) {
                    (Start::Hello(Hello::Client(hello)), true) => Greeting::Client(hello),
                    (Start::Hello(Hello::Server(hello)), false) => Greeting::Server(hello),
                    (Start::Plain, true) if remote => Greeting::Plain,
                    _ => return None,
                };
                Some((time, greeting))
            })
    }

    /// Bytes that are kept.
    pub(super) fn held(&self) -> usize {
        self.beginnings.iter().map(Beginning::held).sum()
    }

    fn note(&mut self, sender: usize, time: Timestamp, start: Option<Start>) {
        self.untold.extend(start.map(|start| (sender, time, start)));
    }
}
