//! The lines of one container, from raw lines to what they are.

use std::sync::Arc;

use super::{
    LogEvent,
    cri::{self, Assembler, Whole},
    log_file::stream_index,
    positions::{Remainder, StreamPosition},
    raw_lines::{RawLine, RawLines},
    torn::Torn,
};
use crate::{
    envoy::{Content, LineParser, LogLine},
    timestamp::Timestamp,
};

/// Puts lines together and hands them out.
pub(super) struct Intake {
    pod_uid: Arc<str>,
    streams: [StreamIntake; 2],
    /// Lines without framing that begin before were handed out by an earlier run.
    unframed_from: u64,
    /// The stamp of the last line that had one.
    last_time: Option<Timestamp>,
}

#[derive(Default)]
struct StreamIntake {
    assembler: Assembler,
    /// Lines that begin before were handed out by an earlier run.
    from: u64,
    /// The path of the earlier file in which the pending line began.
    began_in: Option<Arc<str>>,
    torn: Option<Torn>,
}

impl Intake {
    pub(super) fn new(pod_uid: Arc<str>) -> Self {
        Self {
            pod_uid,
            streams: Default::default(),
            unframed_from: 0,
            last_time: None,
        }
    }

    pub(super) fn pod_uid(&self) -> &Arc<str> {
        &self.pod_uid
    }

    /// Takes a raw line of the file at `path`, and hands out the line that ends with it, if any.
    pub(super) fn take(
        &mut self,
        line: &RawLine<'_>,
        path: &Arc<str>,
        now: Timestamp,
        parser: &mut LineParser,
        sink: &mut dyn FnMut(LogEvent),
    ) {
        let mut hand_out = |path: &Arc<str>, offset, length, time, content, sensitive| {
            sink(LogEvent::Line(LogLine {
                pod_uid: Arc::clone(&self.pod_uid),
                file: Arc::clone(path),
                offset,
                length,
                time,
                content,
                sensitive,
            }));
        };
        let Some(framed) = (!line.cut).then(|| cri::parse(line.bytes)).flatten() else {
            if line.offset >= self.unframed_from {
                let time = self.last_time.unwrap_or(now);
                let content = Content::Unknown;
                let sensitive = parser.sensitive(line.bytes, &content);
                hand_out(path, line.offset, line.length, time, content, sensitive);
            }
            return;
        };
        self.last_time = Some(framed.time);
        let stream = &mut self.streams[stream_index(framed.stream)];
        if line.offset < stream.from {
            return;
        }
        let Some(whole) = stream.assembler.push(&framed, line.offset, line.length) else {
            return;
        };
        let began_in = stream.began_in.take();
        let path = began_in.as_ref().unwrap_or(path);
        let content = if whole.cut {
            parser.judge(whole.content)
        } else {
            parser.parse(whole.content)
        };
        if let Some(torn) = stream.torn.take() {
            let torn_path = torn.began_in.as_ref().unwrap_or(path);
            let mended = match (is_entry(&content), torn.with_tail(whole.content)) {
                (true, _) => None,
                (false, Some(line)) => Some(parser.parse(&line))
                    .filter(is_entry)
                    .map(|mended| (parser.sensitive(&line, &mended), mended)),
                // Another one of the lines that came to stand within.
                (false, None) => {
                    let sensitive = parser.sensitive(whole.content, &content);
                    let Whole {
                        offset,
                        length,
                        time,
                        ..
                    } = whole;
                    hand_out(path, offset, length, time, content, sensitive);
                    stream.torn = Some(torn);
                    return;
                }
            };
            let (offset, length, time) = (torn.offset, torn.length, torn.time);
            if let Some((sensitive, mended)) = mended {
                let both = length + whole.length;
                hand_out(torn_path, offset, length, time, Content::Other, Vec::new());
                hand_out(torn_path, offset, both, whole.time, mended, sensitive);
                return;
            }
            hand_out(
                torn_path,
                offset,
                length,
                time,
                torn.content,
                torn.sensitive,
            );
        }
        if !matches!(content, Content::Entry(_)) && !whole.cut {
            stream.torn = Torn::of(&whole, began_in.as_ref(), &content, parser);
            if stream.torn.is_some() {
                return;
            }
        }
        let sensitive = parser.sensitive(whole.content, &content);
        let Whole {
            offset,
            length,
            time,
            ..
        } = whole;
        hand_out(path, offset, length, time, content, sensitive);
    }

    /// Tells that lines are missing at a place, as is noticed now.
    pub(super) fn hole(
        &mut self,
        path: &Arc<str>,
        offset: u64,
        now: Timestamp,
        sink: &mut dyn FnMut(LogEvent),
    ) {
        sink(LogEvent::Line(LogLine {
            pod_uid: Arc::clone(&self.pod_uid),
            file: Arc::clone(path),
            offset,
            length: 0,
            time: now,
            content: Content::Hole,
            sensitive: Vec::new(),
        }));
    }

    /// The stamp of the last line.
    pub(super) fn last_time(&self) -> Option<Timestamp> {
        self.last_time
    }

    /// The next line comes from another file than the one at `path`.
    pub(super) fn next_file(&mut self, path: &Arc<str>) {
        self.unframed_from = 0;
        for stream in &mut self.streams {
            stream.from = 0;
            if stream.assembler.pending_offset().is_some() && stream.began_in.is_none() {
                stream.began_in = Some(Arc::clone(path));
            }
            if let Some(torn) = &mut stream.torn {
                torn.began_in.get_or_insert_with(|| Arc::clone(path));
            }
        }
    }

    /// The container ended while the file at `path` was written: what it began to write is all
    /// that there is of that line.
    pub(super) fn end_life(
        &mut self,
        path: &Arc<str>,
        parser: &mut LineParser,
        sink: &mut dyn FnMut(LogEvent),
    ) {
        self.give_up_torn(path, Timestamp::MAX, sink);
        for stream in &mut self.streams {
            let began_in = stream.began_in.take();
            if let Some(line) = stream.assembler.end() {
                let content = parser.judge(line.content);
                let sensitive = parser.sensitive(line.content, &content);
                sink(LogEvent::Line(LogLine {
                    pod_uid: Arc::clone(&self.pod_uid),
                    file: began_in.unwrap_or_else(|| Arc::clone(path)),
                    offset: line.offset,
                    length: line.length,
                    time: line.time,
                    content,
                    sensitive,
                }));
            }
        }
    }

    /// Hands out torn lines whose tails did not come; `path` is the file that is being read.
    pub(super) fn give_up_torn(
        &mut self,
        path: &Arc<str>,
        now: Timestamp,
        sink: &mut dyn FnMut(LogEvent),
    ) {
        for stream in &mut self.streams {
            if let Some(torn) = stream.torn.take_if(|torn| torn.is_given_up(now)) {
                sink(LogEvent::Line(LogLine {
                    pod_uid: Arc::clone(&self.pod_uid),
                    file: torn.began_in.unwrap_or_else(|| Arc::clone(path)),
                    offset: torn.offset,
                    length: torn.length,
                    time: torn.time,
                    content: torn.content,
                    sensitive: torn.sensitive,
                }));
            }
        }
    }

    /// Forgets parts of lines whose ends will not come.
    pub(super) fn forget_parts(&mut self) {
        self.unframed_from = 0;
        for stream in &mut self.streams {
            *stream = StreamIntake::default();
        }
    }

    /// The next parts of a stream, up to the end of their line, are left out.
    pub(super) fn skip_open_lines(&mut self, open: [bool; 2]) {
        for (stream, open) in self.streams.iter_mut().zip(open) {
            stream.assembler.reset(open);
        }
    }

    /// Goes on where an earlier run stopped.
    pub(super) fn resume(&mut self, positions: [StreamPosition; 2], unframed: u64) {
        self.unframed_from = unframed;
        for (stream, position) in self.streams.iter_mut().zip(positions) {
            stream
                .assembler
                .reset(position.remainder != Remainder::None);
            stream.from = position.offset;
        }
    }

    /// Where the lines without framing stand in the file of `lines`.
    pub(super) fn unframed(&self, lines: &RawLines) -> u64 {
        lines.rest_offset().max(self.unframed_from)
    }

    /// Where each stream stands in the file of `lines`.
    pub(super) fn positions(&self, lines: &RawLines) -> [StreamPosition; 2] {
        self.streams.each_ref().map(|stream| {
            let (pending, earlier) = match &stream.torn {
                Some(torn) => (Some(torn.offset), torn.began_in.is_some()),
                None => {
                    let pending = stream.assembler.pending_offset();
                    (pending, pending.is_some() && stream.began_in.is_some())
                }
            };
            let offset = match pending {
                Some(offset) if !earlier => offset,
                _ => lines.rest_offset(),
            };
            let remainder = if earlier {
                Remainder::Untold
            } else if stream.assembler.is_skipping() {
                Remainder::Booked
            } else {
                Remainder::None
            };
            StreamPosition {
                offset: offset.max(stream.from),
                remainder,
            }
        })
    }
}

fn is_entry(content: &Content) -> bool {
    matches!(content, Content::Entry(_) | Content::Ambiguous(_))
}
