//! Lines that overtook what the capture tells. Such a line may speak of what has yet to come, and of
//! several attempts the last is the one it names: it waits until all is told that was sent before
//! it was stamped, and the lines behind it in its log with it.

use super::{CAPTURE_DELAY, Ledger, input::Line};
use crate::timestamp::Timestamp;

impl Ledger {
    /// A line was read that speaks of traffic.
    pub(super) fn place_in_time(&mut self, line: Box<Line>) {
        let captured = self.captured_until;
        if let Some(pod) = self.pods.get_mut(&line.pod_uid)
            && (!pod.early.is_empty() || is_early(line.time, captured))
            && pod.has_room_for_a_line()
        {
            self.pods_with_early_lines.insert(line.pod_uid.clone());
            pod.early.push_back(line);
        } else {
            self.place(line);
        }
    }

    /// More was told: the lines that waited for it find their place, at the end all of them.
    pub(super) fn place_early_lines(&mut self, at_end: bool) {
        let captured = self.captured_until;
        for uid in std::mem::take(&mut self.pods_with_early_lines) {
            while let Some(pod) = self.pods.get_mut(&uid)
                && let Some(first) = pod.early.front()
            {
                if !at_end && is_early(first.time, captured) {
                    self.pods_with_early_lines.insert(uid);
                    break;
                }
                if let Some(line) = pod.early.pop_front() {
                    self.place(line);
                }
            }
        }
    }
}

/// A stamp that lies far ahead is no true one.
fn is_early(stamp: Timestamp, captured: Timestamp) -> bool {
    captured < stamp && stamp < captured + CAPTURE_DELAY
}
