//! Drives [`Framing`] over a stream as the kernel does, and holds it against the reference.

extern crate std;

use std::vec::Vec;

use super::reference::{self, Reference};
use crate::framing::{Framing, Mode, Scan};

/// The words of a block that holds `bytes`, and whatever behind them.
pub(super) fn words<const WORDS: usize>(bytes: &[u8], behind: u8) -> [u64; WORDS] {
    let mut block = [u64::from_ne_bytes([behind; 8]); WORDS];
    for (word, bytes) in block.iter_mut().zip(bytes.chunks(8)) {
        let mut whole = [behind; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(whole);
    }
    block
}

/// Scans one block of at most 2048 bytes.
pub(super) fn scan(framing: &mut Framing, bytes: &[u8], head_bits: u64, behind: u8) -> Scan {
    framing.scan(&words::<256>(bytes, behind), bytes.len(), head_bits)
}

/// How a stream is cut and looked at.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// Lengths of the blocks, taken in turn.
    pub(super) lengths: Vec<usize>,
    /// Whether bodies are skipped, or run through `scan`.
    pub(super) skips: bool,
    /// What stands behind the bytes of a block.
    pub(super) behind: u8,
}

/// Follows `stream`, and fails where anything differs from the reference.
pub(super) fn check(stream: &[u8], head_bits: u64, cut: &Cut) -> Framing {
    let reference = reference::read(stream, head_bits);
    let mut framing = Framing::default();
    let mut at = 0;
    let mut lengths = cut.lengths.iter().cycle();
    while at < stream.len() {
        let wanted = lengths.next().copied().unwrap_or(1).clamp(1, 2048);
        if cut.skips && framing.mode() == Mode::Framed && framing.skippable() > 0 {
            let whole = usize::try_from(framing.skippable()).expect("64 bits");
            let step = whole.min(wanted).min(stream.len() - at);
            let ended = framing.skip(step as u64);
            at += step;
            assert_eq!(ended, reference.ends.contains(&at), "ended at {at}");
        } else {
            let length = wanted.min(stream.len() - at);
            let before = framing;
            let scan = scan(
                &mut framing,
                &stream[at..at + length],
                head_bits,
                cut.behind,
            );
            let scanned = usize::from(scan.scanned);
            assert!(
                (1..=length).contains(&scanned),
                "scanned {scanned} of {length}"
            );
            if before.mode() == Mode::Framed {
                check_block(&reference, at, at + scanned, &scan, &framing);
            } else {
                assert_eq!((scanned, scan.first_message), (length, Scan::NO_MESSAGE));
                assert_eq!((scan.ended, scan.heads), (false, 0));
            }
            at += scanned;
        }
        check_position(&reference, at, &framing);
    }
    framing
}

fn check_block(reference: &Reference, from: usize, to: usize, scan: &Scan, after: &Framing) {
    let begin = reference
        .begins
        .iter()
        .copied()
        .find(|begin| (from..to).contains(begin));
    let first =
        (scan.first_message != Scan::NO_MESSAGE).then(|| from + usize::from(scan.first_message));
    let withdrawn = after.mode() == Mode::Opaque && after.messages() == 0;
    if withdrawn {
        assert_eq!(first, None);
    } else {
        assert_eq!(first, begin, "first message in {from}..{to}");
    }
    assert_eq!(scan.ended, reference.ends.contains(&to), "ended at {to}");
    let heads = reference
        .heads
        .iter()
        .filter(|(end, _)| from < *end && *end <= to);
    let heads = heads.fold(0, |heads, (_, bit)| heads | bit);
    assert_eq!(scan.heads, heads, "HEAD bits in {from}..{to}");
}

fn check_position(reference: &Reference, at: usize, framing: &Framing) {
    let body = reference.bodies.iter().find(|body| body.contains(&at));
    let remaining = body.map_or(0, |body| (body.end - at) as u64);
    let begun = reference.begins.iter().filter(|begin| **begin < at).count();
    let mut mode = Mode::Framed;
    let mut withdrawn = 0;
    if let Some(stop) = reference.stop.filter(|stop| stop.from < at) {
        mode = stop.mode;
        withdrawn = usize::from(stop.withdrawn);
        if framing.mode() == Mode::Framed {
            assert!(at < stop.to, "still framed at {at}: {stop:?}");
            mode = Mode::Framed;
            withdrawn = 0;
        }
    } else if reference.unfinished.is_some_and(|line| line < at) && framing.mode() != Mode::Framed {
        // In a line that did not end yet something may already be wrong.
        assert!(matches!(framing.mode(), Mode::Raw | Mode::Opaque));
        assert_eq!(framing.skippable(), 0);
        return;
    }
    assert_eq!(framing.mode(), mode, "at {at}");
    let skippable = if mode == Mode::UntilClose {
        u64::MAX
    } else {
        remaining
    };
    assert_eq!(framing.skippable(), skippable, "at {at}");
    assert_eq!(
        framing.messages() as usize,
        begun - withdrawn,
        "messages at {at}"
    );
}
