//! Moments as container runtimes and Envoy write them.

mod pattern;

pub(super) use pattern::{Moment, TimePattern};

use crate::timestamp::Timestamp;

const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;

/// Reads a time of RFC 3339 section 5.6 with up to nine digits of a second.
pub(super) fn parse_rfc3339(bytes: &[u8]) -> Option<Timestamp> {
    let [date_time, rest] = [bytes.get(..19)?, bytes.get(19..)?];
    for (index, separator) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        if date_time[index] != separator {
            return None;
        }
    }
    let number = |from: usize, to: usize| digits(&date_time[from..to]);
    let civil = Civil {
        year: number(0, 4)?,
        month: number(5, 7)?,
        day: number(8, 10)?,
        hour: number(11, 13)?,
        minute: number(14, 16)?,
        second: number(17, 19)?,
    };
    let (nanoseconds, zone) = match rest {
        [b'.', fraction @ ..] => {
            let length = fraction
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            (
                fraction_nanoseconds(&fraction[..length])?,
                &fraction[length..],
            )
        }
        _ => (0, rest),
    };
    let offset = match zone {
        b"Z" => 0,
        _ => offset_seconds(zone)?,
    };
    timestamp(civil.epoch_seconds()? - offset, nanoseconds)
}

/// A date and a time of day, without a zone.
#[derive(Clone, Copy, Debug)]
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    /// 60 in a leap second.
    second: i64,
}

impl Civil {
    /// Seconds since the Unix epoch, as if the zone were UTC.
    fn epoch_seconds(self) -> Option<i64> {
        let valid = (1970..=9999).contains(&self.year)
            && (1..=12).contains(&self.month)
            && (1..=self.month_days()).contains(&self.day)
            && (0..=23).contains(&self.hour)
            && (0..=59).contains(&self.minute)
            && (0..=60).contains(&self.second);
        valid.then(|| ((self.days() * 24 + self.hour) * 60 + self.minute) * 60 + self.second)
    }

    /// The days of its month.
    fn month_days(self) -> i64 {
        let is_leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        match self.month {
            2 => 28 + i64::from(is_leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    /// Days since 1970-01-01 in the Gregorian calendar, counted in years that begin in March, so
    /// that the leap day comes last.
    fn days(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let month = (self.month + 9) % 12;
        let leap_days = year / 4 - year / 100 + year / 400;
        year * 365 + leap_days + (month * 153 + 2) / 5 + self.day - 719_469
    }
}

fn timestamp(seconds: i64, nanoseconds: i64) -> Option<Timestamp> {
    let total = seconds
        .checked_mul(NANOSECONDS_PER_SECOND)?
        .checked_add(nanoseconds)?;
    u64::try_from(total).ok().map(Timestamp)
}

/// A number of up to 18 decimal digits.
fn digits(bytes: &[u8]) -> Option<i64> {
    if bytes.is_empty() || bytes.len() > 18 {
        return None;
    }
    bytes.iter().try_fold(0, |number: i64, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + i64::from(byte - b'0'))
    })
}

/// The digits behind the point, as nanoseconds.
fn fraction_nanoseconds(bytes: &[u8]) -> Option<i64> {
    if bytes.len() > 9 {
        return None;
    }
    let missing = u32::try_from(9 - bytes.len()).ok()?;
    Some(digits(bytes)? * 10_i64.pow(missing))
}

/// `+hh:mm` or `+hhmm`, as seconds east of UTC.
fn offset_seconds(bytes: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match bytes {
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => (sign, [*h1, *h2], [*m1, *m2]),
        _ => return None,
    };
    let hours = digits(&hours).filter(|hours| *hours < 24)?;
    let minutes = digits(&minutes).filter(|minutes| *minutes < 60)?;
    let seconds = (hours * 60 + minutes) * 60;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::parse_rfc3339;

    #[test]
    fn agrees_with_an_independent_calendar() {
        for text in [
            "2026-11-22T08:08:17.919038000Z",
            "2026-11-22T08:08:17Z",
            "2024-02-29T23:59:59.999999999+05:30",
            "2000-03-01T00:00:00.5-08:00",
            "1970-01-01T00:00:00Z",
            "2100-02-28T12:00:00.000000001Z",
        ] {
            let expected: jiff::Timestamp = text.parse().unwrap();
            let expected = u64::try_from(expected.as_nanosecond()).unwrap();
            assert_eq!(
                parse_rfc3339(text.as_bytes()).unwrap().0,
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22 08:08:17Z",
            "2026-11-22T08:08:17",
            "2026-13-22T08:08:17Z",
            "2026-11-22T08:08:17.Z",
            "2026-11-22T08:08:17.0123456789Z",
            "2026-11-22T08:08:17+1:00",
            "1969-12-31T23:59:59Z",
            "2026-02-29T08:08:17Z",
            "2100-02-29T08:08:17Z",
            "2026-04-31T08:08:17Z",
            "2026-11-22T08:08:17+24:00",
            "2026-11-22T08:08:17+01:60",
        ] {
            assert_eq!(parse_rfc3339(text.as_bytes()), None, "{text}");
        }
    }
}
