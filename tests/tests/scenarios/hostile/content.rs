//! What stands in a log and is no line of a proxy.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
};

use anyhow::Result;
use lab::{
    Session,
    pod::{PROXY, PodSpec},
};

use super::{all_matched, said_once, send};
use crate::stage::{Chapter, Judge, Scenario, judge};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "What stands in a log and is no line",
    scenarios: &[
        Scenario {
            name: "endless_line",
            happens: "parts of a line (CRI tag P) follow each other without an end",
            recorded: "one line, cut at 1 MiB: `unverifiable` (`log_format_unknown`) 0/1; all traffic `matched`",
            finds: &[],
            pods: || pods("endless"),
            play: endless_line,
        },
        Scenario {
            name: "binary_garbage",
            happens: "binary lines and one of 3 MiB without framing stand in a log",
            recorded: "each `unverifiable` (`log_format_unknown`) 0/1; all traffic `matched`",
            finds: &[],
            pods: || pods("garbled"),
            play: binary_garbage,
        },
        Scenario {
            name: "cut_in_place",
            happens: "a log is cut to nothing while it is written",
            recorded: "all traffic `matched`; the agent says so once",
            finds: &[("cut", "MW-008")],
            pods: || pods("cut"),
            play: cut_in_place,
        },
        Scenario {
            name: "overwritten_in_place",
            happens: "the beginning of a log is overwritten while it is written",
            recorded: "all traffic `matched`; the agent says so once",
            finds: &[("rewritten", "MW-008")],
            pods: || pods("rewritten"),
            play: overwritten_in_place,
        },
    ],
};

/// How many requests are sent before and after.
const COUNT: usize = 50;

fn pods(client: &str) -> Vec<PodSpec> {
    vec![PodSpec::new(client), PodSpec::new("served")]
}

fn append(session: &Session, pod: &str, bytes: &[u8]) -> Result<()> {
    let path = session.lab.pod(pod).container(PROXY).log.path();
    Ok(OpenOptions::new()
        .append(true)
        .open(path)?
        .write_all(bytes)?)
}

fn endless_line(session: &mut Session) -> Result<Judge> {
    send(session, "endless", "served", "/endless", COUNT)?;
    // On the stream that the access log does not use: a part there would swallow a line.
    let time = jiff::Timestamp::now();
    let filler = "x".repeat(16 << 10);
    let first = format!("{time} stderr P [{time}] \"GET /{filler}\n");
    append(session, "endless", first.as_bytes())?;
    let part = format!("{time} stderr P {filler}\n");
    for _ in 0..200 {
        append(session, "endless", part.as_bytes())?;
    }
    send(session, "endless", "served", "/endless", COUNT)?;
    judge(|evidence| {
        all_matched(evidence, "endless", "served", "/endless", 2 * COUNT)?;
        evidence
            .of("endless", "other lines", |record| {
                record.kind() == "http" && record.path() != "/endless"
            })
            .are("unverifiable")?
            .with_reason("log_format_unknown")?
            .of_units(0, 1)?;
        Ok(())
    })
}

fn binary_garbage(session: &mut Session) -> Result<Judge> {
    const LINES: i64 = 100;
    send(session, "garbled", "served", "/garbled", COUNT)?;
    let mut garbage = Vec::new();
    for number in 0..LINES {
        // Every byte but the line break, escapes of a terminal included.
        let bytes = (0..=255_u8).cycle().skip(usize::try_from(number)?);
        garbage.extend(bytes.filter(|byte| *byte != b'\n').take(500));
        garbage.extend_from_slice(b"\x1b[2J\n");
    }
    garbage.extend(std::iter::repeat_n(b'z', 3 << 20));
    garbage.push(b'\n');
    append(session, "garbled", &garbage)?;
    send(session, "garbled", "served", "/garbled", COUNT)?;
    judge(|evidence| {
        all_matched(evidence, "garbled", "served", "/garbled", 2 * COUNT)?;
        evidence
            .of("garbled", "other lines", |record| {
                record.kind() == "http" && record.path() != "/garbled"
            })
            .are("unverifiable")?
            .with_reason("log_format_unknown")?
            .of_units(0, LINES + 1)?;
        Ok(())
    })
}

fn cut_in_place(session: &mut Session) -> Result<Judge> {
    send(session, "cut", "served", "/cut", COUNT)?;
    // What was not read would be lost with the rest.
    session.settle()?;
    let path = session.lab.pod("cut").container(PROXY).log.path();
    File::options().write(true).open(path)?.set_len(0)?;
    send(session, "cut", "served", "/cut", COUNT)?;
    judge(|evidence| {
        all_matched(evidence, "cut", "served", "/cut", 2 * COUNT)?;
        said_once(evidence, "_cut_")
    })
}

fn overwritten_in_place(session: &mut Session) -> Result<Judge> {
    send(session, "rewritten", "served", "/overwritten", COUNT)?;
    session.settle()?;
    let path = session.lab.pod("rewritten").container(PROXY).log.path();
    let length = fs::metadata(&path)?.len().min(500);
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&vec![b'?'; usize::try_from(length)?], 0)?;
    send(session, "rewritten", "served", "/overwritten", COUNT)?;
    judge(|evidence| {
        all_matched(evidence, "rewritten", "served", "/overwritten", 2 * COUNT)?;
        said_once(evidence, "_rewritten_")
    })
}
