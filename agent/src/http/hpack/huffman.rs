//! The Huffman code of header strings: RFC 7541 section 5.2 and appendix B.
//!
//! It is canonical: codes of one length follow each other in the order of their symbols, and begin
//! where the next shorter ones end. So the lengths alone say it all.

use super::decoder::Error;

/// The length of the code of each byte and, last, of the end of string, in bits.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];

/// The symbol that ends a string; a string never holds it.
const END: u16 = 256;

/// The longest code, in bits.
const LONGEST: usize = 30;

/// Codes up to this length are looked up at once: those of nearly all that is sent.
const SHORT: u32 = 8;

/// Appends what `input` stands for to `output`.
pub(super) fn decode(input: &[u8], output: &mut Vec<u8>) -> Result<(), Error> {
    let mut input = input.iter();
    // Bits that are not decoded yet, the next one highest, and how many they are.
    let (mut window, mut count) = (0_u64, 0_u32);
    loop {
        while count <= u64::BITS - 8
            && let Some(byte) = input.next()
        {
            window |= u64::from(*byte) << (u64::BITS - 8 - count);
            count += 8;
        }
        // Its top eight bits.
        let (symbol, length) = match CODE.short[(window >> (u64::BITS - SHORT)) as usize] {
            (_, 0) => CODE.long(window),
            (symbol, length) => (u16::from(symbol), u32::from(length)),
        };
        if length > count {
            break;
        }
        let byte = u8::try_from(symbol).map_err(|_| Error::Huffman)?;
        output.push(byte);
        window <<= length;
        count -= length;
    }
    // Less than a byte is left, and all ones.
    let padding = !(u64::MAX >> count);
    if count < 8 && window == padding {
        Ok(())
    } else {
        Err(Error::Huffman)
    }
}

/// What decodes it.
struct Code {
    /// By the next eight bits: symbol and length; 0 where the code is longer.
    short: [(u8, u8); 1 << SHORT],
    /// All symbols in the order of their codes.
    symbols: [u16; LENGTHS.len()],
    /// By length: where the codes of this length end, with the highest bit on top of 64.
    ends: [u64; LONGEST + 1],
    /// By length: the number of the first symbol, and its code.
    firsts: [(usize, u32); LONGEST + 1],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let mut code = Self {
            short: [(0, 0); 1 << SHORT],
            symbols: [END; LENGTHS.len()],
            ends: [0; LONGEST + 1],
            firsts: [(0, 0); LONGEST + 1],
        };
        let (mut length, mut next, mut bits) = (1, 0, 0_u32);
        while length <= LONGEST {
            bits <<= 1;
            code.firsts[length] = (next, bits);
            let mut symbol = 0_u16;
            while symbol <= END {
                if LENGTHS[symbol as usize] as usize == length {
                    code.symbols[next] = symbol;
                    code.add_short(symbol, length, bits);
                    next += 1;
                    bits += 1;
                }
                symbol += 1;
            }
            code.ends[length] = (bits as u64) << (64 - length);
            length += 1;
        }
        code
    }

    const fn add_short(&mut self, symbol: u16, length: usize, bits: u32) {
        if length > SHORT as usize {
            return;
        }
        let free = SHORT as usize - length;
        let from = (bits << free) as usize;
        let mut index = from;
        while index < from + (1 << free) {
            // A short code is that of a byte.
            self.short[index] = (symbol.to_le_bytes()[0], LENGTHS[symbol as usize]);
            index += 1;
        }
    }

    /// Symbol and length of the code that the highest bits of `window` begin with.
    fn long(&self, window: u64) -> (u16, u32) {
        let is_within = |(_, end): &(usize, &u64)| window < **end;
        let lengths = self.ends.iter().enumerate();
        // Only the code of the end is all ones, where no bound fits.
        let length = lengths
            .skip(SHORT as usize)
            .find(is_within)
            .map_or(LONGEST, |(length, _)| length);
        let (first, bits) = self.firsts[length];
        let offset = ((window >> 32) as u32 >> (32 - length)) - bits;
        let symbol = self
            .symbols
            .get(first + offset as usize)
            .copied()
            .unwrap_or(END);
        (symbol, u32::from(LENGTHS[symbol as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::{CODE, END, Error, LENGTHS, decode};

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut output = Vec::new();
        decode(bytes, &mut output).map(|()| output)
    }

    /// The codes one after the other, and what fills up the last byte.
    fn encoded(symbols: &[u16], padding: bool) -> Vec<u8> {
        let mut bits = Vec::new();
        for symbol in symbols {
            let length = usize::from(LENGTHS[usize::from(*symbol)]);
            let (first, code) = CODE.firsts[length];
            let place = CODE.symbols.iter().position(|known| known == symbol);
            let code = code as usize + place.unwrap() - first;
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push(padding);
        }
        let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        bits.chunks(8).map(byte).collect()
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let host = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(decoded(&host).unwrap(), b"www.example.com");
        assert_eq!(
            decoded(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).unwrap(),
            b"no-cache"
        );
        assert_eq!(decoded(&[]).unwrap(), b"");
    }

    #[test]
    fn every_byte_beside_every_other() {
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let bytes = [first, second, first];
                let symbols = bytes.map(u16::from);
                assert_eq!(decoded(&encoded(&symbols, true)).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn bad_padding_and_the_end_symbol_are_refused() {
        assert_eq!(decoded(&encoded(&[0x30], false)), Err(Error::Huffman));
        assert_eq!(decoded(&[0xff]), Err(Error::Huffman));
        assert_eq!(decoded(&encoded(&[0x30, END], true)), Err(Error::Huffman));
        assert_eq!(decoded(&[0xff; 5]), Err(Error::Huffman));
        let mut longer = encoded(&[0x30], true);
        longer.push(0xff);
        assert_eq!(decoded(&longer), Err(Error::Huffman));
    }
}
