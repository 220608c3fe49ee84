//! Lines of Envoy with lines of pilot-agent within them.

use super::{Node, part};
use crate::envoy::{Content, Format};

const ENTRY: &str = "[2026-11-25T19:50:13.017Z] \"GET /a HTTP/1.1\" 200 - via_upstream - \"-\" 0 10 8 8 \
    \"-\" \"-\" \"3c9ec4a5-6624-4083-93cb-27a8e2770e6a\" \"10.77.0.12:8080\" \"10.77.0.12:8080\" \
    outbound|8080||b.shop.svc.cluster.local 10.77.0.11:58766 10.77.0.12:8080 10.77.0.11:58644 - default";
const JSON: &str = r#"{"authority":"b","bytes_received":0,"bytes_sent":10,"downstream_local_address":"10.77.0.12:8080","downstream_remote_address":"10.77.0.11:58766","duration":3,"method":"GET","path":"/a","protocol":"HTTP/1.1","response_code":200,"response_code_details":"via_upstream","response_flags":"-","start_time":"2026-11-25T19:50:13.018Z","upstream_cluster":"inbound|8080||","upstream_host":"10.77.0.12:8080","upstream_local_address":"127.0.0.6:55808"}"#;
const PROBE: &str = "2026-11-25T19:50:13.021642Z\tdebug\tapp probe\tstatus=200";

/// A node whose logs have Istio's formats.
fn node() -> Node {
    let mut node = Node::new();
    node.reader.set_format(Format::compile("auto").unwrap());
    node
}

fn line(content: &str) -> String {
    part("stdout", "F", content)
}

/// A line that is torn now.
fn torn() -> String {
    let head = &ENTRY[..50];
    format!("2027-01-15T08:00:00.1Z stdout F {head}{PROBE}\n")
}

/// How many lines were handed out as entries, as other output and as unknown.
fn kinds(node: &Node) -> (usize, usize, usize) {
    let count = |is: fn(&Content) -> bool| {
        let lines = node.lines.iter().map(|line| &line.content);
        lines.filter(|content| is(content)).count()
    };
    (
        count(|content| matches!(content, Content::Entry(_))),
        count(|content| matches!(content, Content::Other)),
        count(|content| matches!(content, Content::Unknown)),
    )
}

fn paths(node: &Node) -> Vec<&str> {
    let entries = node.lines.iter().filter_map(|line| match &line.content {
        Content::Entry(entry) => entry.path.as_deref(),
        _ => None,
    });
    entries.collect()
}

#[test]
fn a_torn_line_is_put_together_wherever_it_was_torn() {
    let tears = |entry: &'static str| (1..entry.len()).step_by(3).map(move |at| (entry, at));
    for (entry, at) in tears(ENTRY).chain(tears(JSON)) {
        let (head, tail) = entry.split_at(at);
        let mut node = node();
        node.append("0.log", &line(&format!("{head}{PROBE}")));
        node.append("0.log", &line(PROBE));
        node.append("0.log", &line(tail));
        node.append("0.log", &line(&entry.replace("/a", "/b")));
        node.step();
        assert_eq!(paths(&node), ["/a", "/b"], "torn at {at} of {entry}");
        assert_eq!(kinds(&node).2, 0, "torn at {at} of {entry}");
    }
}

#[test]
fn a_torn_line_whose_tail_is_missing_is_unknown_and_takes_no_other() {
    let mut node = node();
    node.append("0.log", &torn());
    node.append("0.log", &line(&ENTRY.replace("/a", "/b")));
    node.settle();
    assert_eq!((paths(&node), kinds(&node)), (vec!["/b"], (1, 0, 1)));
}

#[test]
fn a_torn_line_is_put_together_over_a_restart() {
    let mut node = node();
    node.append("0.log", &torn());
    node.step();
    node.restart();
    node.reader.set_format(Format::compile("auto").unwrap());
    node.append("0.log", &line(&ENTRY[50..]));
    node.settle();
    assert_eq!((paths(&node), kinds(&node)), (vec!["/a"], (1, 1, 0)));
}

#[test]
fn a_tail_is_not_waited_for_without_end() {
    let mut node = node();
    node.append("0.log", &torn());
    node.step();
    assert_eq!(kinds(&node), (0, 0, 0));
    node.settle();
    assert_eq!(kinds(&node), (0, 0, 1));
}
