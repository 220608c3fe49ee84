//! What an end sends that is no HTTP, as the proxy says itself.

use std::time::Duration;

use super::{Scene, entry, exchange, get};
use crate::{
    http::{Connection, Gap},
    ledger::{Exchange, Input},
    record::{Side, Verdict},
};

#[test]
fn an_answer_that_both_call_no_http_is_no_loss() {
    for (flags, verdict) in [("UPE", Verdict::Matched), ("-", Verdict::Unverifiable)] {
        let mut scene = Scene::new();
        let leg = scene.server_leg();
        let told = mismatched(&mut scene, &leg, true);
        let mut line = scene.line(Side::Server, &leg, &told, &get("/"));
        entry(&mut line).response_flags = Some(flags.into());
        entry(&mut line).response_code = Some(502);
        scene.read(line);
        scene.settle();
        assert_eq!(scene.verdicts()[0].0, verdict, "{flags}");
        scene.stop();
    }
}

#[test]
fn a_header_block_that_both_cannot_decode_is_no_loss() {
    let cases = [
        ("DPE", false, Verdict::Matched),
        ("DC", false, Verdict::Unverifiable),
        // The proxy has decoded it.
        ("DPE", true, Verdict::Unverifiable),
    ];
    for (flags, has_method, verdict) in cases {
        let mut scene = Scene::new();
        let leg = scene.client_leg();
        let told = mismatched(&mut scene, &leg, false);
        let mut line = scene.line(Side::Client, &leg, &told, &get("/"));
        let said = entry(&mut line);
        said.response_flags = Some(flags.into());
        said.response_code = Some(0);
        if !has_method {
            (said.method, said.path, said.authority) = (None, None, None);
        }
        scene.read(line);
        scene.settle();
        assert_eq!(scene.verdicts()[0].0, verdict, "{flags} {has_method}");
        scene.stop();
    }
}

/// An exchange of which one end sent what is no HTTP: the server, if the head `is_whole`.
fn mismatched(scene: &mut Scene, leg: &Connection, is_whole: bool) -> Exchange {
    let time = scene.now;
    scene.begin(leg, 0);
    scene.pass(Duration::from_millis(3));
    let mut told = exchange(leg.id, 0, time, scene.now, &get("/"));
    told.gap = Some(Gap::StreamMismatch);
    if !is_whole {
        (told.method, told.path, told.authority) = (None, None, None);
    }
    scene.feed(Input::Ended(Box::new(told.clone())));
    told
}
