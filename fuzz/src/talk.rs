//! A conversation of two ends as one text.

use crate::pieces::pieces;

/// Bytes that no text holds, since no UTF-8 does, and what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// What follows is written by this end, in one piece.
    Write(End),
    /// The packet ends here, and the next goes on with the same write.
    Cut,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The one that opened it.
    Client,
    /// The one that accepted it.
    Server,
}

impl End {
    /// Its place in an array of both.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl Turn {
    /// What a byte says, if it is none of a text.
    #[must_use]
    pub const fn of(byte: u8) -> Option<Self> {
        match byte {
            0xf8 => Some(Self::Write(End::Client)),
            0xf9 => Some(Self::Write(End::Server)),
            0xfa => Some(Self::Cut),
            _ => None,
        }
    }
}

/// What both ends write, in order.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    /// The writes.
    pub writes: Vec<Write>,
}

/// What an end writes at one moment.
#[derive(Clone, Debug)]
pub struct Write {
    /// Who.
    pub end: End,
    /// What.
    pub bytes: Vec<u8>,
    /// Where in it a packet ends, ascending.
    pub cuts: Vec<usize>,
    /// What would be told of it is refused, for want of room.
    pub refused: bool,
}

/// How writes become packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A packet for each write.
    Nowhere,
    /// Where the input says.
    Told,
    /// Packets of at most so many bytes.
    Every(usize),
}

impl Talk {
    /// Reads an input that is text.
    #[must_use]
    pub fn of_text(input: &[u8]) -> Self {
        let mut talk = Self::default();
        for (turn, bytes) in turns(input) {
            match (turn, talk.writes.last_mut()) {
                (Turn::Cut, Some(write)) => {
                    write.cuts.push(write.bytes.len());
                    write.bytes.extend_from_slice(bytes);
                }
                (Turn::Cut, None) => {}
                (Turn::Write(end), _) => talk.writes.push(Write {
                    end,
                    bytes: bytes.to_vec(),
                    cuts: Vec::new(),
                    refused: false,
                }),
            }
        }
        talk
    }

    /// Reads an input of [`pieces`] of any bytes, of which the first says what the others are:
    /// bit 0 the end that writes, bit 1 that they go on with the write before, bit 2 that a packet
    /// begins with them, bit 3 that what is told of the write is refused.
    #[must_use]
    pub fn of_pieces(input: &[u8]) -> Self {
        let mut talk = Self::default();
        for piece in pieces(input) {
            let Some((control, bytes)) = piece.split_first() else {
                continue;
            };
            match talk.writes.last_mut() {
                Some(write) if control & 2 != 0 => {
                    if control & 4 != 0 {
                        write.cuts.push(write.bytes.len());
                    }
                    write.bytes.extend_from_slice(bytes);
                }
                _ => talk.writes.push(Write {
                    end: if control & 1 == 0 {
                        End::Client
                    } else {
                        End::Server
                    },
                    bytes: bytes.to_vec(),
                    cuts: Vec::new(),
                    refused: control & 8 != 0,
                }),
            }
        }
        talk
    }
}

impl Write {
    /// Its packets, none of them empty.
    pub fn packets(&self, cut: Cut) -> impl Iterator<Item = &[u8]> {
        let length = self.bytes.len();
        let ends: Vec<usize> = match cut {
            Cut::Nowhere => vec![length],
            Cut::Told => self.cuts.iter().copied().chain([length]).collect(),
            Cut::Every(bytes) => (bytes..length).step_by(bytes).chain([length]).collect(),
        };
        let begins = [0].into_iter().chain(ends.clone());
        let packets = begins.zip(ends).map(|(from, to)| &self.bytes[from..to]);
        packets.filter(|packet| !packet.is_empty())
    }
}

/// Each of the bytes that [`Turn`] knows, and what stands between it and the next. What stands
/// before the first is written by the client.
pub fn turns(input: &[u8]) -> impl Iterator<Item = (Turn, &[u8])> {
    let mut turn = Some(Turn::Write(End::Client));
    let mut rest = input;
    std::iter::from_fn(move || {
        let current = turn.take()?;
        let end = rest.iter().position(|byte| Turn::of(*byte).is_some());
        let (bytes, after) = rest.split_at(end.unwrap_or(rest.len()));
        if let Some((next, after)) = after.split_first() {
            turn = Turn::of(*next);
            rest = after;
        }
        Some((current, bytes))
    })
}
