//! A log file in the CRI format, as the kubelet's directories hold it, read by the log reader.
//!
//! Lines have the places, times and contents that a plain reader finds; however the file grows, and
//! wherever the reader is stopped and begun anew, they come once each and are the same.
#![no_main]

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use libfuzzer_sys::{Corpus, fuzz_target};
use meshwitness::{
    envoy::{Content, Format, LogEvent, LogReader, LogReaderSettings, Positions},
    timestamp::Timestamp,
};
use meshwitness_fuzz::{Turn, turns, within};

fuzz_target!(|input: &[u8]| -> Corpus {
    if input.len() > 1 << 13 {
        return Corpus::Reject;
    }
    within((4 << 20) + 64 * input.len(), || check(input));
    Corpus::Keep
});

const POD: &str = "pods/shop_a_uid-a";
const CONTAINER: &str = "pods/shop_a_uid-a/istio-proxy";

/// How a JSON line of pilot-agent begins.
const TORN: &[u8] = b"{\"level\":\"";

/// A line that was read.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    offset: u64,
    length: u64,
    /// None where the line has none itself.
    time: Option<Timestamp>,
    content: Content,
}

fn check(input: &[u8]) {
    let file: Vec<u8> = turns(input)
        .flat_map(|(_, part)| part.iter().copied())
        .collect();
    // Each line is a user agent.
    let read: Vec<_> = lines(Form::Any, turns(input)).iter().map(text).collect();
    assert_eq!(read, reference(&file));
    let parts = lines(Form::Istio, turns(input));
    // Where a line was torn by one of another program it depends on the time whether its tail
    // still comes.
    if !file.contains(&b'\t') && !file.windows(TORN.len()).any(|text| text == TORN) {
        assert_eq!(parts, lines(Form::Istio, [(Turn::Cut, file.as_slice())]));
    }
}

/// The lines of a file that grows part by part. At [`Turn::Write`] the reader is another one.
fn lines<'a>(form: Form, parts: impl IntoIterator<Item = (Turn, &'a [u8])>) -> Vec<Line> {
    let mut node = Node::new(form);
    for (index, (turn, part)) in parts.into_iter().enumerate() {
        if index > 0 && matches!(turn, Turn::Write(_)) {
            node.restart();
        }
        node.append(part);
    }
    node.settle();
    std::mem::take(&mut node.lines)
}

/// A line as a user agent, with its place.
fn text(line: &Line) -> (u64, u64, Option<Timestamp>, Option<String>) {
    let text = match &line.content {
        Content::Entry(entry) => entry.user_agent.clone(),
        content => Some(format!("{content:?}")),
    };
    (line.offset, line.length, line.time, text)
}

/// What the lines are read as.
#[derive(Clone, Copy)]
enum Form {
    /// Any text, as a user agent.
    Any,
    Istio,
}

thread_local! {
    static FORMATS: [Format; 2] = ["%REQ(USER-AGENT)%", "istio-text"]
        .map(|format| Format::compile(format).expect("a valid format"));
}

/// What a log reader sees of a node.
struct Node {
    root: PathBuf,
    log: File,
    form: Form,
    reader: LogReader,
    now: Timestamp,
    lines: Vec<Line>,
}

impl Node {
    /// A node with an empty log, whose reader looked at it before that was there.
    fn new(form: Form) -> Self {
        let root = std::env::temp_dir().join(format!("fuzz-cri-{}", std::process::id()));
        fs::create_dir_all(root.join("pods")).expect("a directory");
        let mut reader = reader(&root, form, None);
        let before = Timestamp(1_800_000_000_000_000_000);
        reader.poll(before, &mut |_| {});
        fs::create_dir_all(root.join(CONTAINER)).expect("a directory");
        let log = File::create(root.join(CONTAINER).join("0.log")).expect("a file");
        Self {
            root,
            log,
            form,
            reader,
            now: before + Duration::from_secs(3),
            lines: Vec::new(),
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.log.write_all(bytes).expect("room");
        self.poll();
    }

    fn restart(&mut self) {
        let stored = serde_json::to_vec(&self.reader.positions()).expect("positions");
        let stored = serde_json::from_slice(&stored).expect("the same positions");
        self.reader = reader(&self.root, self.form, Some(stored));
        self.poll();
    }

    /// Until nothing more can come of what is there.
    fn settle(&mut self) {
        self.now = self.now + Duration::from_secs(10);
        self.poll();
    }

    fn poll(&mut self) {
        let lines = &mut self.lines;
        self.reader.poll(self.now, &mut |event| match event {
            LogEvent::Line(line) => lines.push(Line {
                offset: line.offset,
                length: line.length,
                time: (line.content != Content::Unknown).then_some(line.time),
                content: line.content,
            }),
            LogEvent::Problem(problem) => panic!("{problem}"),
            LogEvent::Rewritten(_) => panic!("nobody wrote it anew"),
            LogEvent::Progress(_) => {}
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.root.join(CONTAINER).join("0.log"));
        for directory in [CONTAINER, POD] {
            let _ = fs::remove_dir(self.root.join(directory));
        }
    }
}

fn reader(root: &Path, form: Form, stored: Option<Positions>) -> LogReader {
    let mut settings = LogReaderSettings::new(root.to_owned(), vec!["istio-proxy".to_owned()]);
    // Each reader that the kernel told of changes takes milliseconds to end.
    settings.watch = false;
    let format = FORMATS.with(|formats| formats[form as usize].clone());
    LogReader::new(settings, format, stored)
}

/// The same lines by plain means, over a file that is there at once.
fn reference(file: &[u8]) -> Vec<(u64, u64, Option<Timestamp>, Option<String>)> {
    let mut lines = Vec::new();
    // Of each stream: where its line begins, how long it is so far, and its text.
    let mut parts: [Option<(u64, u64, Vec<u8>)>; 2] = [None, None];
    let mut offset = 0;
    for raw in file.split_inclusive(|byte| *byte == b'\n') {
        let begin = offset;
        let length = raw.len() as u64;
        offset += length;
        let Some(raw) = raw.strip_suffix(b"\n") else {
            break;
        };
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        let Some((time, stream, partial, text)) = framed(raw) else {
            lines.push((begin, length, None, Some("Unknown".to_owned())));
            continue;
        };
        let (first, so_far, mut whole) = parts[stream].take().unwrap_or((begin, 0, Vec::new()));
        whole.extend_from_slice(text);
        let length = so_far + length;
        if partial {
            parts[stream] = Some((first, length, whole));
        } else {
            lines.push((first, length, Some(time), user_agent(whole)));
        }
    }
    lines
}

/// Time, stream, whether more follows, and text of a line of the CRI format.
fn framed(line: &[u8]) -> Option<(Timestamp, usize, bool, &[u8])> {
    let mut words = line.splitn(4, |byte| *byte == b' ');
    let (time, stream, tags) = (words.next()?, words.next()?, words.next()?);
    let text = words.next().unwrap_or_default();
    let stream = [&b"stdout"[..], b"stderr"]
        .iter()
        .position(|name| *name == stream)?;
    let partial = match tags.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some((time_of(time)?, stream, partial, text))
}

/// A time of RFC 3339, from 1970 on as long as 63 bits of nanoseconds last, with up to nine digits
/// of a second.
fn time_of(text: &[u8]) -> Option<Timestamp> {
    let text = str::from_utf8(text).ok()?;
    let (date_time, rest) = text.split_at_checked(19)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|digit: char| !digit.is_ascii_digit())?),
        None => ("0", rest),
    };
    let shape = date_time.replace(|digit: char| digit.is_ascii_digit(), "0");
    if shape != "0000-00-00T00:00:00" || !(1..=9).contains(&fraction.len()) {
        return None;
    }
    let number = |from: usize, to: usize| date_time[from..to].parse::<i8>().ok();
    let year = date_time[..4].parse().ok().filter(|year| *year >= 1970)?;
    let date = jiff::civil::Date::new(year, number(5, 7)?, number(8, 10)?).ok()?;
    // A leap second is the one behind the last.
    let second = number(17, 19)?;
    let last = second.min(59);
    let time = jiff::civil::Time::new(number(11, 13)?, number(14, 16)?, last, 0).ok()?;
    let leap = (second == 60)
        .then_some(1)
        .or((second == last).then_some(0))?;
    let seconds = jiff::tz::TimeZone::UTC
        .to_timestamp(date.to_datetime(time))
        .ok()?
        .as_second();
    let seconds = seconds + leap - zone_seconds(zone)?;
    let nanoseconds: i64 = format!("{fraction:0<9}").parse().ok()?;
    let time = seconds
        .checked_mul(1_000_000_000)?
        .checked_add(nanoseconds)?;
    u64::try_from(time).ok().map(Timestamp)
}

/// `Z`, or how far the zone is ahead of UTC.
fn zone_seconds(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let shape = zone.replace(|digit: char| digit.is_ascii_digit(), "0");
    if !["+00:00", "-00:00", "+0000", "-0000"].contains(&shape.as_str()) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (
        zone[1..3].parse().ok()?,
        zone[zone.len() - 2..].parse().ok()?,
    );
    let seconds = (hours * 60 + minutes) * 60;
    (hours < 24 && minutes < 60).then_some(if zone.starts_with('-') {
        -seconds
    } else {
        seconds
    })
}

fn user_agent(text: Vec<u8>) -> Option<String> {
    if text.is_empty() || text == b"-" {
        return None;
    }
    Some(String::from_utf8(text).unwrap_or_else(|error| {
        error
            .as_bytes()
            .iter()
            .map(|byte| char::from(*byte))
            .collect()
    }))
}
