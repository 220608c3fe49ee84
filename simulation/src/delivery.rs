//! In which order the ledger is told what happened: as `witness` does it.

use std::{collections::VecDeque, time::Duration};

use meshwitness::{
    ledger::Input,
    timestamp::Timestamp,
    workload::{Owner, WorkloadFact},
};

use crate::{
    log::Written,
    pod::KUBELET_CGROUP,
    random::Random,
    restart::seen_since,
    scene::{BEGIN, Script},
};

/// The inputs of a scene in the order in which the ledger gets them, of each run of the agent.
pub(crate) fn deliver(script: &mut Script, random: &mut Random) -> Vec<Vec<Input>> {
    let told = std::mem::take(&mut script.told);
    let mut readers: Vec<Reader> = Vec::new();
    for (pod, log) in script.pods.iter().zip(std::mem::take(&mut script.logs)) {
        // A reader that lags behind a step cannot tell which clock stamped a line.
        let may_lag = script.clock_step.is_none();
        readers.push(Reader::new(pod.uid.clone(), log, may_lag, random));
    }
    let Some((stop, start)) = script.restart else {
        let inputs = run(script, told, &mut readers, (BEGIN, script.end), random);
        return vec![match script.clock_step {
            Some(step) => step.apply(inputs),
            None => inputs,
        }];
    };
    let again = seen_since(&told, start);
    vec![
        run(script, told, &mut readers, (BEGIN, stop), random),
        run(script, again, &mut readers, (start, script.end), random),
    ]
}

/// One run of the agent.
fn run(
    script: &Script,
    told: Vec<(Timestamp, Input)>,
    readers: &mut [Reader],
    (start, stop): (Timestamp, Timestamp),
    random: &mut Random,
) -> Vec<Input> {
    let mut inputs = Vec::new();
    let kubelet = WorkloadFact::Cgroup {
        id: KUBELET_CGROUP,
        owner: Owner::Kubelet,
    };
    inputs.extend(script.has_kubelet.then_some(Input::Workload(kubelet)));
    for pod in &script.pods {
        inputs.extend(pod.facts());
    }
    inputs.push(Input::Started { time: start });
    if start == BEGIN {
        for pod in &script.pods {
            inputs.extend(pod.listeners(start));
        }
    }
    let mut told = VecDeque::from(told);
    // The agent looks every 50 ms, or later if it gets no processor.
    let pace = *random.pick(&[(50, 60), (50, 500), (200, 1_500)]);
    let mut now = start;
    while now < stop {
        now = now + random.millis(pace.0, pace.1);
        // The rings are drained more often than the logs are read, and just before, unless the
        // agent gets no processor in between: then lines overtake their connections. A reader that
        // lags behind a step of the clock cannot tell which one stamped a line.
        let captured = now
            - match script.clock_step.is_none() && random.chance(5) {
                true => random.millis(1, 400),
                false => random.micros(1, 200),
            };
        while let Some((_, input)) = told.pop_front_if(|(time, _)| *time < captured) {
            inputs.push(input);
        }
        inputs.push(Input::CaptureProgress(captured));
        for reader in readers.iter_mut() {
            reader.read(now, &script.intake, &mut inputs);
        }
        inputs.push(Input::Tick(now));
    }
    inputs.push(Input::Stopped(now));
    inputs
}

/// Follows one log.
struct Reader {
    pod_uid: String,
    log: VecDeque<Written>,
    /// It lags behind between these moments.
    stuck: (Timestamp, Timestamp),
    last_stamp: Option<Timestamp>,
    read_until: Option<Timestamp>,
}

impl Reader {
    fn new(pod_uid: String, log: Vec<Written>, may_lag: bool, random: &mut Random) -> Self {
        let from = BEGIN + random.millis(0, 5_000);
        let lag = match may_lag && random.chance(20) {
            true => random.millis(0, 15_000),
            false => Duration::ZERO,
        };
        Self {
            pod_uid,
            log: log.into(),
            stuck: (from, from + lag),
            last_stamp: None,
            read_until: None,
        }
    }

    fn read(
        &mut self,
        now: Timestamp,
        intake: &meshwitness::ledger::Intake,
        inputs: &mut Vec<Input>,
    ) {
        let is_stuck = (self.stuck.0..self.stuck.1).contains(&now);
        while !is_stuck && let Some(written) = self.log.pop_front_if(|line| line.readable <= now) {
            self.last_stamp = Some(written.line.time);
            inputs.push(Input::Line(Box::new(intake.line(written.line))));
        }
        let is_behind = self.log.front().is_some_and(|next| next.announced <= now);
        let until = if is_stuck || is_behind {
            self.last_stamp
        } else {
            Some(now)
        };
        self.read_until = self.read_until.max(until);
        if let Some(read_until) = self.read_until {
            let pod_uid = self.pod_uid.as_str().into();
            inputs.push(Input::LogProgress {
                pod_uid,
                read_until,
            });
        }
    }
}
