//! Where a log was read at which time: a place a second, so that the part that was searched for a
//! line can be named.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{evidence::LogPlace, input::Line};
use crate::timestamp::Timestamp;

/// Between two marks.
const SPACING: Duration = Duration::from_secs(1);

/// Two minutes of a busy log, longer of a quiet one.
const KEPT_MARKS: usize = 120;

/// Places in the log of one pod.
#[derive(Debug, Default)]
pub(super) struct LogMarks {
    marks: VecDeque<Mark>,
    /// The end of the last line.
    end: Option<Mark>,
}

#[derive(Clone, Debug)]
struct Mark {
    time: Timestamp,
    file: Arc<str>,
    offset: u64,
}

impl LogMarks {
    /// A line was read.
    pub(super) fn note(&mut self, line: &Line) {
        let file = match &self.end {
            Some(end) if *end.file == *line.file => Arc::clone(&end.file),
            _ => Arc::clone(&line.file),
        };
        let due = self.marks.back().is_none_or(|last| {
            last.time.distance(line.time) >= SPACING || !Arc::ptr_eq(&last.file, &file)
        });
        if due {
            self.marks.push_back(Mark {
                time: line.time,
                file: Arc::clone(&file),
                offset: line.offset,
            });
            if self.marks.len() > KEPT_MARKS {
                self.marks.pop_front();
            }
        }
        self.end = Some(Mark {
            time: line.time,
            file,
            offset: line.offset + line.length,
        });
    }

    /// The last mark before a moment, or the first that is kept.
    pub(super) fn before(&self, time: Timestamp) -> Option<LogPlace> {
        let earlier = self.marks.iter().rev().find(|mark| mark.time <= time);
        earlier.or(self.marks.front()).map(Mark::place)
    }

    /// The end of the last line that was read.
    pub(super) fn end(&self) -> Option<LogPlace> {
        self.end.as_ref().map(Mark::place)
    }
}

impl Mark {
    fn place(&self) -> LogPlace {
        LogPlace {
            file: self.file.as_ref().to_owned(),
            offset: self.offset,
            time: self.time,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{KEPT_MARKS, LogMarks};
    use crate::{
        ledger::{Line, LineContent},
        timestamp::Timestamp,
    };

    fn line(milliseconds: u64, file: &str, offset: u64) -> Line {
        Line {
            pod_uid: "u".into(),
            file: file.into(),
            offset,
            length: 10,
            time: Timestamp::default() + Duration::from_millis(milliseconds),
            content: LineContent::Other,
            sensitive: Vec::new(),
        }
    }

    #[test]
    fn the_part_searched_begins_at_the_last_mark_before_it() {
        let mut marks = LogMarks::default();
        let at = |milliseconds| Timestamp::default() + Duration::from_millis(milliseconds);
        assert_eq!((marks.before(at(5)), marks.end()), (None, None));
        for (milliseconds, file, offset) in [
            (1000, "0.log", 0),
            (1500, "0.log", 10),
            (2500, "0.log", 20),
            (2600, "1.log", 0),
        ] {
            marks.note(&line(milliseconds, file, offset));
        }
        let before = |milliseconds| {
            let place = marks.before(at(milliseconds)).unwrap();
            (place.file, place.offset)
        };
        assert_eq!(before(500), ("0.log".to_owned(), 0));
        assert_eq!(before(2400), ("0.log".to_owned(), 0));
        assert_eq!(before(2550), ("0.log".to_owned(), 20));
        assert_eq!(before(9000), ("1.log".to_owned(), 0));
        assert_eq!(marks.end().unwrap().offset, 10);
    }

    #[test]
    fn marks_are_bounded() {
        let mut marks = LogMarks::default();
        for second in 0..10 * KEPT_MARKS as u64 {
            marks.note(&line(second * 1000, "0.log", second));
        }
        assert_eq!(marks.marks.len(), KEPT_MARKS);
    }
}
