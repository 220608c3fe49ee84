//! Frames that consist of numbers: RST_STREAM, SETTINGS, GOAWAY (RFC 9113 sections 6.4, 6.5, 6.8).

use super::{
    frame::{Kind, take_byte},
    step::Step,
};

/// A frame that consists of numbers.
#[derive(Debug)]
pub(super) struct Control {
    kind: Kind,
    stream: u32,
    left: u32,
    /// The number in progress.
    unit: [u8; 6],
    held: usize,
    /// The size of the table in SETTINGS, the last stream in GOAWAY.
    found: Option<u32>,
}

/// SETTINGS_HEADER_TABLE_SIZE (RFC 9113 section 6.5.2).
const HEADER_TABLE_SIZE: u16 = 1;

impl Control {
    pub(super) fn new(kind: Kind, stream: u32, length: u32) -> Self {
        Self {
            kind,
            stream,
            left: length,
            unit: [0; 6],
            held: 0,
            found: None,
        }
    }

    /// All of it was read.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Reads on, to the end of the frame or of the input.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Option<Step<'static>> {
        while self.left > 0 && !input.is_empty() {
            self.unit[self.held] = take_byte(input);
            self.held += 1;
            self.left -= 1;
            let [a, b, c, d, e, f] = self.unit;
            match (self.kind, self.held) {
                (Kind::GoAway, 4) if self.found.is_none() => {
                    self.found = Some(u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff);
                }
                (Kind::Reset, 4) => self.found = Some(u32::from_be_bytes([a, b, c, d])),
                (_, 6) => {
                    self.held = 0;
                    let is_size = u16::from_be_bytes([a, b]) == HEADER_TABLE_SIZE;
                    if self.kind == Kind::Settings && is_size {
                        let size = u32::from_be_bytes([c, d, e, f]);
                        self.found = Some(self.found.map_or(size, |known| known.max(size)));
                    }
                }
                _ => {}
            }
        }
        if self.left > 0 {
            return None;
        }
        match (self.kind, self.found) {
            (Kind::Settings, table_size) => Some(Step::Settings { table_size }),
            (Kind::GoAway, Some(last)) => Some(Step::GoAway { last }),
            (Kind::Reset, code) => Some(Step::Reset {
                stream: self.stream,
                code: code.unwrap_or_default(),
            }),
            _ => None,
        }
    }
}
