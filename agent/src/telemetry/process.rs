//! The agent's own process, under the names that Prometheus' client libraries use.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};

use super::exposition::{Exposition, MetricType};

/// What the kernel tells of this process; what it does not tell is left out.
pub(super) fn render(page: &mut Exposition) {
    if let Some(numbers) = Numbers::read() {
        numbers.render(page);
    }
    let descriptors = fs::read_dir("/proc/self/fd").map(|entries| entries.count());
    if let Ok(descriptors) = descriptors {
        page.metric(
            MetricType::Gauge,
            "process_open_fds",
            "Number of open file descriptors.",
        )
        .sample(&[], descriptors);
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if let Some(limit) = limit.current {
        page.metric(
            MetricType::Gauge,
            "process_max_fds",
            "Maximum number of open file descriptors.",
        )
        .sample(&[], limit);
    }
}

/// Of /proc/self/stat and /proc/stat.
#[derive(Debug, PartialEq)]
struct Numbers {
    cpu_seconds: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
    start_seconds: f64,
}

impl Numbers {
    fn read() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        let system = fs::read_to_string("/proc/stat").ok()?;
        Self::parse(&own, &system)
    }

    /// proc(5): the command, in parentheses, may hold any character; fields are counted from 1.
    #[expect(clippy::cast_precision_loss, reason = "seconds with a fraction")]
    fn parse(own: &str, system: &str) -> Option<Self> {
        const FIRST: usize = 3;
        let (_, rest) = own.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - FIRST)?.parse::<u64>().ok();
        let booted = system
            .lines()
            .find_map(|line| line.strip_prefix("btime "))?;
        let booted: u64 = booted.trim().parse().ok()?;
        let ticks = clock_ticks_per_second() as f64;
        let (user, kernel, started) = (field(14)?, field(15)?, field(22)?);
        Some(Self {
            cpu_seconds: (user + kernel) as f64 / ticks,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page_size() as u64,
            start_seconds: booted as f64 + started as f64 / ticks,
        })
    }

    fn render(&self, page: &mut Exposition) {
        page.metric(
            MetricType::Counter,
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
        )
        .sample(&[], self.cpu_seconds)
        .metric(
            MetricType::Gauge,
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
        )
        .sample(&[], self.virtual_bytes)
        .metric(
            MetricType::Gauge,
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
        )
        .sample(&[], self.resident_bytes)
        .metric(
            MetricType::Gauge,
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
        )
        .sample(&[], self.start_seconds);
    }
}

#[cfg(test)]
mod tests {
    use rustix::param::{clock_ticks_per_second, page_size};

    use super::Numbers;

    #[test]
    fn fields_are_counted_behind_the_command() {
        let own = "7 (a) b 9) S 1 1 1 0 -1 4 0 0 0 0 100 50 0 0 20 0 3 0 500 4096 10 18446744073709551615";
        let ticks = clock_ticks_per_second();
        let numbers = Numbers::parse(own, "cpu 1\nbtime 1000\n").unwrap();
        let expected = Numbers {
            cpu_seconds: 150.0 / ticks as f64,
            virtual_bytes: 4096,
            resident_bytes: 10 * page_size() as u64,
            start_seconds: 1000.0 + 500.0 / ticks as f64,
        };
        assert_eq!(numbers, expected);
        assert_eq!(Numbers::parse("", ""), None);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let age = now.unwrap().as_secs_f64() - Numbers::read().unwrap().start_seconds;
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }
}
