//! Whether capture or log reading stands still while there is something to take in.

use std::time::{Duration, Instant};

/// What stood still for so long has failed. Both are looked at many times a second.
const STANDSTILL: Duration = Duration::from_secs(10);

/// How things stand, looked at every second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulse {
    pub(super) now: Instant,
    /// When everything that was captured had last been taken in.
    pub(super) captured: Instant,
    /// Bytes taken out of the rings since the start.
    pub(super) drained_bytes: u64,
    /// Events that the kernel side refused since the start.
    pub(super) refused: u64,
    /// Bytes read of all logs since the start.
    pub(super) read_bytes: u64,
    /// Bytes that are there and not read.
    pub(super) unread_bytes: u64,
}

/// What was seen since something last moved.
#[derive(Debug, Default)]
pub(super) struct Standstill {
    rings: Option<Rings>,
    logs: Option<Logs>,
}

#[derive(Clone, Copy, Debug)]
struct Rings {
    since: Instant,
    drained_bytes: u64,
    refused: u64,
}

#[derive(Clone, Copy, Debug)]
struct Logs {
    since: Instant,
    read_bytes: u64,
    unread_bytes: u64,
}

impl Standstill {
    /// What is wrong with the capture, if anything.
    pub(super) fn of_capture(&mut self, pulse: &Pulse) -> Option<String> {
        let silent = pulse.now.saturating_duration_since(pulse.captured);
        let last = *self.rings.get_or_insert(Rings::of(pulse));
        if last.drained_bytes != pulse.drained_bytes {
            self.rings = Some(Rings::of(pulse));
        }
        let refused = pulse.refused - last.refused;
        if silent >= STANDSTILL {
            let seconds = silent.as_secs();
            return Some(format!(
                "the rings were not drained to their ends for {seconds} s"
            ));
        }
        let stood = pulse.now.saturating_duration_since(last.since);
        let stands = last.drained_bytes == pulse.drained_bytes && stood >= STANDSTILL;
        (stands && refused > 0).then(|| {
            let seconds = stood.as_secs();
            format!(
                "nothing came out of the rings for {seconds} s, and {refused} events were refused"
            )
        })
    }

    /// What is wrong with the reading of logs, if anything: they grow and are not read. What was
    /// unread from the beginning and does not grow is no traffic.
    pub(super) fn of_logs(&mut self, pulse: &Pulse) -> Option<String> {
        let last = *self.logs.get_or_insert(Logs::of(pulse));
        if last.read_bytes != pulse.read_bytes || pulse.unread_bytes < last.unread_bytes {
            self.logs = Some(Logs::of(pulse));
            return None;
        }
        let stood = pulse.now.saturating_duration_since(last.since);
        let grown = pulse.unread_bytes - last.unread_bytes;
        (stood >= STANDSTILL && grown > 0).then(|| {
            let seconds = stood.as_secs();
            format!("logs grew by {grown} bytes, and none was read for {seconds} s")
        })
    }
}

impl Logs {
    fn of(pulse: &Pulse) -> Self {
        Self {
            since: pulse.now,
            read_bytes: pulse.read_bytes,
            unread_bytes: pulse.unread_bytes,
        }
    }
}

impl Rings {
    fn of(pulse: &Pulse) -> Self {
        Self {
            since: pulse.now,
            drained_bytes: pulse.drained_bytes,
            refused: pulse.refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Pulse, Standstill};

    fn pulse(begin: Instant, second: u64) -> Pulse {
        let now = begin + Duration::from_secs(second);
        Pulse {
            now,
            captured: now,
            drained_bytes: 0,
            refused: 0,
            read_bytes: 0,
            unread_bytes: 0,
        }
    }

    #[test]
    fn a_quiet_node_is_well() {
        let (begin, mut standstill) = (Instant::now(), Standstill::default());
        for second in 0..100 {
            let pulse = pulse(begin, second);
            assert_eq!(standstill.of_capture(&pulse), None);
            assert_eq!(standstill.of_logs(&pulse), None);
        }
    }

    #[test]
    fn rings_that_are_never_drained_to_their_ends() {
        let (begin, mut standstill) = (Instant::now(), Standstill::default());
        for second in 0..20 {
            let mut pulse = pulse(begin, second);
            pulse.captured = begin;
            assert_eq!(
                standstill.of_capture(&pulse).is_some(),
                second >= 10,
                "{second}"
            );
        }
        assert_eq!(standstill.of_capture(&pulse(begin, 21)), None);
    }

    #[test]
    fn refusals_while_nothing_comes_out() {
        let (begin, mut standstill) = (Instant::now(), Standstill::default());
        for second in 0..20 {
            let mut pulse = pulse(begin, second);
            pulse.refused = 5 * second;
            assert_eq!(
                standstill.of_capture(&pulse).is_some(),
                second >= 10,
                "{second}"
            );
        }
        // A ring that overflows and is drained is a loss, not a standstill.
        for second in 20..60 {
            let mut pulse = pulse(begin, second);
            (pulse.refused, pulse.drained_bytes) = (5 * second, second);
            let told = standstill.of_capture(&pulse);
            assert!(told.is_none(), "{second} {told:?}");
        }
    }

    #[test]
    fn logs_that_grow_and_are_not_read() {
        let (begin, mut standstill) = (Instant::now(), Standstill::default());
        for second in 0..60 {
            let mut pulse = pulse(begin, second);
            pulse.unread_bytes = 7 + second;
            // Read up to second 20 and from second 40 on.
            pulse.read_bytes = if second < 40 { second.min(20) } else { second };
            let expected = (30..40).contains(&second);
            assert_eq!(standstill.of_logs(&pulse).is_some(), expected, "{second}");
        }
    }

    #[test]
    fn what_is_unread_and_does_not_grow_is_no_traffic() {
        let (begin, mut standstill) = (Instant::now(), Standstill::default());
        for second in 0..60 {
            let mut pulse = pulse(begin, second);
            pulse.unread_bytes = 500;
            assert_eq!(standstill.of_logs(&pulse), None, "{second}");
        }
    }
}
