//! Integers with a prefix: RFC 7541 section 5.1.

use super::decoder::Error;

/// Reads an integer whose first byte, of which the low `prefix` bits belong to it, is the first of
/// `input`.
pub(super) fn read(prefix: u32, input: &mut &[u8]) -> Result<u32, Error> {
    let mask = (1 << prefix) - 1;
    let first = u32::from(next(input)?) & mask;
    if first < mask {
        return Ok(first);
    }
    let mut value = u64::from(mask);
    // Five times seven bits hold what fits, and there is no end to zeros otherwise.
    for shift in [0, 7, 14, 21, 28] {
        let byte = next(input)?;
        value += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).map_err(|_| Error::Integer);
        }
    }
    Err(Error::Integer)
}

fn next(input: &mut &[u8]) -> Result<u8, Error> {
    let (first, rest) = input.split_first().ok_or(Error::Truncated)?;
    *input = rest;
    Ok(*first)
}

#[cfg(test)]
mod tests {
    use super::{Error, read};

    fn whole(prefix: u32, mut bytes: &[u8]) -> Result<u32, Error> {
        let value = read(prefix, &mut bytes)?;
        assert!(bytes.is_empty());
        Ok(value)
    }

    #[test]
    fn the_examples_of_the_rfc() {
        assert_eq!(whole(5, &[0b1110_1010]), Ok(10));
        assert_eq!(whole(5, &[0x1f, 0x9a, 0x0a]), Ok(1337));
        assert_eq!(whole(8, &[0x2a]), Ok(42));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(
            whole(7, &[0xff, 0x80, 0xff, 0xff, 0xff, 0x0f]),
            Ok(u32::MAX)
        );
        assert_eq!(
            whole(7, &[0xff, 0x81, 0xff, 0xff, 0xff, 0x0f]),
            Err(Error::Integer)
        );
        assert_eq!(
            whole(7, &[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0]),
            Err(Error::Integer)
        );
        assert_eq!(whole(7, &[0xff, 0x80]), Err(Error::Truncated));
        assert_eq!(whole(7, &[]), Err(Error::Truncated));
    }
}
