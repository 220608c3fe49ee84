//! The kernel's HTTP/1 framing, held against the plain reader that its own tests have.
//!
//! Wherever the stream is cut into blocks, and whether bodies are skipped or scanned: messages
//! begin and end where the reader says, what is skipped is body, and whatever is unusual is given
//! up.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use meshwitness_fuzz::within;

/// Where the files below expect it.
mod framing {
    pub(crate) use agent_common::framing::{Framing, Mode, Scan};
}

#[path = "../../agent-common/src/framing/tests/follow.rs"]
mod follow;
#[path = "../../agent-common/src/framing/tests/reference.rs"]
mod reference;

/// Two bytes say how the stream is cut, eight are the HEAD requests that the peer told.
const CONTROL: usize = 10;

fuzz_target!(|input: &[u8]| -> Corpus {
    if input.len() > 1 << 14 {
        return Corpus::Reject;
    }
    // At the end, so that the stream begins where the input does.
    let (stream, control) = input.split_at(input.len().saturating_sub(CONTROL));
    let control = |index: usize| control.get(index).copied().unwrap_or_default();
    let heads = u64::from_le_bytes(std::array::from_fn(|index| control(2 + index)));
    let length = usize::from(control(0));
    within((1 << 16) + 64 * input.len(), || {
        for (lengths, skips) in [
            (vec![2048], true),
            (vec![2048], false),
            (
                vec![length, 1, 1 + length / 7, 8 * length],
                control(1) & 1 != 0,
            ),
        ] {
            follow::check(
                stream,
                heads,
                &follow::Cut {
                    lengths,
                    skips,
                    behind: control(1),
                },
            );
        }
    });
    Corpus::Keep
});
