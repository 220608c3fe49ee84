//! Time formats of `START_TIME(…)`: those of strftime and Envoy's own `%s` and `%[1-9]f`.

use super::{Civil, digits, fraction_nanoseconds, offset_seconds, timestamp};
use crate::timestamp::Timestamp;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// A compiled time format.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::envoy) struct TimePattern {
    parts: Vec<Part>,
    precision_nanoseconds: u64,
    /// A date and a zone can be had from it.
    whole: bool,
}

/// A text that a time format wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::envoy) enum Moment {
    /// A moment.
    At(Timestamp),
    /// It fits the format, but the format leaves out what a moment needs.
    Partial,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(u8),
    /// A number of a fixed count of digits.
    Number(Unit, usize),
    /// Seconds since the epoch, of as many digits as there are.
    Epoch,
    /// Digits of a second; none: as many as there are.
    Fraction(Option<usize>),
    MonthName {
        full: bool,
    },
    WeekdayName {
        full: bool,
    },
    Offset,
    ZoneName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Year,
    ShortYear,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    /// Checked for being digits, not used.
    Ignored,
}

impl TimePattern {
    /// `START_TIME` without arguments, and `START_TIME_LOCAL` without.
    pub(in crate::envoy) fn default_for(local: bool) -> Option<Self> {
        let format = if local {
            "%Y-%m-%dT%H:%M:%S.%3f%z"
        } else {
            "%Y-%m-%dT%H:%M:%S.%3fZ"
        };
        Self::compile(format, local)
    }

    /// Compiles a format; none if it has a specifier that is not known here. Without an offset in
    /// it the zone is UTC, or unknown if `local`.
    pub(in crate::envoy) fn compile(format: &str, local: bool) -> Option<Self> {
        let mut parts = Vec::new();
        compile_into(format, &mut parts)?;
        let has = |unit| {
            parts
                .iter()
                .any(|part| matches!(part, Part::Number(it, _) if *it == unit))
        };
        let epoch = parts.contains(&Part::Epoch);
        let month = has(Unit::Month) || parts.iter().any(|p| matches!(p, Part::MonthName { .. }));
        let date = (has(Unit::Year) || has(Unit::ShortYear)) && month && has(Unit::Day);
        let zone = !local || parts.contains(&Part::Offset);
        let fraction = parts.iter().find_map(|part| match part {
            Part::Fraction(digits) => Some(digits.unwrap_or(9)),
            _ => None,
        });
        let seconds = epoch || has(Unit::Second);
        let precision_nanoseconds = match fraction {
            Some(digits) if seconds => 10_u64.pow(u32::try_from(9 - digits.min(9)).ok()?),
            _ if seconds => 1_000_000_000,
            _ if has(Unit::Minute) => 60_000_000_000,
            _ => 86_400_000_000_000,
        };
        Some(Self {
            parts,
            precision_nanoseconds,
            whole: epoch || (date && zone),
        })
    }

    /// The weight of the last digit.
    pub(in crate::envoy) fn precision_nanoseconds(&self) -> u64 {
        self.precision_nanoseconds
    }

    /// Reads the whole of `text`; none if the format does not write so.
    pub(in crate::envoy) fn parse(&self, text: &[u8]) -> Option<Moment> {
        let mut reading = Reading::default();
        let mut rest = text;
        for (index, part) in self.parts.iter().enumerate() {
            let length = reading.take(part, self.parts.get(index + 1), rest)?;
            rest = &rest[length..];
        }
        if !rest.is_empty() {
            return None;
        }
        if !self.whole {
            return Some(Moment::Partial);
        }
        let seconds = match reading.epoch {
            Some(seconds) => seconds,
            None => reading.civil.epoch_seconds()? - reading.offset,
        };
        timestamp(seconds, reading.nanoseconds).map(Moment::At)
    }
}

fn compile_into(format: &str, parts: &mut Vec<Part>) -> Option<()> {
    let mut rest = format.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            parts.push(Part::Literal(*first));
            rest = tail;
            continue;
        }
        // strftime's padding flags do not change what is written for these units here.
        let (specifier, tail) = match tail {
            [b'E', b'T', tail @ ..] => {
                parts.push(Part::Literal(b'T'));
                rest = tail;
                continue;
            }
            [b'E' | b':', b'z', tail @ ..] => (b'z', tail),
            [b'E', b'4', b'Y', tail @ ..] => (b'Y', tail),
            [b'E', b'*', b'S', tail @ ..] => {
                parts.extend([Part::Number(Unit::Second, 2), Part::Literal(b'.')]);
                parts.push(Part::Fraction(None));
                rest = tail;
                continue;
            }
            [b'E', b'*', b'f', tail @ ..] => {
                parts.push(Part::Fraction(None));
                rest = tail;
                continue;
            }
            [b'E', digit @ b'1'..=b'9', b'S', tail @ ..] => {
                parts.extend([Part::Number(Unit::Second, 2), Part::Literal(b'.')]);
                parts.push(Part::Fraction(Some(usize::from(digit - b'0'))));
                rest = tail;
                continue;
            }
            [b'E', digit @ b'1'..=b'9', b'f', tail @ ..]
            | [digit @ b'1'..=b'9', b'f', tail @ ..] => {
                parts.push(Part::Fraction(Some(usize::from(digit - b'0'))));
                rest = tail;
                continue;
            }
            [specifier, tail @ ..] => (*specifier, tail),
            [] => return None,
        };
        compile_specifier(specifier, parts)?;
        rest = tail;
    }
    Some(())
}

fn compile_specifier(specifier: u8, parts: &mut Vec<Part>) -> Option<()> {
    let part = match specifier {
        b'Y' => Part::Number(Unit::Year, 4),
        b'y' => Part::Number(Unit::ShortYear, 2),
        b'm' => Part::Number(Unit::Month, 2),
        b'd' | b'e' => Part::Number(Unit::Day, 2),
        b'H' | b'k' => Part::Number(Unit::Hour, 2),
        b'M' => Part::Number(Unit::Minute, 2),
        b'S' => Part::Number(Unit::Second, 2),
        b'j' => Part::Number(Unit::Ignored, 3),
        b's' => Part::Epoch,
        b'f' => Part::Fraction(Some(9)),
        b'b' | b'h' => Part::MonthName { full: false },
        b'B' => Part::MonthName { full: true },
        b'a' => Part::WeekdayName { full: false },
        b'A' => Part::WeekdayName { full: true },
        b'z' => Part::Offset,
        b'Z' => Part::ZoneName,
        b'%' => Part::Literal(b'%'),
        b't' => Part::Literal(b'\t'),
        b'F' => return compile_into("%Y-%m-%d", parts),
        b'T' => return compile_into("%H:%M:%S", parts),
        b'R' => return compile_into("%H:%M", parts),
        b'D' => return compile_into("%m/%d/%y", parts),
        b'c' => return compile_into("%a %b %e %H:%M:%S %Y", parts),
        _ => return None,
    };
    parts.push(part);
    Some(())
}

/// What has been read of a time so far.
struct Reading {
    civil: Civil,
    epoch: Option<i64>,
    nanoseconds: i64,
    offset: i64,
}

impl Default for Reading {
    fn default() -> Self {
        let civil = Civil {
            year: 1970,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
        };
        Self {
            civil,
            epoch: None,
            nanoseconds: 0,
            offset: 0,
        }
    }
}

impl Reading {
    /// Reads one part from the front of `text` and returns its length.
    fn take(&mut self, part: &Part, next: Option<&Part>, text: &[u8]) -> Option<usize> {
        match *part {
            Part::Literal(byte) => (*text.first()? == byte).then_some(1),
            Part::Number(unit, width) => {
                let field = text.get(..width)?;
                // %e and %k pad with a space.
                let padded = matches!(unit, Unit::Day | Unit::Hour) && field[0] == b' ';
                self.set(unit, digits(if padded { &field[1..] } else { field })?);
                Some(width)
            }
            Part::Epoch => {
                let run = digit_run(text);
                let fraction = match next {
                    Some(Part::Fraction(Some(width))) => *width,
                    _ => 0,
                };
                let length = run.checked_sub(fraction)?;
                self.epoch = Some(digits(&text[..length])?);
                Some(length)
            }
            Part::Fraction(width) => {
                let length = width.unwrap_or_else(|| digit_run(text));
                self.nanoseconds = fraction_nanoseconds(text.get(..length)?)?;
                Some(length)
            }
            Part::MonthName { full } => {
                let (index, length) = name(&MONTHS, full, text)?;
                self.civil.month = i64::try_from(index).ok()? + 1;
                Some(length)
            }
            Part::WeekdayName { full } => name(&WEEKDAYS, full, text).map(|(_, length)| length),
            Part::Offset => {
                let length = if text.get(3) == Some(&b':') { 6 } else { 5 };
                self.offset = offset_seconds(text.get(..length)?)?;
                Some(length)
            }
            Part::ZoneName => {
                let name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-');
                Some(text.iter().take_while(name).count())
            }
        }
    }

    fn set(&mut self, unit: Unit, number: i64) {
        match unit {
            Unit::Year => self.civil.year = number,
            Unit::ShortYear => self.civil.year = 2000 + number,
            Unit::Month => self.civil.month = number,
            Unit::Day => self.civil.day = number,
            Unit::Hour => self.civil.hour = number,
            Unit::Minute => self.civil.minute = number,
            Unit::Second => self.civil.second = number,
            Unit::Ignored => {}
        }
    }
}

fn digit_run(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Which of `names` (or of their first three letters) `text` begins with, and its length.
fn name(names: &[&str], full: bool, text: &[u8]) -> Option<(usize, usize)> {
    names.iter().enumerate().find_map(|(index, name)| {
        let name = if full { name } else { &name[..3] };
        text.starts_with(name.as_bytes())
            .then_some((index, name.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::{Moment, TimePattern};
    use crate::timestamp::Timestamp;

    fn read(format: &str, text: &str) -> Option<Moment> {
        TimePattern::compile(format, false)
            .unwrap()
            .parse(text.as_bytes())
    }

    /// Format and text as Envoy 1.40 wrote them for one request.
    #[test]
    fn reads_what_envoy_writes() {
        for (format, text, nanoseconds) in [
            ("%s.%9f", "1795419771.883051000", 1_795_419_771_883_051_000),
            ("%s.%3f", "1795419771.883", 1_795_419_771_883_000_000),
            ("%s%3f", "1795419771883", 1_795_419_771_883_000_000),
            ("%s", "1795419771", 1_795_419_771_000_000_000),
            (
                "%Y/%m/%dT%H:%M:%S%z",
                "2026/11/23T07:42:51+0000",
                1_795_419_771_000_000_000,
            ),
            (
                "%d/%b/%Y:%H:%M:%S %z",
                "23/Nov/2026:07:42:51 +0000",
                1_795_419_771_000_000_000,
            ),
            (
                "%Y-%m-%dT%H:%M:%S.%6fZ",
                "2026-11-23T07:42:51.883051Z",
                1_795_419_771_883_051_000,
            ),
            ("%FT%TZ", "2026-11-23T07:42:51Z", 1_795_419_771_000_000_000),
            (
                "%Y-%m-%dT%H:%M:%E3S%Ez",
                "2026-11-23T07:42:51.883+00:00",
                1_795_419_771_883_000_000,
            ),
            ("%c", "Mon Nov 23 07:42:51 2026", 1_795_419_771_000_000_000),
            (
                "%c %Z",
                "Mon Nov 23 07:42:51 2026 UTC",
                1_795_419_771_000_000_000,
            ),
        ] {
            assert_eq!(
                read(format, text),
                Some(Moment::At(Timestamp(nanoseconds))),
                "{format}"
            );
        }
    }

    #[test]
    fn knows_its_precision() {
        let precision = |format| {
            TimePattern::compile(format, false)
                .unwrap()
                .precision_nanoseconds()
        };
        assert_eq!(precision("%s.%9f"), 1);
        assert_eq!(precision("%Y-%m-%dT%H:%M:%S.%3fZ"), 1_000_000);
        assert_eq!(precision("%c"), 1_000_000_000);
        assert_eq!(precision("%F %R"), 60_000_000_000);
    }

    #[test]
    fn a_time_without_a_date_or_a_zone_is_partial() {
        assert_eq!(read("%f", "883051000"), Some(Moment::Partial));
        assert_eq!(read("%H:%M", "07:42"), Some(Moment::Partial));
        let local = TimePattern::compile("%F %T", true).unwrap();
        assert_eq!(local.parse(b"2026-11-23 07:42:51"), Some(Moment::Partial));
        let offset = TimePattern::default_for(true).unwrap();
        let moment = offset.parse(b"2026-11-23T08:42:51.883+0100");
        assert_eq!(
            moment,
            Some(Moment::At(Timestamp(1_795_419_771_883_000_000)))
        );
    }

    #[test]
    fn refuses_what_it_did_not_write() {
        assert_eq!(read("%s.%3f", "1795419771.88"), None);
        assert_eq!(read("%s.%3f", "1795419771.8833"), None);
        assert_eq!(read("%FT%TZ", "2026-11-23T07:42:51"), None);
        assert_eq!(read("%d/%b/%Y", "23/Foo/2026"), None);
        assert_eq!(TimePattern::compile("%q", false), None);
        assert_eq!(TimePattern::compile("%", false), None);
    }
}
