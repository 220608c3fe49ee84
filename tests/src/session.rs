//! A lab with an agent that watches it and a receiver of its records.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;

use crate::{
    Lab,
    agent::{Agent, Config, Ended},
    pod::PodSpec,
    receiver::Receiver,
    records::Records,
};

/// How long pending units may take to get their verdicts: flush and its margin are 3 s, the
/// ledger's interval is 2 s; where a starved machine lost something, an end of which nothing was
/// told any more is waited for 60 s, and what belongs to it as long again.
const SETTLED: Duration = Duration::from_secs(240);

/// A lab, an agent that was ready before any traffic, a receiver.
pub struct Session {
    // Fields are dropped in this order.
    /// The agent.
    pub agent: Agent,
    /// The receiver of its records.
    pub receiver: Receiver,
    /// The lab.
    pub lab: Lab,
    awaited: Vec<(&'static str, Box<HasCome>)>,
}

type HasCome = dyn Fn(&Records) -> bool + Send + Sync;

/// What is left of a session: data alone.
pub struct Outcome {
    /// All that was received.
    pub records: Records,
    /// How the agent ended.
    pub ended: Ended,
}

impl Session {
    /// Brings everything up, in the order lab, receiver, agent.
    ///
    /// # Errors
    ///
    /// If a part does not come up.
    pub fn start(specs: impl IntoIterator<Item = PodSpec>) -> Result<Self> {
        Self::start_with(specs, |config| config)
    }

    /// The same with a changed configuration of the agent.
    ///
    /// # Errors
    ///
    /// If a part does not come up.
    pub fn start_with(
        specs: impl IntoIterator<Item = PodSpec>,
        change: impl FnOnce(Config) -> Config,
    ) -> Result<Self> {
        let lab = Lab::start(specs)?;
        let receiver = Receiver::start(&lab, "receiver")?;
        let config = change(Config::delivering_to(&lab, "agent", &receiver.endpoint())?);
        let agent = Agent::start(&lab, &config)?;
        Ok(Self {
            agent,
            receiver,
            lab,
            awaited: Vec::new(),
        })
    }

    /// Lets [`Self::settle`] wait also for what the books do not know of yet.
    pub fn await_at_end(
        &mut self,
        what: &'static str,
        has_come: impl Fn(&Records) -> bool + Send + Sync + 'static,
    ) {
        self.awaited.push((what, Box::new(has_come)));
    }

    /// Waits until the books closed with nothing pending, in an interval that began after now.
    ///
    /// # Errors
    ///
    /// If they do not; the message counts what was received and has the agent's stderr.
    pub fn settle(&self) -> Result<Records> {
        for (what, has_come) in &self.awaited {
            self.receiver.wait_for(SETTLED, what, has_come)?;
        }
        let now = Timestamp::now();
        self.receiver
            .wait_for(SETTLED, "settled ledger", |records| {
                records.are_settled_since(now)
            })
            .with_context(|| self.agent.stderr().unwrap_or_default())
    }

    /// Settles, ends the agent, takes the lab down.
    ///
    /// # Errors
    ///
    /// If the books do not settle or the agent does not end as the contract says.
    pub fn finish(self) -> Result<Outcome> {
        self.settle()?;
        self.stop()
    }

    /// Ends the agent whatever is pending, and takes the lab down.
    ///
    /// # Errors
    ///
    /// If the agent does not end as the contract says.
    pub fn stop(self) -> Result<Outcome> {
        let Self {
            agent,
            receiver,
            lab: _lab,
            awaited: _,
        } = self;
        let ended = agent.stop()?;
        receiver.wait_for_event("closed", SETTLED)?;
        let records = receiver.records()?;
        ensure!(
            records.have_stopped(),
            "no stop record, but {} and:\n{}",
            records.summary(),
            ended.stderr
        );
        Ok(Outcome { records, ended })
    }
}
