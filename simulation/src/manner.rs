//! How the two ends of a connection behave.

use std::time::Duration;

use crate::random::Random;

#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) requests: u32,
    /// All requests are alike.
    pub(crate) same_path: bool,
    /// The app gives its requests an id.
    pub(crate) gives_ids: bool,
    /// Requests bear X-Forwarded-For.
    pub(crate) forwarded: bool,
    /// Not every answer is plain.
    pub(crate) odd: bool,
    /// So many percent of the lines are tampered with.
    pub(crate) tampered: u64,
    /// The capture loses a part of it.
    pub(crate) lossy: bool,
    /// Microseconds.
    pub(crate) slowest_answer: u64,
    /// Microseconds between a response and the next request.
    pub(crate) pause: (u64, u64),
}

impl Manner {
    pub(crate) fn any(random: &mut Random) -> Self {
        let forwarded = random.chance(20);
        let lossy = random.chance(15);
        Self {
            requests: *random.pick(&[1, 1, 2, 4, 12]),
            same_path: random.chance(40),
            gives_ids: random.chance(30),
            forwarded,
            odd: random.chance(40),
            // What bears another's address is found by all it says: without that by nothing.
            tampered: if forwarded || lossy {
                0
            } else {
                *random.pick(&[0, 0, 25, 60])
            },
            lossy,
            slowest_answer: *random.pick(&[200, 3_000, 300_000]),
            pause: *random.pick(&[(10, 100), (500, 20_000), (100_000, 900_000)]),
        }
    }

    /// One plain request.
    pub(crate) fn first() -> Self {
        Self {
            requests: 1,
            same_path: true,
            gives_ids: false,
            forwarded: false,
            odd: false,
            tampered: 0,
            lossy: false,
            slowest_answer: 1_000,
            pause: (10, 100),
        }
    }

    pub(crate) fn pause(&self, random: &mut Random) -> Duration {
        random.micros(self.pause.0, self.pause.1)
    }
}
