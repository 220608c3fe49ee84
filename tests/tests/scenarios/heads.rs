//! Requests that Envoy never took for whole ones.

use anyhow::{Result, ensure};
use lab::{
    Session,
    nginx::{HTTP_PORT, HTTP2_PORT},
    pod::{PROXY, PodSpec},
};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Family, PATIENCE, Way, endpoint_of, matched},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Requests that Envoy never took for whole ones",
    scenarios: &[
        Scenario {
            name: "half_head",
            happens: "the client sends half a head and closes; the line says `- -` and `0 DC`",
            recorded: "client: `matched` 1/1 by the tuple",
            finds: &[],
            pods: || pods("half"),
            play: |session| {
                let head = r"GET /half HTTP/1.1\r\nhost: b\r\nx-";
                with_a_line(session, "half", head, "\"- - HTTP/1.1\" 0 DC")
            },
        },
        Scenario {
            name: "malformed_head",
            happens: "the client sends a header without a colon; the line says `- -` and 400",
            recorded: "client: `matched` 1/1 by the tuple",
            finds: &[],
            pods: || pods("malformed"),
            play: |session| {
                let head = r"GET /malformed HTTP/1.1\r\nhost: b\r\nno colon here\r\n\r\n";
                with_a_line(session, "malformed", head, "\"- - HTTP/1.1\" 400 DPE")
            },
        },
        Scenario {
            name: "old_protocol",
            happens: "the client speaks HTTP/1.0; the line says `- -` and 426",
            recorded: "client: `matched` 1/1 by the tuple",
            finds: &[],
            pods: || pods("old"),
            play: |session| {
                let head = r"GET /old HTTP/1.0\r\n\r\n";
                with_a_line(session, "old", head, "\"- - HTTP/1.1\" 426 DPE")
            },
        },
        Scenario {
            name: "huge_head",
            happens: "the client sends a head of 70 kB; the line says `- -` and 431",
            recorded: "client: `matched` 1/1 by the tuple",
            finds: &[],
            pods: || pods("huge"),
            play: |session| {
                let value = "v".repeat(70_000);
                let head = format!(r"GET /huge HTTP/1.1\r\nhost: b\r\nx-huge: {value}\r\n\r\n");
                with_a_line(session, "huge", &head, "\"- - HTTP/1.1\" 431 DPE")
            },
        },
        Scenario {
            name: "half_head_http2",
            happens: "the client opens a stream with half a header block and closes; the line says `- -` and `0 DC`",
            recorded: "client: `matched` 1/1 by the tuple",
            finds: &[],
            pods: || pods("halfblock"),
            play: |session| {
                let head = http2(END_STREAM, &PSEUDO)?;
                with_a_line(session, "halfblock", &head, "\"- - HTTP/2\" 0 DC")
            },
        },
        Scenario {
            name: "malformed_head_http2",
            happens: "the client sends a header with capitals over HTTP/2; the line says `- -` and `0 DPE`",
            recorded: "client: `matched` 1/1 by the tuple",
            finds: &[],
            pods: || pods("capitals"),
            play: |session| {
                let fields = [&PSEUDO[..], &[("X-Capitals", "1")]].concat();
                let head = http2(END_STREAM | END_HEADERS, &fields)?;
                with_a_line(session, "capitals", &head, "\"- - HTTP/2\" 0 DPE")
            },
        },
        Scenario {
            name: "no_path_http2",
            happens: "the client names no path over HTTP/2; the line says `- -` and `0 DPE`",
            recorded: "client: `matched` 1/1 by the tuple",
            finds: &[],
            pods: || pods("pathless"),
            play: |session| {
                let head = http2(END_STREAM | END_HEADERS, &PSEUDO[..3])?;
                with_a_line(session, "pathless", &head, "\"- - HTTP/2\" 0 DPE")
            },
        },
        Scenario {
            name: "broken_block_http2",
            happens: "the client sends a header block that cannot be decoded; the line says `- -` and `0 DPE`",
            recorded: "client: `matched` 1/1 by the tuple",
            finds: &[],
            pods: || pods("garbled"),
            play: |session| {
                // An index that no table has.
                let block = r"\x00\x00\x03\x01\x05\x00\x00\x00\x01\xff\xff\xff";
                let head = format!("{BEGINNING}{block}");
                with_a_line(session, "garbled", &head, "\"- - HTTP/2\" 0 DPE")
            },
        },
        Scenario {
            name: "preface_only",
            happens: "the client begins HTTP/2, opens no stream and closes; Envoy writes nothing",
            recorded: "client: `outside` 1/0, `no_request`",
            finds: &[],
            pods: || pods("streamless"),
            play: |session| without_a_line(session, "streamless", BEGINNING),
        },
        Scenario {
            name: "half_preface",
            happens: "the client sends half the preface of HTTP/2 and closes; Envoy writes nothing",
            recorded: "client: `outside` 1/0, `no_request`",
            finds: &[],
            pods: || pods("halfpreface"),
            play: |session| without_a_line(session, "halfpreface", r"PRI * HTTP/2.0\r\n"),
        },
        Scenario {
            name: "three_bytes",
            happens: "the client sends `GET` and closes; Envoy writes nothing",
            recorded: "client: `outside` 1/0, `no_request`",
            finds: &[],
            pods: || pods("three"),
            play: |session| without_a_line(session, "three", "GET"),
        },
        Scenario {
            name: "half_request_line",
            happens: "the client sends `GET /half-a-line` and closes; Envoy writes nothing",
            recorded: "client: `outside` 1/0, `no_request`",
            finds: &[],
            pods: || pods("line"),
            play: |session| without_a_line(session, "line", "GET /half-a-line"),
        },
        Scenario {
            name: "nothing_sent",
            happens: "the client connects and closes; Envoy writes nothing",
            recorded: "client: `outside` 1/0, `no_request`",
            finds: &[],
            pods: || pods("nothing"),
            play: |session| without_a_line(session, "nothing", ""),
        },
        Scenario {
            name: "fin_with_request",
            happens: "the client half-closes right after its request; Envoy drops some of those unread",
            recorded: "client: without a line `outside` 1/0, `no_request`; with one `matched` 1/1",
            finds: &[],
            pods: || pods("eager"),
            play: fin_with_request,
        },
    ],
};

/// The preface of HTTP/2 and empty SETTINGS.
const BEGINNING: &str = r"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Of a request.
const PSEUDO: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "b"),
    (":path", "/http2-head"),
];

/// A client of its own: what it sends has no path to be found by.
fn pods(client: &str) -> Vec<PodSpec> {
    vec![PodSpec::new(client), PodSpec::new("b")]
}

fn with_a_line(
    session: &Session,
    client: &'static str,
    head: &str,
    line: &'static str,
) -> Result<Judge> {
    send(session, client, head)?;
    let log = &session.lab.pod(client).container(PROXY).log;
    log.wait_for_count(Family::ALL.len(), PATIENCE, |found| found.contains(line))?;
    judge(move |evidence| {
        let found = evidence.of(client, "units", |record| record.units().observed > 0);
        found.are("matched")?.are_as_many_as(2)?.of_units(2, 2)?;
        Ok(())
    })
}

fn without_a_line(session: &Session, client: &'static str, text: &str) -> Result<Judge> {
    send(session, client, text)?;
    judge(move |evidence| {
        ensure!(evidence.lines(client, "[2")?.is_empty(), "there is a line");
        let found = evidence.of(client, "units", |record| record.units().observed > 0);
        found
            .are("outside")?
            .with_reason("no_request")?
            .of_units(2, 0)?;
        Ok(())
    })
}

/// Requests over each family.
const EAGER: usize = 40;

fn fin_with_request(session: &mut Session) -> Result<Judge> {
    let client = session.lab.pod("eager");
    for way in Way::HTTP1 {
        let server = way.socket(session.lab.pod("b").addresses()).to_string();
        let path = way.path("/eager");
        client.client(&["half-close", &server, &path, &EAGER.to_string()])?;
    }
    judge(|evidence| {
        let mut logged = 0;
        let paths = Way::HTTP1.map(|way| way.path("/eager")).into_iter();
        let paths = paths.flat_map(|base| (0..EAGER).map(move |number| format!("{base}/{number}")));
        for path in paths {
            if evidence.lines("eager", &format!("{path} HTTP"))?.is_empty() {
                let found = evidence.http("eager", "client", &path);
                found
                    .are("outside")?
                    .with_reason("no_request")?
                    .of_units(1, 0)?;
            } else {
                logged += 1;
                matched(evidence, "eager", "client", &path)?;
            }
        }
        ensure!(logged < 2 * EAGER, "Envoy read all of them");
        Ok(())
    })
}

/// Sends some bytes to `b` over each family, waits a moment and closes.
fn send(session: &Session, client: &str, text: &str) -> Result<()> {
    let port = match text.starts_with("PRI ") {
        true => HTTP2_PORT,
        false => HTTP_PORT,
    };
    for family in Family::ALL {
        let server = endpoint_of(family, session.lab.pod("b"), port);
        let client = session.lab.pod(client);
        client.client(&["bytes", &server, text, "200"])?;
    }
    Ok(())
}

/// The beginning of HTTP/2, and a HEADERS frame on stream 1.
fn http2(flags: u8, fields: &[(&str, &str)]) -> Result<String> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal field that is not indexed, with a new name (RFC 7541 section 6.2.2).
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len())?);
            block.extend(text.as_bytes());
        }
    }
    let length = u8::try_from(block.len())?;
    let frame = [&[0, 0, length, 1, flags, 0, 0, 0, 1], &*block].concat();
    let frame = frame.iter().map(|byte| format!(r"\x{byte:02x}"));
    Ok(format!(r"{BEGINNING}{}", frame.collect::<String>()))
}
