//! Random streams against the reference.

extern crate std;

use std::vec::Vec;

use proptest::{
    collection,
    prelude::{ProptestConfig, Strategy, any},
    prop_assert_eq, prop_oneof, proptest, sample,
};

use super::{
    conversation::{Conversation, requests, responses},
    follow::{Cut, check},
    reference,
};
use crate::framing::Mode;

fn cut() -> impl Strategy<Value = Cut> {
    let length = prop_oneof![1..10_usize, 1..100_usize, 1..2049_usize];
    let lengths = collection::vec(length, 1..8);
    (lengths, any::<bool>(), any::<u8>()).prop_map(|(lengths, skips, behind)| Cut {
        lengths,
        skips,
        behind,
    })
}

/// What happens to a stream on its way to becoming nonsense.
#[derive(Clone, Debug)]
enum Change {
    Replace(sample::Index, u8),
    Insert(sample::Index, Vec<u8>),
    /// Behind the end of a line.
    InsertLine(sample::Index, Vec<u8>),
    Remove(sample::Index, usize),
    Repeat(sample::Index, usize),
}

/// Lines that change what the lines around them mean.
const LINES: &[&[u8]] = &[
    b"content-length: 5\r\n",
    b"content-length: 562949953421311\r\n",
    b"content-length: 562949953421312\r\n",
    b"content-length: 5\n",
    b"content-length: \r\n",
    b"content-length:\r\n 5\r\n",
    b"content-length: 5 5\r\n",
    b"content-length: +5\r\n",
    b"Content-Length : 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b"Transfer-Encoding:\tCHUNKED \r\n",
    b"transfer-encoding: chunked, chunked\r\n",
    b"transfer-encoding: identity\r\n",
    b"transfer-encoding\r\n",
    b"x: y\r\n folded\r\n",
    b"no colon\r\n",
    b": no name\r\n",
    b"5\r\nabcde\r\n",
    b"5;bare\nabcde\r\n",
    b"0\r\n\r\n",
    b"1ffffffffffff\r\n",
    b"2000000000000\r\n",
    b"\r\n",
    b"\r\nHTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 101 \r\n\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.0\r\n",
    b"PRI * HTTP/2.0\r\n",
    b"get /\r\n",
];

const TRICKY: &[&[u8]] = &[
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b";", b"\0", b"\x7f", b"0",
];

fn change() -> impl Strategy<Value = Change> {
    let tricky = sample::select(TRICKY);
    let index = any::<sample::Index>;
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (index(), tricky.prop_map(Vec::from)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (index(), sample::select(LINES))
            .prop_map(|(at, line)| Change::InsertLine(at, line.to_vec())),
        (index(), 1..30_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (index(), 1..60_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
    ]
}

fn apply(change: &Change, bytes: &mut Vec<u8>) {
    let (Change::Replace(at, _)
    | Change::Insert(at, _)
    | Change::InsertLine(at, _)
    | Change::Remove(at, _)
    | Change::Repeat(at, _)) = change;
    let at = at.index(bytes.len() + 1);
    let until = |length: &usize| (at + length).min(bytes.len());
    match change {
        Change::Replace(_, byte) => {
            if let Some(place) = bytes.get_mut(at) {
                *place = *byte;
            }
        }
        Change::Insert(_, inserted) => drop(bytes.splice(at..at, inserted.iter().copied())),
        Change::InsertLine(_, line) => {
            let ends = bytes
                .windows(2)
                .enumerate()
                .filter(|(_, end)| end == b"\r\n");
            let starts: Vec<_> = core::iter::once(0)
                .chain(ends.map(|(end, _)| end + 2))
                .collect();
            let start = starts[at % starts.len()];
            drop(bytes.splice(start..start, line.iter().copied()));
        }
        Change::Remove(_, length) => drop(bytes.drain(at..until(length))),
        Change::Repeat(_, length) => {
            let again = bytes[at..until(length)].to_vec();
            drop(bytes.splice(at..at, again));
        }
    }
}

/// Three accounts of a valid conversation agree: the maker's, the reference's and the framing's.
fn agree(
    conversation: &Conversation,
    cut: &Cut,
) -> Result<(), proptest::test_runner::TestCaseError> {
    let reference = reference::read(&conversation.bytes, conversation.heads);
    prop_assert_eq!(&reference.begins, &conversation.begins);
    prop_assert_eq!(&reference.ends, &conversation.ends);
    prop_assert_eq!(
        reference.heads.iter().fold(0, |all, (_, bit)| all | bit),
        conversation.heads
    );
    prop_assert_eq!(
        reference
            .bodies
            .iter()
            .map(ExactSizeIterator::len)
            .sum::<usize>(),
        conversation.body
    );
    let framing = check(&conversation.bytes, conversation.heads, cut);
    prop_assert_eq!(framing.mode(), Mode::Framed);
    prop_assert_eq!(framing.at_message_start(), true);
    prop_assert_eq!(framing.messages() as usize, conversation.begins.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn requests_are_followed(conversation in requests(), cut in cut()) {
        agree(&conversation, &cut)?;
    }

    #[test]
    fn responses_are_followed(conversation in responses(), cut in cut()) {
        agree(&conversation, &cut)?;
    }

    #[test]
    fn damage_is_never_taken_for_body(
        conversation in prop_oneof![requests(), responses()],
        changes in collection::vec(change(), 1..4),
        cut in cut(),
    ) {
        let mut bytes = conversation.bytes;
        for change in &changes {
            apply(change, &mut bytes);
        }
        check(&bytes, conversation.heads, &cut);
    }

    #[test]
    fn noise_is_never_taken_for_body(
        bytes in collection::vec(
            prop_oneof![any::<u8>(), sample::select(&b"GETHAD/P1.0 \r\n:chunked"[..])],
            0..200,
        ),
        cut in cut(),
    ) {
        check(&bytes, 0, &cut);
    }
}
