//! When what was made of a part of the bytes agrees with what was made of all of them.

use std::collections::BTreeMap;

use super::wire::by_stream;
use crate::{
    http::{
        Exchange, Headers, HttpEvent, Response,
        tests::script::{begun, lost},
    },
    timestamp::Timestamp,
};

/// The exchanges of a conversation of which nothing is missing.
#[derive(Debug)]
pub(super) struct Truth(BTreeMap<u32, Exchange>);

impl Truth {
    pub(super) fn new(events: &[HttpEvent]) -> Self {
        assert_eq!(lost(events), []);
        let exchanges = by_stream(events);
        assert!(
            exchanges
                .iter()
                .all(|exchange| exchange.gap.is_none() && !exchange.undecoded)
        );
        Self(
            exchanges
                .into_iter()
                .map(|exchange| (exchange.stream.unwrap(), exchange))
                .collect(),
        )
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The same was made of it.
    pub(super) fn assert_equal(&self, events: &[HttpEvent]) {
        assert_eq!(lost(events), []);
        let exchanges = by_stream(events);
        assert_eq!(exchanges.len(), self.0.len());
        for (exchange, truth) in exchanges.iter().zip(self.0.values()) {
            assert_eq!(exchange, truth);
        }
    }

    /// Every exchange is told, or counted as lost, and none is told wrongly.
    pub(super) fn assert_counted(&self, events: &[HttpEvent]) {
        let lost: u32 = lost(events).iter().map(|(exchanges, _)| exchanges).sum();
        assert_eq!(begun(events) + lost as usize, self.0.len(), "{lost} lost");
        self.assert_none_wrong(events);
    }

    /// What is told is the same, or absent and marked.
    pub(super) fn assert_none_wrong(&self, events: &[HttpEvent]) {
        for exchange in by_stream(events) {
            let truth = &self.0[&exchange.stream.unwrap()];
            if exchange.gap.is_none() && !exchange.undecoded {
                assert_eq!(as_if_whole(exchange, truth), *truth);
            } else {
                assert_in(&exchange, truth);
            }
        }
    }
}

/// Without what depends on other exchanges, and on when it was told that a body ended: a record
/// that tells nothing else may be lost.
fn as_if_whole(mut exchange: Exchange, truth: &Exchange) -> Exchange {
    exchange.exchange = truth.exchange;
    exchange.joined = truth.joined;
    assert!(exchange.end >= truth.end);
    exchange.end = truth.end;
    let later = |ended: &mut Option<Timestamp>, truth: Option<Timestamp>| {
        assert!(*ended >= truth);
        *ended = ended.and(truth);
    };
    later(&mut exchange.request.ended, truth.request.ended);
    if let (Some(response), Some(truth)) = (&mut exchange.response, &truth.response) {
        later(&mut response.ended, truth.ended);
    }
    exchange
}

fn assert_in(exchange: &Exchange, truth: &Exchange) {
    let whole = exchange.gap.is_none();
    assert_eq!(exchange.time, truth.time);
    let (request, true_request) = (&exchange.request, &truth.request);
    if let Some(head) = &request.head {
        let true_head = true_request.head.as_ref().unwrap();
        assert_part("method", &head.method, &true_head.method);
        assert_part("path", &head.path, &true_head.path);
        assert_part("authority", &head.authority, &true_head.authority);
        assert_fields(&head.headers, &true_head.headers);
    }
    assert!(request.ended.is_none() || request.ended >= true_request.ended);
    assert!(request.body_bytes <= true_request.body_bytes);
    if whole {
        assert_eq!(request.ended.is_some(), true_request.ended.is_some());
        assert_eq!(request.body_bytes, true_request.body_bytes);
        assert_eq!(exchange.response.is_some(), truth.response.is_some());
    }
    if let Some(response) = &exchange.response {
        assert_response(response, truth.response.as_ref().unwrap(), whole);
    }
}

fn assert_response(response: &Response, truth: &Response, whole: bool) {
    assert_part("status", &response.status, &truth.status);
    assert_fields(&response.headers, &truth.headers);
    assert_fields(&response.trailers, &truth.trailers);
    assert!(response.ended.is_none() || response.ended >= truth.ended);
    assert!(response.body_bytes <= truth.body_bytes);
    assert!(!response.upgraded || truth.upgraded);
    if whole {
        assert_eq!(response.ended.is_some(), truth.ended.is_some());
        assert_eq!(response.body_bytes, truth.body_bytes);
        assert_eq!(response.time, truth.time);
    }
}

/// It is the same if it is there.
fn assert_part<T: PartialEq + std::fmt::Debug>(what: &str, part: &Option<T>, truth: &Option<T>) {
    if part.is_some() {
        assert_eq!(part, truth, "{what}");
    }
}

/// They are some of the true ones, in order.
fn assert_fields(part: &Headers, truth: &Headers) {
    let mut left = truth.iter();
    for field in part.iter() {
        assert!(left.any(|known| known == field), "{field:?}");
    }
}
