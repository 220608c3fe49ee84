//! Inputs on the steady clock.

use std::time::Duration;

use super::{
    Ledger,
    input::{Exchange, Input, Line, LineContent},
    tracked::Tracked,
};
use crate::{http::ConnectionId, timestamp::Timestamp};

impl Ledger {
    /// Puts every time in an input on the steady clock.
    pub(super) fn on_the_steady_clock(&mut self, mut input: Input) -> Input {
        let clock = &self.clock;
        match &mut input {
            Input::Opened(connection) => connection.time = clock.of_kernel(connection.time),
            Input::Greeted { time, .. } | Input::Begun { time, .. } | Input::Lost { time, .. } => {
                *time = clock.of_kernel(*time);
            }
            Input::Refused { from, to, .. } => {
                *from = clock.of_kernel(*from);
                *to = clock.of_kernel(*to);
            }
            Input::Listener(listener) => listener.time = clock.of_kernel(listener.time),
            Input::ListenerClosed(end) => end.time = clock.of_kernel(end.time),
            Input::Closed(closed) => closed.time = clock.of_kernel(closed.time),
            Input::FlowsLost(lost) => lost.time = clock.of_kernel(lost.time),
            Input::RawSocket(socket) => socket.time = clock.of_kernel(socket.time),
            Input::Ended(exchange) => self.exchange_on_the_steady_clock(exchange),
            Input::Line(line) => self.line_on_the_steady_clock(line),
            Input::LogProgress {
                pod_uid,
                read_until,
            } if *read_until != Timestamp::MAX => {
                let before = self.pods.get(pod_uid).and_then(|pod| pod.read_until);
                *read_until = clock.of_log(*read_until, before);
            }
            Input::CaptureProgress(time)
            | Input::Tick(time)
            | Input::LogRewritten { time, .. }
            | Input::Reconfigured { time, .. }
            | Input::Stopped(time)
            | Input::Started { time }
            | Input::Overflow { time, .. } => *time = self.clock.now(*time),
            Input::ClockStep { .. }
            | Input::Workload(_)
            | Input::SpeaksHttp(_)
            | Input::Carried { .. }
            | Input::LogProgress { .. } => {}
        }
        input
    }

    /// Of an exchange that the wall clock was set in, only the begin is known for sure, and of the
    /// response what no more than one clock can have shown.
    fn exchange_on_the_steady_clock(&self, exchange: &mut Exchange) {
        let clock = &self.clock;
        let began = self.began(exchange.connection, exchange.exchange);
        let began = began.unwrap_or_else(|| clock.of_kernel(exchange.time));
        let now = clock.present().max(began);
        let spans_a_step = began < clock.last_step();
        let moment = |reading: Timestamp| {
            if spans_a_step {
                clock.only_between(reading, (began, now)).unwrap_or(now)
            } else {
                clock.of_kernel(reading)
            }
        };
        exchange.time = began;
        // It is the later of two readings, perhaps of two clocks.
        exchange.end = if spans_a_step {
            now
        } else {
            moment(exchange.end)
        };
        // Whether the request had ended before the response began is not known.
        exchange.request_ended = exchange.request_ended.filter(|_| !spans_a_step).map(moment);
        if let Some(response) = &mut exchange.response {
            response.time = moment(response.time);
            response.ended = response.ended.map(moment);
        }
    }

    fn line_on_the_steady_clock(&self, line: &mut Line) {
        let read_until = self.pods.get(&line.pod_uid).and_then(|pod| pod.read_until);
        line.time = self.clock.of_log(line.time, read_until);
        let (LineContent::Entry(entry) | LineContent::Ambiguous(entry)) = &mut line.content else {
            return;
        };
        if let Some(start) = entry.start_time {
            let lasted = entry.duration_milliseconds.map(Duration::from_millis);
            let grace = self.grace();
            let (first, last) = self.clock.of_start(start, line.time, lasted, grace);
            entry.start_time = Some(first);
            entry.start_time_precision_nanoseconds += last.0.saturating_sub(first.0);
        }
    }

    /// When an exchange that goes on began.
    fn began(&self, id: ConnectionId, number: u32) -> Option<Timestamp> {
        match self.connections.get(&id)? {
            Tracked::Mesh(mesh) => mesh.leg.began(number),
            Tracked::Alone(alone) => alone.open.get(&number).map(|begun| begun.time),
            Tracked::Waiting(waiting) => waiting.events.iter().find_map(|event| match event {
                Input::Begun { exchange, time, .. } if *exchange == number => Some(*time),
                _ => None,
            }),
            Tracked::Kubelet => None,
        }
    }
}
