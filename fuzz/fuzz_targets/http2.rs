//! HTTP/2 from both ends of a connection, followed by the kernel's walker and read by the tracker.
//!
//! What must hold is told at [`check_conversation`].
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use meshwitness_fuzz::{Talk, check_conversation};

fuzz_target!(|input: &[u8]| -> Corpus {
    if input.len() > 1 << 14 {
        return Corpus::Reject;
    }
    check_conversation(&Talk::of_pieces(input), input.len());
    Corpus::Keep
});
