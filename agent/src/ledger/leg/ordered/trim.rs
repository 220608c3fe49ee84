//! What of a connection need not be kept any more.

use super::{super::KEPT_ACCUSED, Ordered, Slot};

impl Ordered {
    /// Drops what no longer bounds an open slot: pairs between pairs, and accused slots before
    /// the last pair (a proxy writes the lines of a connection in order).
    pub(super) fn trim(&mut self) {
        while let (Some(Slot::Paired(_)), Some(Slot::Paired(_))) =
            (self.slots.front(), self.slots.get(1))
        {
            self.slots.pop_front();
        }
        if !self.is_out_of_order || self.slots.len() < 3 {
            return;
        }
        self.is_out_of_order = false;
        let last_pair = self
            .slots
            .iter()
            .rposition(|slot| matches!(slot, Slot::Paired(Some(_))));
        let accused = self
            .slots
            .iter()
            .filter(|slot| matches!(slot, Slot::Accused { .. }))
            .count();
        let mut too_many = accused.saturating_sub(KEPT_ACCUSED);
        let slots = std::mem::take(&mut self.slots);
        for (at, slot) in slots.into_iter().enumerate() {
            let before_last_pair = last_pair.is_some_and(|last| at < last);
            let drop = match &slot {
                Slot::Accused { .. } if too_many > 0 => {
                    too_many -= 1;
                    true
                }
                Slot::Accused { exchange, .. } => before_last_pair && !exchange.forwarded,
                Slot::Paired(None) => true,
                _ => false,
            };
            if drop {
                continue;
            }
            // Of a run of pairs the first bounds what is before it, the last what comes after.
            let length = self.slots.len();
            let run = (
                self.slots.back(),
                length.checked_sub(2).and_then(|at| self.slots.get(at)),
            );
            if let (Slot::Paired(_), (Some(Slot::Paired(_)), Some(Slot::Paired(_)))) = (&slot, run)
            {
                self.slots.pop_back();
            }
            self.slots.push_back(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{Ordered, Slot},
        KEPT_ACCUSED,
    };
    use crate::{
        ledger::tests::{exchange, get},
        record::Side,
        timestamp::Timestamp,
    };

    /// What is left of such slots: `b`egun, `a`ccused (`f`: behind X-Forwarded-For), `p`aired by
    /// tuple, paired in another way (`-`).
    fn trimmed(slots: &str) -> String {
        let mut leg = Ordered::new(Side::Client);
        for (number, slot) in (0..).zip(slots.chars()) {
            let time = Timestamp(1_000) + Duration::from_secs(number.into());
            let mut exchange = exchange(1, number, time, time, &get("/"));
            exchange.forwarded = slot == 'f';
            leg.slots.push_back(match slot {
                'b' => Slot::Begun {
                    exchange: number,
                    time,
                },
                'a' | 'f' => Slot::Accused {
                    exchange: Box::new(exchange),
                    record: "r".into(),
                },
                'p' => Slot::Paired(Some(number.into())),
                _ => Slot::Paired(None),
            });
        }
        leg.is_out_of_order = true;
        leg.trim();
        let letter = |slot: &Slot| match slot {
            Slot::Begun { .. } => 'b',
            Slot::Ended(_) => 'e',
            Slot::Accused { exchange, .. } if exchange.forwarded => 'f',
            Slot::Accused { .. } => 'a',
            Slot::Paired(Some(_)) => 'p',
            Slot::Paired(None) => '-',
        };
        leg.slots.iter().map(letter).collect()
    }

    #[test]
    fn only_what_bounds_something_open_is_kept() {
        for (slots, left) in [
            ("pppp", "p"),
            ("ppb", "pb"),
            ("bpb", "bpb"),
            ("bppb", "bppb"),
            ("bpppppb", "bppb"),
            ("b-b", "bb"),
            ("bp--pb", "bppb"),
            // A proxy writes the lines of a connection in order, but for those that name none.
            ("abpb", "bpb"),
            ("fbpb", "fbpb"),
            ("bpab", "bpab"),
        ] {
            assert_eq!(trimmed(slots), left, "{slots}");
        }
    }

    #[test]
    fn of_the_accused_the_oldest_give_way() {
        let accused = |count: usize| trimmed(&format!("p{}b", "a".repeat(count)));
        let kept = |count: usize| format!("p{}b", "a".repeat(count));
        assert_eq!(accused(KEPT_ACCUSED), kept(KEPT_ACCUSED));
        assert_eq!(accused(KEPT_ACCUSED + 3), kept(KEPT_ACCUSED));
        let oldest = trimmed(&format!("pf{}b", "a".repeat(KEPT_ACCUSED)));
        assert_eq!(oldest, kept(KEPT_ACCUSED));
    }
}
