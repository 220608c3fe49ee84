//! What is left between two pairs of a connection, and which of it belongs together.

use super::{
    super::{Horizon, Settled, misfit},
    Ordered, Placed, Slot,
};
use crate::{
    ledger::{
        align::{Leftover, Partner, align},
        compare::{compare, fits_in_time},
        input::{Exchange, Line, LineContent},
    },
    timestamp::Timestamp,
};

impl Ordered {
    /// Judges what is left and lies before the horizon, between the same two pairs.
    pub(in crate::ledger) fn settle(
        &mut self,
        horizon: Horizon,
        may_judge: &impl Fn(&Exchange) -> bool,
        settled: &mut Vec<Settled>,
    ) {
        if self.unpaid > 0 {
            self.pair_all(horizon.captured, settled);
        }
        let mut run = Vec::new();
        let mut lines_after = None;
        for at in 0..=self.slots.len() {
            match self.slots.get(at) {
                Some(Slot::Begun { .. } | Slot::Ended(_)) => run.push(at),
                Some(Slot::Accused { .. } | Slot::Paired(None)) => {}
                bound @ (Some(Slot::Paired(Some(_))) | None) => {
                    let lines_before = match bound {
                        Some(Slot::Paired(order)) => *order,
                        _ => None,
                    };
                    self.settle_run(&run, lines_after, lines_before, horizon, may_judge, settled);
                    run.clear();
                    lines_after = lines_before;
                }
            }
        }
        self.lines.retain(|placed| !placed.line.file.is_empty());
        self.trim();
    }

    fn settle_run(
        &mut self,
        run: &[usize],
        after: Option<u64>,
        before: Option<u64>,
        horizon: Horizon,
        may_judge: &impl Fn(&Exchange) -> bool,
        settled: &mut Vec<Settled>,
    ) {
        let in_gap = |placed: &Placed| {
            after.is_none_or(|after| placed.order > after)
                && before.is_none_or(|before| placed.order < before)
        };
        let lines: Vec<usize> = (0..self.lines.len())
            .filter(|at| in_gap(&self.lines[*at]))
            .collect();
        let ended: Vec<usize> = run
            .iter()
            .copied()
            .filter(|at| matches!(self.slots[*at], Slot::Ended(_)))
            .collect();
        let (partners, partners_of_lines) = self.align_run(&ended, &lines, horizon);
        let mut all_lines = lines.iter().zip(&partners_of_lines);
        let lines_are_known = all_lines.all(|(at, partner)| {
            let captured = self.lines[*at].line.time <= horizon.captured;
            captured || matches!(partner, Partner::Is(_))
        });
        // An exchange may yet turn out to be that of a line which seems to have none.
        let mut open_since = run.iter().find_map(|at| match &self.slots[*at] {
            Slot::Begun { time, .. } => Some(*time),
            _ => None,
        });
        for (slot, partner) in ended.iter().zip(partners) {
            let Slot::Ended(candidate) = &self.slots[*slot] else {
                continue;
            };
            let began = candidate.time;
            let due = candidate.end <= horizon.exchanges && may_judge(candidate);
            match partner {
                Partner::Is(line) if due && self.line_is_due(lines[line], horizon) => {
                    self.settle_pair(*slot, lines[line], settled);
                }
                Partner::None if due && lines_are_known => {
                    self.is_out_of_order = true;
                    if let Slot::Ended(exchange) =
                        std::mem::replace(&mut self.slots[*slot], Slot::Paired(None))
                    {
                        settled.push(Settled::Exchange(exchange));
                    }
                }
                Partner::Is(_) => {}
                Partner::None | Partner::Open => {
                    open_since = Some(open_since.map_or(began, |since| since.min(began)));
                }
            }
        }
        for (at, partner) in lines.iter().zip(partners_of_lines) {
            let may_find_one = open_since.is_some_and(|since| self.may_belong_after(*at, since));
            let alone = partner == Partner::None;
            if alone && self.line_is_due(*at, horizon) && !may_find_one {
                let line = self.take_line(*at);
                settled.push(Settled::Line(line));
            }
        }
    }

    fn line_is_due(&self, at: usize, horizon: Horizon) -> bool {
        self.lines[at].line.time <= horizon.lines
    }

    /// What is known of the exchanges `ended` and of `lines`: which belong together.
    fn align_run(
        &self,
        ended: &[usize],
        lines: &[usize],
        horizon: Horizon,
    ) -> (Vec<Partner>, Vec<Partner>) {
        let ended_before = |slot: &usize| match &self.slots[*slot] {
            Slot::Ended(exchange) => exchange.end <= horizon.exchanges,
            _ => false,
        };
        let exchanges: Vec<bool> = ended.iter().map(ended_before).collect();
        let stamped_before = |at: &usize| self.lines[*at].line.time <= horizon.captured;
        let leftover = Leftover {
            exchanges: &exchanges,
            lines: &lines.iter().map(stamped_before).collect::<Vec<bool>>(),
        };
        align(&leftover, |exchange, line| {
            self.cost(ended[exchange], lines[line])
        })
    }

    fn settle_pair(&mut self, slot: usize, line: usize, settled: &mut Vec<Settled>) {
        let order = self.lines[line].order;
        self.is_out_of_order = true;
        let Slot::Ended(exchange) =
            std::mem::replace(&mut self.slots[slot], Slot::Paired(Some(order)))
        else {
            return;
        };
        let line = self.take_line(line);
        let comparison = line
            .entry()
            .map(|entry| compare(self.side, &exchange, entry));
        settled.push(Settled::Pair {
            exchange,
            line,
            comparison: comparison.unwrap_or_default(),
        });
    }

    /// Leaves an empty line behind, which `settle` sweeps up, so that positions stay valid.
    fn take_line(&mut self, at: usize) -> Box<Line> {
        let placed = &mut self.lines[at];
        let empty = Line {
            pod_uid: "".into(),
            file: "".into(),
            offset: 0,
            length: 0,
            time: Timestamp::MAX,
            content: LineContent::Other,
            sensitive: Vec::new(),
        };
        std::mem::replace(&mut placed.line, Box::new(empty))
    }

    fn cost(&self, slot: usize, line: usize) -> (u64, u64) {
        match &self.slots[slot] {
            Slot::Ended(exchange) => misfit(self.side, exchange, &self.lines[line].line),
            _ => (u64::MAX >> 32, 0),
        }
    }

    fn may_belong_after(&self, line: usize, begun: Timestamp) -> bool {
        let entry = self.lines[line].line.entry();
        entry.is_some_and(|entry| fits_in_time(self.side, begun, Timestamp::MAX, entry))
    }
}
