//! The files of one container, in the order in which they were written.

use serde::{Deserialize, Serialize};

/// Which file of a container's log it is. Later ones are greater.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Generation {
    /// How often the container had been restarted.
    pub(super) restart: u64,
    pub(super) rank: Rank,
}

/// Where a file stands among those of one life of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rank {
    /// Renamed by the kubelet, at this time (`YYYYMMDD-HHMMSS`).
    Rotated(String),
    /// What the runtime writes to.
    Live,
}

/// Reads a file's name: `0.log`, `0.log.20260822-101112`, `0.log.20260822-101112.gz`. The second
/// value says whether it is compressed. Others, such as `….tmp`, are none.
pub(super) fn parse(name: &str) -> Option<(Generation, bool)> {
    let (restart, rest) = name.split_once(".log")?;
    let digits = !restart.is_empty() && restart.bytes().all(|byte| byte.is_ascii_digit());
    digits.then_some(())?;
    let restart = restart.parse().ok()?;
    if rest.is_empty() {
        return Some((
            Generation {
                restart,
                rank: Rank::Live,
            },
            false,
        ));
    }
    let rest = rest.strip_prefix('.')?;
    let (time, compressed) = match rest.strip_suffix(".gz") {
        Some(time) => (time, true),
        None => (rest, false),
    };
    let well_formed = time.len() == 15
        && time.bytes().enumerate().all(|(index, byte)| match index {
            8 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    well_formed.then(|| {
        (
            Generation {
                restart,
                rank: Rank::Rotated(time.to_owned()),
            },
            compressed,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn orders_names_as_written() {
        let names = [
            "0.log.20260822-101112.gz",
            "0.log.20260822-101113",
            "0.log.20260823-000000",
            "0.log",
            "1.log.20260101-000000",
            "1.log",
            "10.log",
        ];
        let generations: Vec<_> = names.iter().map(|name| parse(name).unwrap().0).collect();
        assert!(generations.is_sorted_by(|a, b| a < b));
        assert!(parse(names[0]).unwrap().1);
        assert!(!parse(names[1]).unwrap().1);
    }

    #[test]
    fn other_names_are_none() {
        for name in [
            "",
            ".log",
            "x.log",
            "+1.log",
            "0.log.tmp",
            "0.log.20260822-101112.tmp",
            "0.log.20260822-101112.gz.tmp",
            "0.log.20260822101112x",
            "0.logs",
            "99999999999999999999.log",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
