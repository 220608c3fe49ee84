//! The agent tells how it is: metrics, readiness, health.
#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{PermissionsExt, chown},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lab::{
    Session,
    agent::Agent,
    pod::{APP, PROXY, PodSpec},
    process::User,
};

/// How long to wait for what is told every second, or after a standstill of ten.
const PATIENCE: Duration = Duration::from_secs(60);

const REQUESTS: usize = 5;

/// The value of a sample; none if it is not told.
fn sample(page: &str, name: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

/// Asks a path until the answer is as it should be; what it was last, if it never is.
fn wait_for(agent: &Agent, path: &str, is_right: impl Fn(u16, &str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, body) = agent.telemetry(path).unwrap();
        if is_right(status, &body) {
            return body;
        }
        assert!(Instant::now() < deadline, "{path}: {status}\n{body}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Has the kernel count what programs take, and stops it when it is dropped.
struct Counting(String);

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Counting {
    fn start() -> Self {
        let before = fs::read_to_string(SWITCH).unwrap();
        fs::write(SWITCH, "1").unwrap();
        Self(before)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, &self.0);
    }
}

#[test]
fn metrics_agree_with_what_was_delivered() {
    let _counting = Counting::start();
    let session = Session::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let url = format!("http://{}:8080/told", session.lab.pod("b").addresses().v4);
    for _ in 0..REQUESTS {
        let a = session.lab.pod("a");
        a.run(APP, User::APP, ["curl", "-sS", &url]).unwrap();
    }
    let records = session.settle().unwrap();
    let matched = records.find(|record| record.pod() == "a" && record.verdict() == "matched");
    let matched: i64 = matched.iter().map(|record| record.units().observed).sum();
    assert!(matched >= REQUESTS as i64, "{}", records.summary());

    let of_pod = |pod: &str, side: &str, verdict: &str| {
        format!(
            "meshwitness_pod_units_total{{namespace=\"shop\",pod=\"{pod}\",side=\"{side}\",\
             verdict=\"{verdict}\"}}"
        )
    };
    let expected = Some(matched as f64);
    let page = wait_for(&session.agent, "/metrics", |_, page| {
        sample(page, &of_pod("a", "observed", "matched")) == expected
            && sample(page, "meshwitness_pending_units{side=\"observed\"}") == Some(0.0)
    });
    let sum = |side: &str| {
        sample(
            &page,
            &format!("meshwitness_units_total{{side=\"{side}\",verdict=\"matched\"}}"),
        )
    };
    for side in ["observed", "logged"] {
        let pods = ["a", "b"].map(|pod| sample(&page, &of_pod(pod, side, "matched")).unwrap());
        assert_eq!(sum(side), Some(pods.iter().sum()), "{page}");
    }
    assert_eq!(
        sample(&page, &of_pod("a", "observed", "unlogged")),
        Some(0.0)
    );
    let sink = |name: &str| {
        let endpoint = session.receiver.endpoint();
        sample(
            &page,
            &format!("meshwitness_sink_{name}{{sink=\"{endpoint}\"}}"),
        )
    };
    assert_eq!(sink("connected"), Some(1.0), "{page}");
    assert_eq!(sink("dropped_records_total"), Some(0.0));
    assert_eq!(sink("connection_attempts_total"), Some(1.0));
    assert!(sink("sent_records_total").unwrap() > 0.0);
    let now = Timestamp::now().as_second() as f64;
    assert!(sink("certificate_expiry_timestamp_seconds").unwrap() > now);
    for (name, least, most) in [
        ("meshwitness_log_lag_seconds", 0.0, 60.0),
        ("meshwitness_ring_fill_ratio{ring=\"streams\"}", 0.0, 1.0),
        (
            "meshwitness_ring_size_bytes{ring=\"streams\"}",
            65_536.0,
            1e9,
        ),
        ("meshwitness_bpf_runs_total{program=\"egress\"}", 1.0, 1e9),
        (
            "meshwitness_bpf_run_time_seconds_total{program=\"egress\"}",
            1e-9,
            60.0,
        ),
        ("process_resident_memory_bytes", 1e6, 1e9),
        ("process_cpu_seconds_total", 0.0, 600.0),
        ("process_start_time_seconds", now - 3600.0, now + 1.0),
        ("process_open_fds", 5.0, 1e4),
    ] {
        let value = sample(&page, name).unwrap_or_else(|| panic!("{name}\n{page}"));
        assert!((least..=most).contains(&value), "{name} {value}");
    }
    assert_eq!(session.agent.telemetry("/readyz").unwrap().0, 200);
    assert_eq!(session.agent.telemetry("/healthz").unwrap().0, 200);
    if let Some(file) = std::env::var_os("MESHWITNESS_METRICS") {
        fs::write(file, page).unwrap();
    }
}

#[test]
fn health_fails_while_a_log_grows_that_cannot_be_read() {
    let session = Session::start([PodSpec::new("a")]).unwrap();
    wait_for(&session.agent, "/healthz", |status, _| status == 200);
    // As a rotation by a runtime that gives its files to nobody else would be.
    let live = session.lab.pod("a").container(PROXY).log.path();
    let new = live.with_file_name("new");
    fs::write(&new, "").unwrap();
    chown(&new, Some(65_534), Some(65_534)).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&live, live.with_file_name("0.log.20261125-120000")).unwrap();
    fs::rename(&new, &live).unwrap();
    let grow = || {
        let mut file = OpenOptions::new().append(true).open(&live).unwrap();
        writeln!(file, "{:.9} stdout F a line", Timestamp::now()).unwrap();
    };
    let told = wait_for(&session.agent, "/healthz", |status, _| {
        grow();
        status == 503
    });
    assert!(told.starts_with("log reading: logs grew by "), "{told}");
    chown(&live, Some(0), Some(0)).unwrap();
    wait_for(&session.agent, "/healthz", |status, _| status == 200);
}
