//! What test programs say at their end.

use anyhow::ensure;

/// What the test programs of one command said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    ignored: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.ignored += other.ignored;
    }
}

impl Counts {
    /// Itself if any test has run: a step without tests is a mistake, not a success.
    pub(super) fn some(self) -> anyhow::Result<Self> {
        ensure!(self.passed > 0, "expected tests, got none");
        Ok(self)
    }

    /// What a whole output says.
    pub(super) fn of(output: &str) -> anyhow::Result<Self> {
        let mut counts = Self::default();
        output.lines().for_each(|line| counts.add_line(line));
        counts.none_ignored()
    }

    pub(super) fn none_ignored(self) -> anyhow::Result<Self> {
        ensure!(
            self.ignored == 0,
            "{} tests were ignored; a test that cannot run here has to fail",
            self.ignored
        );
        Ok(self)
    }

    /// Adds a program's last line: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(super) fn add_line(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        for part in result.split(['.', ';']) {
            match part.trim().split_once(' ') {
                Some((count, "passed")) => self.passed += count.parse().unwrap_or(0),
                Some((count, "ignored")) => self.ignored += count.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn results_of_test_programs_are_added() {
        let mut counts = Counts::default();
        for line in [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test books::passed ... ok",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.00s",
        ] {
            counts.add_line(line);
        }
        assert_eq!(
            counts,
            Counts {
                passed: 15,
                ignored: 1
            }
        );
        assert!(Counts::default().some().is_err());
    }
}
