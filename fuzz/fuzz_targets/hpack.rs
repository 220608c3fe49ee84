//! Header blocks of one direction of an HTTP/2 connection, against nghttp2.
//!
//! The input is taken for blocks, each behind its length, and for header lists, which nghttp2
//! encodes. What nghttp2 reads is read, and the same; what it refuses is refused. Whoever comes
//! late knows less, and nothing else.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use meshwitness::http::hpack::{Decoder, Extent, Field};
use meshwitness_fuzz::{Deflater, HeaderList, Inflater, pieces, within};

/// More than a decoder may ever hold.
const HELD: usize = 300_000;

type Shown = (Option<Vec<u8>>, Option<Vec<u8>>);

fuzz_target!(|input: &[u8]| -> Corpus {
    if input.len() > 1 << 13 {
        return Corpus::Reject;
    }
    within((8 << 20) + 64 * input.len(), || {
        let mut inflater = Inflater::new();
        check(pieces(input).map(|block| (block.to_vec(), inflater.inflate(block))));
        let mut deflater = Deflater::new();
        check(pieces(input).map(|piece| {
            if let [size, 0xff, ..] = piece {
                deflater.resize(usize::from(*size) * 16);
            }
            let list = list(piece);
            (deflater.deflate(&list), Some(list))
        }));
    });
    Corpus::Keep
});

/// Fields, one a line.
fn list(piece: &[u8]) -> HeaderList {
    let lines = piece.split(|byte| *byte == b'\n');
    let fields = lines.map(|line| {
        let colon = line.iter().skip(1).position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.map_or(line.len(), |colon| colon + 1));
        let value = value.strip_prefix(b":").unwrap_or(value);
        (name.to_ascii_lowercase(), value.to_vec())
    });
    fields.collect()
}

/// Blocks, and what nghttp2 says about each.
fn check(blocks: impl Iterator<Item = (Vec<u8>, Option<HeaderList>)>) {
    let mut decoder = Decoder::new();
    let mut late: Vec<Decoder> = Vec::new();
    for (number, (block, expected)) in blocks.enumerate() {
        let shown = decode(&mut decoder, &block);
        let Some(expected) = expected else {
            assert_eq!(shown, None, "nghttp2 refuses block {number}");
            return;
        };
        let expected: Vec<Shown> = expected
            .into_iter()
            .map(|(name, value)| (Some(name), Some(value)))
            .collect();
        assert_eq!(shown.as_ref(), Some(&expected), "block {number}");
        for decoder in &mut late {
            let shown =
                decode(decoder, &block).expect("a block is one for those too who come late");
            assert_eq!(shown.len(), expected.len());
            for (shown, expected) in shown.iter().zip(&expected) {
                assert!(
                    shown.0.is_none() || shown.0 == expected.0,
                    "{shown:?}, {expected:?}"
                );
                assert!(
                    shown.1.is_none() || shown.1 == expected.1,
                    "{shown:?}, {expected:?}"
                );
            }
        }
        if late.len() < 4 {
            let mut decoder = Decoder::new();
            decoder.forget();
            late.push(decoder);
        }
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Option<Vec<Shown>> {
    let mut shown = Vec::new();
    let extent = decoder.decode(block, |field: Field<'_>| {
        shown.push((
            field.name.map(<[u8]>::to_vec),
            field.value.map(<[u8]>::to_vec),
        ));
    });
    assert!(decoder.held() < HELD, "{} bytes", decoder.held());
    // Blocks are too short here for a list that is cut.
    assert_ne!(extent, Ok(Extent::Cut));
    extent.ok().map(|_| shown)
}
