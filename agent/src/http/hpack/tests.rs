//! The examples of the RFC, what is no header block, and decoders that came late.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
};

use super::{Decoder, Error, Extent, Field, LIST_LIMIT, static_table::STATIC};

/// Name and value, as far as they are known.
type Shown = (Option<String>, Option<String>);

fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Shown>, Error> {
    let mut shown = Vec::new();
    let push = |field: Field<'_>| shown.push((text(field.name), text(field.value)));
    let extent = decoder.decode(block, push)?;
    assert_eq!(extent, Extent::Whole);
    Ok(shown)
}

fn known(name: &str, value: &str) -> Shown {
    (Some(name.to_owned()), Some(value.to_owned()))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    let byte = |pair: &[u32]| u8::try_from(pair[0] << 4 | pair[1]).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Appendix C.3 and C.4: the same requests, plain and coded.
#[test]
fn requests_of_the_rfc() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    let host = known(":authority", "www.example.com");
    for blocks in [plain, coded] {
        let mut decoder = Decoder::new();
        let mut lists = blocks.map(|block| decode(&mut decoder, &bytes(block)).unwrap());
        assert_eq!(lists[0].pop(), Some(host.clone()));
        assert_eq!(lists[1].pop(), Some(known("cache-control", "no-cache")));
        assert_eq!(lists[1].pop(), Some(host.clone()));
        assert_eq!(lists[2].pop(), Some(known("custom-key", "custom-value")));
        assert_eq!(lists[2].pop(), Some(host.clone()));
        let rest = |scheme, path| {
            [
                known(":method", "GET"),
                known(":scheme", scheme),
                known(":path", path),
            ]
        };
        assert_eq!(lists[0], rest("http", "/"));
        assert_eq!(lists[1], rest("http", "/"));
        assert_eq!(lists[2], rest("https", "/index.html"));
    }
}

/// Appendix C.5, where entries are evicted.
#[test]
fn responses_of_the_rfc() {
    let mut decoder = Decoder::new();
    let first = bytes(
        "3fe1 01 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
         2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 \
         2e63 6f6d",
    );
    let private = known("cache-control", "private");
    let date = |second| known("date", &format!("Mon, 21 Oct 2013 20:13:{second} GMT"));
    let location = known("location", "https://www.example.com");
    assert_eq!(
        decode(&mut decoder, &first).unwrap(),
        [
            known(":status", "302"),
            private.clone(),
            date(21),
            location.clone()
        ]
    );
    assert_eq!(
        decode(&mut decoder, &bytes("4803 3330 37c1 c0bf")).unwrap(),
        [
            known(":status", "307"),
            private.clone(),
            date(21),
            location.clone()
        ]
    );
    let third = bytes(
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 \
         5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 \
         5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    );
    let cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    assert_eq!(
        decode(&mut decoder, &third).unwrap(),
        [
            known(":status", "200"),
            private,
            date(22),
            location,
            known("content-encoding", "gzip"),
            known("set-cookie", cookie),
        ]
    );
    // The table of 256 bytes holds the last three.
    assert_eq!(decode(&mut decoder, &[0xc0]).unwrap(), [date(22)]);
    assert_eq!(decode(&mut decoder, &[0xc1]), Err(Error::Index(65)));
}

#[test]
fn what_is_no_header_block_is_refused_and_forgets_the_table() {
    let cases: [(&[u8], Error); 8] = [
        (&[0x80], Error::Index(0)),
        (&[0xbf], Error::Index(63)),
        (&[0x7f, 0x00, 0x01, b'v'], Error::Index(63)),
        (&[0x40, 0x02, b'n'], Error::Truncated),
        (&[0x40, 0x01, b'n', 0x81, 0x00], Error::Huffman),
        (&[0xff, 0x80, 0x80, 0x80, 0x80, 0x80], Error::Integer),
        (&[0x82, 0x20], Error::LateUpdate),
        (
            &[0x3f, 0xe2, 0x1f],
            Error::TableSize {
                size: 4097,
                allowed: 4096,
            },
        ),
    ];
    for (block, error) in cases {
        let mut decoder = Decoder::new();
        let inserted = decode(&mut decoder, b"\x40\x01n\x01v").unwrap();
        assert_eq!(inserted, [known("n", "v")]);
        assert_eq!(decode(&mut decoder, block), Err(error));
        // What stood in the table is unknown now, and nothing else is.
        assert_eq!(
            decode(&mut decoder, &[0x82, 0xbe]).unwrap(),
            [known(":method", "GET"), (None, None)]
        );
    }
}

#[test]
fn a_name_that_is_not_known_keeps_its_place() {
    let mut decoder = Decoder::new();
    decoder.forget();
    // A value under an unknown name, then a field of a known one.
    let block = b"\x7e\x01a\x40\x01n\x01b\xbf\xbe\xc0";
    assert_eq!(
        decode(&mut decoder, block).unwrap(),
        [
            (None, Some("a".to_owned())),
            known("n", "b"),
            (None, Some("a".to_owned())),
            known("n", "b"),
            (None, None),
        ]
    );
}

#[test]
fn a_table_that_was_emptied_hides_nothing_any_more() {
    let mut decoder = Decoder::new();
    decoder.forget();
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), [(None, None)]);
    decode(&mut decoder, &[0x20, 0x3f, 0xe1, 0x1f]).unwrap();
    assert_eq!(decode(&mut decoder, &[0xbe]), Err(Error::Index(62)));
}

#[test]
fn a_larger_table_has_to_be_allowed() {
    let mut decoder = Decoder::new();
    decoder.allow(100_000);
    decoder.allow(0);
    decode(&mut decoder, &[0x3f, 0x81, 0x8d, 0x06]).unwrap();
}

/// Of a table beyond what is kept, the oldest entries are unknown, not none.
#[test]
fn a_table_beyond_the_bound_is_known_in_part() {
    let mut decoder = Decoder::new();
    decoder.allow(u32::MAX);
    let size = 1 << 20;
    let mut block = vec![0x3f];
    integer(&mut block, size - 31);
    decode(&mut decoder, &block).unwrap();
    let mut field = vec![0x40, 1, b'n'];
    string(&mut field, &"v".repeat(30_000));
    for _ in 0..10 {
        decode(&mut decoder, &field).unwrap();
    }
    assert!(decoder.held() < 300_000);
    let shown = decode(&mut decoder, &[0xbf, 0xc7]).unwrap();
    assert_eq!(shown[0], known("n", &"v".repeat(30_000)));
    assert_eq!(shown[1], (None, None));
    let mut huge = vec![0x40, 1, b'n'];
    string(&mut huge, &"v".repeat(100_000));
    decode(&mut decoder, &huge).unwrap();
    decode(&mut decoder, b"\x40\x01m\x01v").unwrap();
    assert_eq!(
        decode(&mut decoder, &[0xbe, 0xbf]).unwrap(),
        [known("m", "v"), (None, None)]
    );
}

#[test]
fn a_bomb_is_told_up_to_the_limit_and_the_table_stays_right() {
    let mut decoder = Decoder::new();
    let mut block = vec![0x40, 1, b'n'];
    string(&mut block, &"v".repeat(4000));
    block.extend([0xbe; 10_000]);
    block.extend(b"\x40\x01m\x01w");
    let mut size = 0;
    let extent = decoder.decode(&block, |field| {
        size += 32 + field.name.unwrap().len() + field.value.unwrap().len();
    });
    assert_eq!(extent, Ok(Extent::Cut));
    assert!(size <= LIST_LIMIT && size > LIST_LIMIT - 5000);
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), [known("m", "w")]);
}

/// Appends the rest of an integer whose prefix is full.
fn integer(block: &mut Vec<u8>, mut rest: usize) {
    while rest >= 0x80 {
        block.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// Appends an integer with a prefix of so many bits behind the marks `first`.
fn prefixed(block: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let mask = (1 << bits) - 1;
    if value < mask {
        block.push(first | u8::try_from(value).unwrap());
    } else {
        block.push(first | u8::try_from(mask).unwrap());
        integer(block, value - mask);
    }
}

fn string(block: &mut Vec<u8>, text: &str) {
    prefixed(block, 0, 7, text.len());
    block.extend(text.as_bytes());
}

/// What an encoder does for one field; which entry is a share of those there are.
#[derive(Clone, Debug)]
enum Step {
    Indexed(u16),
    Literal {
        name: Result<u16, String>,
        value: String,
        first: u8,
    },
    Resize(u16),
}

/// A field, and since which block its parts can be known; those of all blocks have `ALWAYS`.
#[derive(Clone, Debug)]
struct Sent {
    name: String,
    name_since: usize,
    value: String,
    value_since: usize,
}

const ALWAYS: usize = usize::MAX;

/// An encoder's table, written without regard to speed.
#[derive(Default)]
struct Model {
    /// The newest first.
    entries: Vec<Sent>,
    limit: usize,
}

impl Model {
    fn fit(&mut self) {
        let size = |entry: &Sent| entry.name.len() + entry.value.len() + 32;
        while self.entries.iter().map(size).sum::<usize>() > self.limit {
            self.entries.pop();
        }
    }

    /// An index that is in use, and the field there.
    fn pick(&self, share: u16) -> (usize, Sent) {
        let index = usize::from(share) % (STATIC.len() + self.entries.len());
        let sent = match STATIC.get(index) {
            Some((name, value)) => Sent {
                name: (*name).to_owned(),
                name_since: ALWAYS,
                value: (*value).to_owned(),
                value_since: ALWAYS,
            },
            None => self.entries[index - STATIC.len()].clone(),
        };
        (index + 1, sent)
    }

    /// Encodes the block with this number.
    fn encode(&mut self, number: usize, steps: &[Step]) -> (Vec<u8>, Vec<Sent>) {
        let (mut block, mut fields) = (Vec::new(), Vec::new());
        for step in steps {
            if let Step::Resize(size) = step {
                self.limit = usize::from(*size) % 4097;
                self.fit();
                prefixed(&mut block, 0x20, 5, self.limit);
            }
        }
        for step in steps {
            match step {
                Step::Resize(_) => {}
                Step::Indexed(share) => {
                    let (index, sent) = self.pick(*share);
                    prefixed(&mut block, 0x80, 7, index);
                    fields.push(sent);
                }
                Step::Literal { name, value, first } => {
                    let bits = if *first == 0x40 { 6 } else { 4 };
                    let (name, name_since) = match name {
                        Ok(share) => {
                            let (index, sent) = self.pick(*share);
                            prefixed(&mut block, *first, bits, index);
                            (sent.name, sent.name_since)
                        }
                        Err(name) => {
                            block.push(*first);
                            string(&mut block, name);
                            (name.clone(), ALWAYS)
                        }
                    };
                    string(&mut block, value);
                    let sent = Sent {
                        name,
                        name_since,
                        value: value.clone(),
                        value_since: ALWAYS,
                    };
                    fields.push(sent.clone());
                    if *first == 0x40 {
                        let inserted = Sent {
                            name_since: name_since.min(number),
                            value_since: number,
                            ..sent
                        };
                        self.entries.insert(0, inserted);
                        self.fit();
                    }
                }
            }
        }
        (block, fields)
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || prop_oneof![any::<u16>().prop_map(Ok), "[a-z]{1,40}".prop_map(Err)];
    let first = prop_oneof![4 => Just(0x40), 1 => Just(0x00), 1 => Just(0x10)];
    let literal = (name(), "[ -~]{0,60}", first);
    let step = prop_oneof![
        8 => any::<u16>().prop_map(Step::Indexed),
        8 => literal.prop_map(|(name, value, first)| Step::Literal { name, value, first }),
        1 => any::<u16>().prop_map(Step::Resize),
    ];
    vec(step, 0..12)
}

proptest::proptest! {
    /// Whoever sees all knows all; whoever comes at any block knows what was sent or inserted
    /// since, and nothing wrong.
    #[test]
    fn nobody_is_told_anything_wrong(blocks in vec(steps(), 1..12)) {
        let mut model = Model { limit: 4096, ..Model::default() };
        let blocks: Vec<_> = blocks
            .iter()
            .enumerate()
            .map(|(number, steps)| model.encode(number, steps))
            .collect();
        for joined in 0..blocks.len() {
            let mut decoder = Decoder::new();
            if joined > 0 {
                decoder.forget();
            }
            for (block, fields) in &blocks[joined..] {
                let shown = decode(&mut decoder, block).unwrap();
                assert_eq!(shown.len(), fields.len());
                for ((name, value), sent) in shown.into_iter().zip(fields) {
                    let told = |told: Option<String>, sent: &String, since: usize| match told {
                        Some(told) => assert_eq!(told, *sent),
                        None => assert!(since < joined, "{sent} was sent in {since}"),
                    };
                    told(name, &sent.name, sent.name_since);
                    told(value, &sent.value, sent.value_since);
                }
            }
        }
    }

    #[test]
    fn anything_at_all_is_taken(blocks in vec(vec(any::<u8>(), 0..200), 1..20)) {
        let mut decoder = Decoder::new();
        for block in blocks {
            let _ = decoder.decode(&block, |_| {});
        }
    }
}
