//! What was read of a file, by its hashes: so that a change of it is noticed afterwards.
//!
//! A container runtime only appends, so what was read must stay as it is as long as the file is
//! open. Each block is hashed when it is read, and looked at again in turn; the whole is looked at
//! when the file is left, and when another run of the agent goes on in it. The key is a secret of
//! the agent's, so that nobody can make other bytes with the same hashes.

use std::{hash::Hasher, io};

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hash128, Hasher128, SipHasher24};

/// A secret.
pub(super) type Key = [u8; 16];

/// The size of a block.
const BLOCK_BYTES: u64 = 32 << 10;

/// Blocks that are looked at again at a time, besides the newest one.
const BLOCKS_AT_A_TIME: usize = 1;

/// The same where the file was changed and did not grow.
const BLOCKS_IN_DOUBT: usize = 64;

/// The most blocks that are looked at at once: 64 MiB. The kubelet rotates at 10 MiB unless told
/// otherwise. Of what is longer the end is looked at.
const MOST_BLOCKS: usize = 2048;

/// The part of a file that was read, from where reading began.
pub(super) struct Consumed {
    key: Key,
    begin: u64,
    /// The hashes of whole blocks.
    blocks: Vec<u128>,
    /// The block that is not full yet.
    open: SipHasher24,
    open_bytes: u64,
    /// The next block to be looked at again.
    turn: usize,
    /// Blocks that were not looked at since the file was last changed.
    unchecked: usize,
    /// When that was, and how long it was then.
    changed: Option<(i128, u64)>,
}

/// The same, to be kept over a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proof {
    begin: u64,
    length: u64,
    /// Of the hashes of all blocks, the last one as far as it was read.
    hash: (u64, u64),
}

/// What another look at a file told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Same,
    /// The block that begins here is not what it was.
    Changed(u64),
}

impl Consumed {
    /// Nothing was read yet.
    pub(super) fn new(key: Key, begin: u64) -> Self {
        Self {
            key,
            begin,
            blocks: Vec::new(),
            open: SipHasher24::new_with_key(&key),
            open_bytes: 0,
            turn: 0,
            unchecked: 0,
            changed: None,
        }
    }

    /// Takes what an earlier run had read, if it is still there as it was. `read` fills a buffer
    /// with the file's bytes from an offset on, as far as they are there.
    pub(super) fn again(
        key: Key,
        proof: Proof,
        mut read: impl FnMut(u64, usize) -> io::Result<Vec<u8>>,
    ) -> io::Result<Option<Self>> {
        let mut consumed = Self::new(key, proof.begin);
        let mut left = proof.length;
        while left > 0 {
            let wanted = left.min(BLOCK_BYTES);
            let bytes = read(consumed.end(), usize::try_from(wanted).unwrap_or(0))?;
            if bytes.is_empty() {
                return Ok(None);
            }
            consumed.take(&bytes);
            left = left.saturating_sub(bytes.len() as u64);
        }
        Ok((consumed.proof() == proof).then_some(consumed))
    }

    /// What is kept over a restart; none of what is too long to be looked at in one go.
    pub(super) fn proof_to_keep(&self) -> Option<Proof> {
        (self.blocks.len() < MOST_BLOCKS).then(|| self.proof())
    }

    fn proof(&self) -> Proof {
        let mut all = SipHasher24::new_with_key(&self.key);
        for block in self.blocks.iter().copied().chain([finish(&self.open)]) {
            all.write_u128(block);
        }
        let Hash128 { h1, h2 } = all.finish128();
        Proof {
            begin: self.begin,
            length: self.end() - self.begin,
            hash: (h1, h2),
        }
    }

    /// Up to where the file was read.
    fn end(&self) -> u64 {
        self.begin + self.blocks.len() as u64 * BLOCK_BYTES + self.open_bytes
    }

    /// Bytes were read at an offset. What was read before is left out.
    pub(super) fn absorb(&mut self, offset: u64, bytes: &[u8]) {
        let known = self.end().saturating_sub(offset);
        let new = usize::try_from(known).map_or(&[][..], |known| bytes.get(known..).unwrap_or(&[]));
        self.take(new);
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(BLOCK_BYTES - self.open_bytes).unwrap_or(0);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.open.write(now);
            self.open_bytes += now.len() as u64;
            if self.open_bytes == BLOCK_BYTES {
                self.blocks.push(finish(&self.open));
                self.open = SipHasher24::new_with_key(&self.key);
                self.open_bytes = 0;
            }
            bytes = later;
        }
    }

    /// Looks at a part again: at more of it where the file was changed at `modified` and is no
    /// longer than it was.
    pub(super) fn look_again(
        &mut self,
        (modified, size): (i128, u64),
        read: impl FnMut(u64, usize) -> io::Result<Vec<u8>>,
    ) -> io::Result<Look> {
        let mut count = BLOCKS_AT_A_TIME;
        match self.changed.replace((modified, size)) {
            Some((before, _)) if before == modified && self.unchecked == 0 => {
                return Ok(Look::Same);
            }
            Some((before, _)) if before == modified => {}
            Some((_, before)) if before == size => {
                self.unchecked = self.blocks.len();
                count = BLOCKS_IN_DOUBT;
            }
            _ => self.unchecked = self.blocks.len(),
        }
        self.look_at(count, read)
    }

    /// Looks at all of it again.
    pub(super) fn look_at_all(
        &mut self,
        read: impl FnMut(u64, usize) -> io::Result<Vec<u8>>,
    ) -> io::Result<Look> {
        self.turn = self.blocks.len().saturating_sub(MOST_BLOCKS);
        self.look_at(MOST_BLOCKS, read)
    }

    /// Looks at so many blocks, and at the newest one. A change is told once.
    fn look_at(
        &mut self,
        count: usize,
        mut read: impl FnMut(u64, usize) -> io::Result<Vec<u8>>,
    ) -> io::Result<Look> {
        let mut look = Look::Same;
        let newest = self.blocks.len();
        let in_turn = (0..count.min(newest)).map(|ahead| (self.turn + ahead) % newest);
        for number in in_turn.chain([newest]) {
            let length = if number == newest {
                self.open_bytes
            } else {
                BLOCK_BYTES
            };
            let offset = self.begin + number as u64 * BLOCK_BYTES;
            let bytes = read(offset, usize::try_from(length).unwrap_or(0))?;
            if bytes.len() as u64 != length {
                // It became shorter, which is noticed elsewhere.
                return Ok(look);
            }
            let mut hasher = SipHasher24::new_with_key(&self.key);
            hasher.write(&bytes);
            let hash = finish(&hasher);
            let before = match self.blocks.get_mut(number) {
                Some(block) => std::mem::replace(block, hash),
                None => finish(&std::mem::replace(&mut self.open, hasher)),
            };
            if before != hash && look == Look::Same {
                look = Look::Changed(offset);
            }
        }
        self.turn = (self.turn + count).checked_rem(newest).unwrap_or(0);
        self.unchecked = self.unchecked.saturating_sub(count);
        Ok(look)
    }
}

fn finish(hasher: &SipHasher24) -> u128 {
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::{
        prelude::{any, prop},
        prop_assert_eq, proptest,
    };

    use super::{BLOCK_BYTES, Consumed, Look};

    const KEY: [u8; 16] = [3; 16];

    fn reader(file: &[u8]) -> impl FnMut(u64, usize) -> io::Result<Vec<u8>> + '_ {
        |offset, length| {
            let from = usize::try_from(offset).unwrap().min(file.len());
            let to = (from + length).min(file.len());
            Ok(file[from..to].to_vec())
        }
    }

    fn file(blocks: usize) -> Vec<u8> {
        let length = usize::try_from(BLOCK_BYTES).unwrap() * blocks + 100;
        (0..=250_u8).cycle().take(length).collect()
    }

    fn read_whole(file: &[u8]) -> Consumed {
        let mut consumed = Consumed::new(KEY, 0);
        consumed.absorb(0, file);
        consumed
    }

    #[test]
    fn a_change_is_found_in_turn_and_told_once() {
        let mut file = file(5);
        let size = file.len() as u64;
        let mut consumed = read_whole(&file);
        let look = |consumed: &mut Consumed, file: &[u8], modified, size| {
            consumed.look_again((modified, size), reader(file)).unwrap()
        };
        assert_eq!(look(&mut consumed, &file, 1, size - 1), Look::Same);
        file[70_000] ^= 1;
        // It grew meanwhile, or seems to: a block at a time.
        let looks = (0..5).map(|_| look(&mut consumed, &file, 2, size));
        let changed = looks
            .filter(|look| *look == Look::Changed(2 * BLOCK_BYTES))
            .count();
        assert_eq!(changed, 1);
        // What does not change is left alone.
        file[70_000] ^= 1;
        assert_eq!(look(&mut consumed, &file, 2, size), Look::Same);
        // What changes and does not grow is looked at at once.
        assert_eq!(
            look(&mut consumed, &file, 3, size),
            Look::Changed(2 * BLOCK_BYTES)
        );
        assert_eq!(look(&mut consumed, &file, 4, size), Look::Same);
        // The newest bytes are always looked at.
        let last = file.len() - 1;
        file[last] ^= 1;
        assert_eq!(
            look(&mut consumed, &file, 5, size + 1),
            Look::Changed(5 * BLOCK_BYTES)
        );
    }

    #[test]
    fn all_of_it_is_looked_at_in_the_end() {
        let mut file = file(9);
        let mut consumed = read_whole(&file);
        assert_eq!(consumed.look_at_all(reader(&file)).unwrap(), Look::Same);
        file[0] ^= 1;
        assert_eq!(
            consumed.look_at_all(reader(&file)).unwrap(),
            Look::Changed(0)
        );
        assert_eq!(consumed.look_at_all(reader(&file)).unwrap(), Look::Same);
    }

    #[test]
    fn another_run_goes_on_with_what_is_as_it_was() {
        let mut file = file(2);
        let proof = read_whole(&file).proof_to_keep().unwrap();
        let again = |file: &[u8], key| Consumed::again(key, proof, reader(file)).unwrap();
        let mut consumed = again(&file, KEY).unwrap();
        assert_eq!(consumed.proof(), proof);
        assert!(again(&file, [4; 16]).is_none());
        assert!(again(&file[..file.len() - 1], KEY).is_none());
        file.extend_from_slice(b"more");
        consumed.absorb(proof.length - 10, &file[file.len() - 14..]);
        assert_eq!(consumed.proof(), read_whole(&file).proof());
        file[40_000] ^= 1;
        assert!(again(&file, KEY).is_none());
    }

    proptest! {
        #[test]
        fn how_it_was_read_makes_no_difference(
            sizes in prop::collection::vec(1..70_000_usize, 0..8),
            begin in any::<u32>(),
        ) {
            let file = file(8);
            let (mut whole, mut pieces) =
                (Consumed::new(KEY, begin.into()), Consumed::new(KEY, begin.into()));
            let length = sizes.iter().sum::<usize>().min(file.len());
            whole.absorb(begin.into(), &file[..length]);
            let mut at = 0;
            for size in sizes {
                let to = (at + size).min(length);
                pieces.absorb(u64::from(begin) + at as u64, &file[at..to]);
                at = to;
            }
            prop_assert_eq!(whole.proof(), pieces.proof());
        }
    }
}
