//! The wall clock is set in the midst of a scene.

use meshwitness::{
    ledger::{Exchange, Input, LineContent},
    timestamp::Timestamp,
};

use crate::random::Random;

const SECOND: i64 = 1_000_000_000;

/// By how much.
const STEPS: [i64; 6] = [
    3_600 * SECOND,
    -3_600 * SECOND,
    60 * SECOND,
    -60 * SECOND,
    5 * SECOND,
    -5 * SECOND,
];

#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockStep {
    /// On a clock that is never set.
    pub(crate) at: Timestamp,
    nanoseconds: i64,
}

impl ClockStep {
    /// At a whole millisecond: what is cut to milliseconds stays on its side.
    pub(crate) fn any(begin: Timestamp, random: &mut Random) -> Self {
        let at = begin + random.millis(6_500, 10_000);
        Self {
            at: Self::whole(at),
            nanoseconds: *random.pick(&STEPS),
        }
    }

    fn whole(time: Timestamp) -> Timestamp {
        Timestamp(time.0 / 1_000_000 * 1_000_000)
    }

    /// What the wall clock shows, if that was set at `from`.
    fn reading(self, time: Timestamp, from: Timestamp) -> Timestamp {
        match time < from || time == Timestamp::MAX {
            true => time,
            false => Timestamp(time.0.saturating_add_signed(self.nanoseconds)),
        }
    }

    /// The moments at which the wall clock may have shown this.
    pub(crate) fn moments(self, reading: Timestamp) -> [Timestamp; 2] {
        let other = reading.0.saturating_add_signed(-self.nanoseconds);
        [reading, Timestamp(other)]
    }

    /// The inputs as they are told on the wall clock. The agent notices the step when it looks
    /// next; what it drains then it reckons on the new clock.
    pub(crate) fn apply(mut self, inputs: Vec<Input>) -> Vec<Input> {
        let is_before = |input: &Input| matches!(input, Input::Tick(now) if *now < self.at);
        let rest = inputs
            .iter()
            .rposition(is_before)
            .map_or(0, |last| last + 1);
        let progress = |input: &Input| match input {
            Input::CaptureProgress(captured) => Some(*captured),
            _ => None,
        };
        let drained = inputs[..rest].iter().rev().find_map(progress);
        let noticed = inputs[rest..].iter().find_map(progress);
        let drained = drained.unwrap_or_default();
        // Not between what an iteration has captured and its end.
        let latest = noticed.map_or(self.at, Self::whole);
        self.at = self.at.min(latest);
        let mut told = Vec::new();
        for (place, mut input) in inputs.into_iter().enumerate() {
            if place == rest
                && let Some(noticed) = noticed
            {
                told.push(Input::ClockStep {
                    time: self.reading(noticed, self.at),
                    nanoseconds: self.nanoseconds,
                });
            }
            self.put_forward(&mut input, drained);
            told.push(input);
        }
        told
    }

    /// Puts each time of an input on the wall clock.
    fn put_forward(self, input: &mut Input, drained: Timestamp) {
        let of_kernel = |time: &mut Timestamp| *time = self.reading(*time, drained);
        let of_now = |time: &mut Timestamp| *time = self.reading(*time, self.at);
        match input {
            Input::Opened(connection) => of_kernel(&mut connection.time),
            Input::Greeted { time, .. } | Input::Begun { time, .. } | Input::Lost { time, .. } => {
                of_kernel(time);
            }
            Input::Refused { from, to, .. } => {
                of_kernel(from);
                of_kernel(to);
            }
            Input::ListenerClosed(end) => of_kernel(&mut end.time),
            Input::Closed(closed) => of_kernel(&mut closed.time),
            Input::FlowsLost(lost) => of_kernel(&mut lost.time),
            Input::Ended(exchange) => each_time(exchange, of_kernel),
            Input::Line(line) => {
                of_now(&mut line.time);
                if let LineContent::Entry(entry) | LineContent::Ambiguous(entry) = &mut line.content
                {
                    entry.start_time.iter_mut().for_each(of_now);
                }
            }
            Input::CaptureProgress(time)
            | Input::Tick(time)
            | Input::Stopped(time)
            | Input::LogProgress {
                read_until: time, ..
            } => of_now(time),
            _ => {}
        }
    }
}

fn each_time(exchange: &mut Exchange, put: impl Fn(&mut Timestamp)) {
    put(&mut exchange.time);
    put(&mut exchange.end);
    exchange.end = exchange.end.max(exchange.time);
    exchange.request_ended.iter_mut().for_each(&put);
    if let Some(response) = &mut exchange.response {
        put(&mut response.time);
        response.ended.iter_mut().for_each(&put);
    }
}
