//! The stage: two meshed pods, a host outside, a collector, an agent, and `watch` beside it.

use std::{
    fs::{self, File},
    io::{self, IsTerminal},
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use lab::{
    Lab,
    agent::{self, Agent, Config},
    collector::Collector,
    pod::PodSpec,
    process::{Process, User},
    records::Records,
};
use rustix::thread::CapabilitySet;

use super::incident::Staged;
use crate::progress::Task;

/// How long verdicts may take: `flush` and its margin are 3 s, the ledger's interval is 2 s, and a
/// loaded machine needs more.
const SETTLED: Duration = Duration::from_secs(60);
/// How long a command may take to be ready or to end.
const READY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// Everything that runs. Dropped, or at Ctrl-C, it is gone.
pub(super) struct Mesh {
    // Fields are dropped in this order.
    agent: Agent,
    watch: Watch,
    collector: Collector,
    pub(super) lab: Lab,
}

impl Mesh {
    /// Brings everything up; the agent is ready before there is any traffic.
    pub(super) fn start() -> anyhow::Result<Self> {
        let lab = Task::run(
            "two pods with Envoy sidecars, a host outside the mesh",
            |_| Lab::start([PodSpec::new("a"), PodSpec::new("b")]),
        )?;
        let collector = Task::run("collector", |_| Collector::start(&lab, "demo"))?;
        let agent = Task::run("agent, with three capabilities, then with none", |_| {
            let config = Config::delivering_to(&lab, "agent", &collector.endpoint())?;
            Agent::start(&lab, &config)
        })?;
        let watch = Task::run("watch, beside it", |_| Watch::start(&lab))?;
        Ok(Self {
            agent,
            watch,
            collector,
            lab,
        })
    }

    /// Waits until the collector has each incident and books, of an interval that began after
    /// `since`, in which nothing is pending; and until `watch` has shown as much.
    pub(super) fn settle(
        &self,
        task: &Task,
        since: Timestamp,
        staged: &[Staged],
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + SETTLED;
        loop {
            let records = self.collector.records()?;
            let found = staged.iter().filter(|one| one.find(&records).is_some());
            task.tell(&format!(
                "{} records, {} of {} incidents",
                records.all().len(),
                found.count(),
                staged.len()
            ));
            // What is missed then is for the report to say.
            if records.are_settled_since(since) {
                break;
            }
            if Instant::now() > deadline {
                bail!(
                    "the books were not settled within {SETTLED:?}: {}\nthe agent said:\n{}",
                    records.summary(),
                    self.agent.stderr()?
                );
            }
            thread::sleep(POLL);
        }
        self.watch.wait_for_books(since, deadline)
    }

    /// Ends the agent, and returns what the collector stored and what `watch` printed.
    pub(super) fn stop(self) -> anyhow::Result<(Records, Vec<String>)> {
        let Self {
            agent,
            watch,
            collector,
            lab: _lab,
        } = self;
        let rows = watch.stop()?;
        let ended = agent.stop()?;
        ensure!(
            ended.status.success(),
            "the agent ended with {}: {}",
            ended.status,
            ended.stderr
        );
        let records = collector.records()?;
        ensure!(
            records.have_stopped(),
            "the collector has no stop record, but {}",
            records.summary()
        );
        Ok((records, rows))
    }
}

/// `meshwitness watch`, printing into a file.
struct Watch {
    process: Process,
    output: PathBuf,
    errors: PathBuf,
}

impl Watch {
    fn start(lab: &Lab) -> anyhow::Result<Self> {
        let directory = lab.directory().join("watch");
        fs::create_dir_all(&directory)?;
        let config = directory.join("watch.yaml");
        fs::write(&config, Config::new(lab, "watch")?.text())?;
        let (output, errors) = (directory.join("stdout"), directory.join("stderr"));
        let mut place = lab.node(User::ROOT);
        place.capabilities =
            Some(CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN);
        let mut command = place.command([agent::binary()?.as_os_str()])?;
        command
            .args(["watch", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::create(&errors)?);
        if io::stdout().is_terminal() {
            // Into a file, and shown on a terminal later.
            command.env("CLICOLOR_FORCE", "1");
        }
        let process = Process::start(&mut command)?;
        let mut watch = Self {
            process,
            output,
            errors,
        };
        watch.wait_until_ready()?;
        Ok(watch)
    }

    /// The heading is printed once the programs are attached.
    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        while self.rows()?.is_empty() {
            if self.process.has_ended() || Instant::now() > deadline {
                bail!(
                    "watch is not ready; it said:\n{}",
                    fs::read_to_string(&self.errors)?
                );
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits until it has closed books of its own without anything pending.
    fn wait_for_books(&self, since: Timestamp, deadline: Instant) -> anyhow::Result<()> {
        let since = format!("{since:.6}");
        let clock = since.get(11..26).context("expected a time of day")?;
        loop {
            let rows = self.rows()?;
            let is_settled = rows.last().is_some_and(|row| {
                let text = plain(row);
                text.contains(" books ") && text.ends_with("pending 0/0") && &text[..15] > clock
            });
            if is_settled {
                return Ok(());
            }
            if Instant::now() > deadline {
                let last = rows.last().map(String::as_str).unwrap_or_default();
                bail!(
                    "watch did not come to settled books; its last row: {last}\nit said:\n{}",
                    fs::read_to_string(&self.errors)?
                );
            }
            thread::sleep(POLL);
        }
    }

    /// Whole rows that it printed so far, the heading first.
    fn rows(&self) -> anyhow::Result<Vec<String>> {
        let text = fs::read_to_string(&self.output)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Ok(whole.lines().map(str::to_owned).collect())
    }

    fn stop(mut self) -> anyhow::Result<Vec<String>> {
        let rows = self.rows()?;
        let status = self.process.stop(READY)?;
        ensure!(
            status.success(),
            "watch ended with {status}: {}",
            fs::read_to_string(&self.errors)?
        );
        Ok(rows)
    }
}

/// A row without colours.
pub(super) fn plain(row: &str) -> String {
    anstream::adapter::strip_str(row).to_string()
}
