//! Random frames in random cuts, held against a reader that holds the whole stream.
#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

extern crate std;

use std::{ops::Range, vec, vec::Vec};

use proptest::{
    collection,
    prelude::{Strategy, any},
    prop_assert, prop_assert_eq, prop_oneof, proptest, sample,
};

use super::{Boundary, Evidence, Frames, Header, Opening, Walk};

/// What a stream holds, read from all of it at once.
#[derive(Debug, Default)]
struct Reference {
    /// Where frames begin.
    begins: Vec<usize>,
    /// Bytes that have to be shipped.
    needed: Vec<bool>,
    /// What need not be shipped, but whole: payloads of DATA, other frames.
    spare: Vec<Range<usize>>,
    /// Behind the headers of frames that open a stream.
    opened: Vec<usize>,
}

fn read(stream: &[u8]) -> Reference {
    let mut reference = Reference {
        needed: vec![false; stream.len()],
        ..Reference::default()
    };
    let mut highest = 0;
    let mut at = 0;
    while at < stream.len() {
        reference.begins.push(at);
        let Some(header) = stream.get(at..at + 9) else {
            reference.needed[at..].fill(true);
            break;
        };
        let length =
            usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let (kind, flags) = (header[3], header[4]);
        let id = u32::from_be_bytes([header[5] & 0x7f, header[6], header[7], header[8]]);
        if kind == 1 && id % 2 == 1 && id > highest {
            highest = id;
            reference.opened.push(at + 9);
        }
        let needed = match kind {
            0 => 9 + usize::from(flags & 8 != 0),
            4 if flags & 1 != 0 => 0,
            1 | 3 | 4 | 5 | 7 | 9 => 9 + length,
            _ => 0,
        };
        let end = stream.len().min(at + 9 + length);
        let wanted = stream.len().min(at + needed);
        reference.needed[at..wanted].fill(true);
        if wanted < end {
            reference.spare.push(wanted..end);
        }
        at += 9 + length;
    }
    reference
}

fn block<const WORDS: usize>(bytes: &[u8], behind: u8) -> [u64; WORDS] {
    let mut block = [u64::from_ne_bytes([behind; 8]); WORDS];
    for (word, bytes) in block.iter_mut().zip(bytes.chunks(8)) {
        let mut whole = [behind; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(whole);
    }
    block
}

fn walk(frames: &mut Frames, bytes: &[u8], behind: u8) -> Walk {
    match bytes.len() {
        0..=64 => frames.walk(&block::<8>(bytes, behind), bytes.len()),
        65..=512 => frames.walk(&block::<64>(bytes, behind), bytes.len()),
        _ => frames.walk(&block::<1024>(bytes, behind), bytes.len()),
    }
}

/// Follows a stream in blocks of these lengths, as the kernel does.
fn check(stream: &[u8], lengths: &[usize], behind: u8, skips: bool) {
    let reference = read(stream);
    let mut frames = Frames::default();
    let mut shipped = vec![false; stream.len()];
    let mut lengths = lengths.iter().cycle();
    let mut at = 0;
    while at < stream.len() {
        let length = lengths.next().copied().unwrap_or(1).min(stream.len() - at);
        if skips && frames.skippable() > 0 {
            let skipped = (frames.skippable() as usize).min(length);
            frames.skip(skipped as u64);
            at += skipped;
        } else {
            let walk = walk(&mut frames, &stream[at..at + length], behind);
            let length = usize::from(walk.walked);
            let first = reference.begins[reference.begins.partition_point(|begin| *begin < at)..]
                .iter()
                .find(|begin| **begin < at + length)
                .map_or(Walk::NO_FRAME, |begin| (begin - at) as u16);
            assert_eq!(walk.first_frame, first, "{at}+{length}");
            let needed = usize::from(walk.needed);
            assert!(needed <= length);
            shipped[at..at + needed].fill(true);
            at += length;
        }
        let opened = reference.opened.partition_point(|end| *end <= at);
        assert_eq!(frames.streams() as usize, opened, "at {at}");
        if frames.skippable() > 0 && at < stream.len() {
            let rest = at..at + frames.skippable() as usize;
            let spare = |spare: &Range<usize>| {
                spare.contains(&rest.start) && spare.end == rest.end.min(stream.len())
            };
            assert!(reference.spare.iter().any(spare), "{rest:?} is spare");
        }
    }
    for (at, needed) in reference.needed.iter().enumerate() {
        assert!(!needed || shipped[at], "{at} is missing");
    }
    // Where shipping stops and goes on, a reader can tell from what it has.
    for spare in &reference.spare {
        let header = spare.start >= 9 && reference.needed[spare.start - 1];
        let whole = reference.begins.contains(&spare.start);
        assert!(header || whole);
        let cut = (spare.start..spare.end).position(|at| !shipped[at]);
        let begun = whole && shipped[spare.start];
        if let Some(cut) = cut.filter(|_| begun) {
            assert!(cut == 0 || cut >= 9, "the header at {} is cut", spare.start);
        }
    }
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![8 => 0..10_u8, 1 => any::<u8>()];
    let length = prop_oneof![4 => 0..20_usize, 2 => 0..300_usize, 1 => 0..20_000_usize];
    let stream = prop_oneof![3 => 0..20_u32, 1 => any::<u32>()];
    (kind, any::<u8>(), stream, length, any::<u8>()).prop_map(
        |(kind, flags, stream, length, fill)| {
            // Without room for the length of its padding it is malformed.
            let length = if kind == 0 { length.max(1) } else { length };
            let mut frame = (length as u32).to_be_bytes()[1..].to_vec();
            frame.extend([kind, flags]);
            frame.extend(stream.to_be_bytes());
            frame.resize(9 + length, fill);
            frame
        },
    )
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    collection::vec(frame(), 1..40).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn what_is_needed_is_shipped_in_any_cut(
        stream in stream(),
        lengths in collection::vec(prop_oneof![1..12_usize, 1..100_usize, 1..8193_usize], 1..8),
        behind in any::<u8>(),
        skips in any::<bool>(),
    ) {
        check(&stream, &lengths, behind, skips);
    }

    #[test]
    fn nonsense_is_followed_all_the_same(
        stream in collection::vec(any::<u8>(), 1..400),
        lengths in collection::vec(1..100_usize, 1..8),
        behind in any::<u8>(),
    ) {
        let mut frames = Frames::default();
        let mut rest = &stream[..];
        for length in lengths.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (here, behind_it) = rest.split_at(rest.len().min(*length));
            let walk = walk(&mut frames, here, behind);
            prop_assert!(usize::from(walk.needed) <= here.len());
            prop_assert_eq!(usize::from(walk.walked), here.len());
            rest = behind_it;
        }
    }

    #[test]
    fn a_boundary_is_where_frames_tile(
        stream in stream(),
        at in any::<sample::Index>(),
        write in any::<bool>(),
    ) {
        let reference = read(&stream);
        let at = at.index(stream.len());
        let evidence = if write { Evidence::Write } else { Evidence::None };
        let found = begins(&stream[at..], evidence);
        prop_assert_eq!(found, expected(&stream[at..], write), "at {}", at);
        if found && !write && reference.begins.contains(&at) {
            prop_assert!(stream[at + 3] != 9);
        }
    }
}

/// As the kernel asks.
fn begins(bytes: &[u8], evidence: Evidence) -> bool {
    let mut boundary = Boundary::default();
    let mut at = 0;
    while !boundary.is_proven(Evidence::None) {
        let Some(header) = bytes.get(at..at + 9) else {
            return boundary.is_proven(evidence);
        };
        let first = u64::from_le_bytes(header[..8].try_into().expect("eight"));
        let header = Header::new(first, header[8]);
        if !boundary.next(&header) {
            return false;
        }
        at += 9 + header.length() as usize;
    }
    true
}

/// Three legal frames, or what is there of them if that is at least one and a write begins here.
fn expected(bytes: &[u8], write: bool) -> bool {
    let mut at = 0;
    let mut block = None;
    for count in 0..3 {
        let Some(header) = bytes.get(at..at + 9) else {
            return write && count > 0;
        };
        let length =
            usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let (kind, flags) = (header[3], header[4]);
        let id = u32::from_be_bytes([header[5] & 0x7f, header[6], header[7], header[8]]);
        let (stream, lengths, known_flags) = match kind {
            0 => (Some(true), true, 0x09),
            1 => (Some(true), length > 0, 0x2d),
            2 => (Some(true), length == 5, 0),
            3 => (Some(true), length == 4, 0),
            4 => (
                Some(false),
                length % 6 == 0 && (flags == 0 || length == 0),
                0x01,
            ),
            5 => (Some(true), length > 4, 0x0c),
            6 => (Some(false), length == 8, 0x01),
            7 => (Some(false), length >= 8, 0),
            8 => (None, length == 4, 0),
            9 => (Some(true), true, 0x04),
            _ => return false,
        };
        let continues = kind == 9;
        if stream.is_some_and(|stream| stream != (id != 0))
            || !lengths
            || flags & !known_flags != 0
            || block != continues.then_some(id)
        {
            return false;
        }
        if matches!(kind, 1 | 5 | 9) {
            block = (flags & 4 == 0).then_some(id);
        }
        at += 9 + length;
    }
    true
}

/// Judges the first bytes, in segments of these lengths.
fn open(stream: &[u8], lengths: &[usize]) -> Vec<Opening> {
    let mut frames = Frames::default();
    let mut openings = Vec::new();
    let mut at = 0;
    for length in lengths {
        let bytes = &stream[at..at + length];
        let mut first = [0; 24];
        let loaded = bytes.len().min(24);
        first[..loaded].copy_from_slice(&bytes[..loaded]);
        let words = block::<4>(&first, 0);
        let opening = frames.open([words[0], words[1], words[2]], loaded as u64);
        openings.push(opening);
        if opening == Opening::Other || !frames.is_unproven() && opening != Opening::Preface {
            break;
        }
        let walk = walk(&mut frames, bytes, 0);
        assert_eq!(usize::from(walk.needed), bytes.len());
        at += length;
    }
    openings
}

#[test]
fn a_block_with_too_many_frames_is_cut() {
    let tiny = [0, 0, 0, 1, 4, 0, 0, 0, 1].repeat(800);
    let mut frames = Frames::default();
    let cut = walk(&mut frames, &tiny, 0);
    assert_eq!((cut.walked, cut.needed), (512 * 9, 512 * 9));
    let ordinary = [0, 0, 7, 1, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0].repeat(512);
    assert_eq!(
        usize::from(walk(&mut frames, &ordinary, 0).walked),
        ordinary.len()
    );
}

#[test]
fn a_preface_opens_a_client() {
    let mut stream = Opening::PREFACE.to_vec();
    stream.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let mut frames = Frames::default();
    let words = block::<4>(&stream[..24], 0);
    let opening = frames.open([words[0], words[1], words[2]], 24);
    assert_eq!(opening, Opening::Preface);
    let walk = walk(&mut frames, &stream, 0);
    assert_eq!((walk.first_frame, walk.needed), (24, 33));
}

#[test]
fn a_preface_opens_a_client_in_any_cut() {
    let mut stream = Opening::PREFACE.to_vec();
    stream.extend([0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 1]);
    for first in 3..24 {
        for behind in [24 - first, 25 - first, stream.len() - first] {
            let openings = open(&stream, &[first, behind]);
            assert_eq!(openings, [Opening::PrefaceBegun, Opening::Preface]);
        }
    }
    let openings = open(&stream, &[[3].as_slice(), &[1; 21]].concat());
    assert_eq!(openings[..21], [Opening::PrefaceBegun; 21]);
    assert_eq!(openings[21..], [Opening::Preface]);
    for first in [1, 2] {
        assert_eq!(open(&stream, &[first]), [Opening::Other]);
    }
}

#[test]
fn what_follows_a_preface_in_pieces_is_frames() {
    let mut stream = Opening::PREFACE.to_vec();
    stream.extend([0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 1]);
    for first in 3..24 {
        let mut frames = Frames::default();
        let pieces = [
            (&stream[..first], Walk::NO_FRAME),
            (&stream[first..], 24 - first as u16),
        ];
        for (bytes, first_frame) in pieces {
            let words = block::<4>(&bytes[..bytes.len().min(24)], 0);
            frames.open([words[0], words[1], words[2]], bytes.len().min(24) as u64);
            let walk = walk(&mut frames, bytes, 0);
            assert_eq!(usize::from(walk.needed), bytes.len());
            assert_eq!(walk.first_frame, first_frame);
        }
        assert_eq!((frames.streams(), frames.skippable()), (1, 0));
        assert!(!frames.is_unproven());
    }
}

#[test]
fn what_only_begins_like_a_preface_is_none() {
    let stream = b"PRINT / HTTP/1.1\r\n\r\n";
    let openings = open(stream, &[3, stream.len() - 3]);
    assert_eq!(openings, [Opening::PrefaceBegun, Opening::Other]);
    assert_eq!(open(stream, &[stream.len()]), [Opening::Other]);
    let mut stream = *Opening::PREFACE;
    stream[23] = b'\r';
    let openings = open(&stream, &[10, 10, 4]);
    assert_eq!(openings[..2], [Opening::PrefaceBegun; 2]);
    assert_eq!(openings[2..], [Opening::Other]);
    assert_eq!(open(&stream, &[24]), [Opening::Other]);
}

#[test]
fn settings_open_a_server_in_any_cut() {
    let stream = [
        0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100, 0, 4, 0, 1, 0, 0,
    ];
    assert_eq!(open(&stream, &[21]), [Opening::Settings]);
    assert_eq!(open(&stream, &[9]), [Opening::Settings]);
    for first in 1..9 {
        let openings = open(&stream, &[first, 21 - first]);
        assert_eq!(openings, [Opening::Unfinished, Opening::Settings]);
    }
    let openings = open(&stream, &[1; 9]);
    assert_eq!(openings[..8], [Opening::Unfinished; 8]);
    assert_eq!(openings[8..], [Opening::Settings]);
}

#[test]
fn what_is_no_settings_opens_nothing() {
    for stream in [
        &b"HTTP/1.1 200 OK\r\n"[..],
        b"\0\0\x05\x04\0\0\0\0\0",
        b"\0\0\x06\x04\x01\0\0\0\0",
        b"\0\0\x06\x04\0\0\0\0\x01",
        b"\0\0\x06\x01\0\0\0\0\0",
        b"\0\0\0\x2a\0\x12\0\0\0",
        b"\0\x60\0\x04\0\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
        b"PR",
    ] {
        assert_eq!(
            open(stream, &[stream.len()]),
            [Opening::Other],
            "{stream:?}"
        );
    }
    assert_eq!(
        open(b"\0\0\0\x2a\0", &[3, 2]),
        [Opening::Unfinished, Opening::Other]
    );
}

#[test]
fn a_lost_position_keeps_its_counts() {
    let mut frames = Frames::default();
    let headers = [0, 0, 5, 1, 4, 0, 0, 0, 7, 1, 2];
    walk(&mut frames, &headers, 0);
    frames.lose();
    assert!(frames.is_lost());
    assert_eq!((frames.streams(), frames.skippable()), (1, 0));
    frames.join();
    assert!(!frames.is_lost());
    walk(
        &mut frames,
        &[0, 0, 0, 1, 4, 0, 0, 0, 5, 0, 0, 0, 1, 4, 0, 0, 0, 9],
        0,
    );
    assert_eq!(frames.streams(), 2);
}

#[test]
fn the_end_of_a_message_is_told_with_the_last_of_its_payload() {
    for (flags, ends) in [(0, false), (1, true)] {
        let mut frames = Frames::default();
        walk(&mut frames, &[0, 0, 100, 0, flags, 0, 0, 0, 1, 7, 7], 0);
        assert_eq!(frames.skippable(), 98);
        assert!(!frames.skip(0) && !frames.skip(97));
        assert_eq!(frames.skip(1), ends);
        assert!(!frames.skip(0));
    }
}
