//! Recorded conversations, cut everywhere, sent again, swapped, lost anywhere, joined anywhere.

use super::{
    alike::Truth,
    peers::{Call, Settings, record},
    recorded::{continued, padded},
    wire::{Talk, Telling},
};
use crate::{
    capture::Observation,
    http::tests::script::{CLIENT, SERVER, run},
};

fn conversation() -> Talk {
    let fields = |number: usize| {
        let field = |name: &str, value: String| (name.to_owned(), value);
        vec![
            field("user-agent", "torture/1".to_owned()),
            field("x-request-id", format!("id-{number}")),
            field("x-round", format!("{}", number % 3)),
        ]
    };
    let call = |number: usize| Call {
        method: if number.is_multiple_of(2) {
            "GET"
        } else {
            "POST"
        },
        path: format!("/call/{number}"),
        headers: fields(number),
        body: if number.is_multiple_of(2) {
            vec![]
        } else {
            vec![40, 0, 30]
        },
        status: [200, 404, 503][number % 3],
        response_headers: fields(number / 2),
        response_body: vec![number * 20, 5],
        trailers: (number % 4 == 1).then(|| vec![("grpc-status".to_owned(), number.to_string())]),
    };
    let calls: Vec<_> = (0..8).map(call).collect();
    record(
        &calls,
        Settings {
            header_table_size: 4096,
            max_frame_size: 16_384,
            window: 65_535,
            write: 300,
        },
    )
}

const BLOCKS: [Option<usize>; 4] = [None, Some(16), Some(64), Some(8192)];

/// Conversations, what they are, and how they may be told.
fn each_block(test: impl Fn(&Talk, &Truth, &Telling)) {
    for (talk, exchanges) in [(conversation(), 8), (padded(), 8), (continued(), 3)] {
        let truth = Truth::new(&talk.events());
        assert_eq!(truth.len(), exchanges);
        for block in BLOCKS {
            let telling = Telling {
                block,
                ..Telling::default()
            };
            test(&talk, &truth, &telling);
        }
    }
}

/// The numbers up to `end`; some of them if they are many.
fn some(end: usize) -> impl Iterator<Item = usize> {
    let step = if end <= 3000 { 1 } else { end / 100 };
    (0..end).step_by(step)
}

#[test]
fn it_is_the_same_wherever_it_is_cut() {
    each_block(|talk, truth, telling| {
        for raw in [false, true] {
            for end in [CLIENT, SERVER] {
                for cut in some(talk.length(end)) {
                    let mut telling = Telling {
                        raw,
                        ..telling.clone()
                    };
                    telling.cuts[end].push(cut);
                    truth.assert_equal(&run(talk.observations(&telling)));
                }
            }
            let every = [CLIENT, SERVER].map(|end| (1..talk.length(end).min(5000)).collect());
            let telling = Telling {
                raw,
                cuts: every,
                ..telling.clone()
            };
            truth.assert_equal(&run(talk.observations(&telling)));
        }
    });
}

#[test]
fn what_is_told_again_changes_nothing() {
    each_block(|talk, truth, telling| {
        for distance in [1, 2, 7] {
            let observations = talk.observations(telling);
            let mut again = Vec::new();
            for (index, observation) in observations.iter().enumerate() {
                again.push(observation.clone());
                let earlier = index
                    .checked_sub(distance)
                    .map(|earlier| &observations[earlier]);
                if let Some(earlier @ Observation::Segment(_)) = earlier {
                    again.push(earlier.clone());
                }
            }
            truth.assert_equal(&run(again));
        }
    });
}

#[test]
fn what_is_lost_is_counted_and_nothing_is_told_wrongly() {
    each_block(|talk, truth, telling| {
        let (_, totals) = talk.segments(telling);
        for end in [CLIENT, SERVER] {
            let segments = totals[end].segments;
            for first in some(segments as usize) {
                let first = u32::try_from(first).unwrap();
                for count in [1, 2, 5, segments] {
                    let mut telling = telling.clone();
                    telling.refused[end].extend(first..segments.min(first + count));
                    truth.assert_counted(&run(talk.observations(&telling)));
                }
            }
        }
    });
}

/// The first of the two is taken for lost, which is marked.
#[test]
fn what_is_swapped_is_the_same_or_marked() {
    each_block(|talk, truth, telling| {
        let observations = talk.observations(telling);
        for index in some(observations.len()).skip(1) {
            let is_segment = |at: usize| matches!(observations[at], Observation::Segment(_));
            if is_segment(index) && is_segment(index - 1) {
                let mut swapped = observations.clone();
                swapped.swap(index - 1, index);
                truth.assert_none_wrong(&run(swapped));
            }
        }
    });
}

#[test]
fn whoever_joins_anywhere_is_told_nothing_wrong() {
    each_block(|talk, truth, telling| {
        for client in 0..talk.packets(CLIENT) {
            for server in 0..talk.packets(SERVER) {
                let telling = Telling {
                    joined: [client, server],
                    ..telling.clone()
                };
                truth.assert_none_wrong(&run(talk.observations(&telling)));
            }
        }
    });
}
