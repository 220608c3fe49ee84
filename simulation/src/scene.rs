//! One scene, made from a seed: what happens on a node, how it is told, and the truth about it.

use std::{collections::HashSet, mem, time::Duration};

use meshwitness::{
    http::Gap,
    ledger::{Input, Intake, Settings},
    record::{Fingerprints, IdentityRedaction, QueryRedaction, Redaction},
    timestamp::Timestamp,
};

use crate::{
    clock_step::ClockStep,
    flows,
    log::{Damage, Log, Written},
    losses::CAUSES,
    pod::{Kind, Pod},
    random::Random,
    sidecars::{Carried, PlainLeg},
    traffic::SPAN_MILLISECONDS,
    truth::Truth,
};

/// When the programs are attached.
pub(crate) const BEGIN: Timestamp = Timestamp(1_800_000_000_000_000_000);

/// When the last reader of logs has caught up.
pub(crate) const LONGEST_LAG: Duration = Duration::from_secs(20);

/// A scene while it is made.
pub(crate) struct Scene {
    pub(crate) random: Random,
    pub(crate) pods: Vec<Pod>,
    pub(crate) logs: Vec<Log>,
    pub(crate) truth: Truth,
    pub(crate) intake: Intake,
    /// What the capture tells, and when.
    pub(crate) told: Vec<(Timestamp, Input)>,
    pub(crate) next_connection: u64,
    /// The agent knows the kubelet's cgroup.
    pub(crate) has_kubelet: bool,
    /// Why the capture misses something, if it does.
    pub(crate) cause: Gap,
    pub(crate) flush: Duration,
    /// What proxies carried for their apps.
    pub(crate) carried: Vec<Carried>,
    pub(crate) plain_legs: Vec<PlainLeg>,
    moments: HashSet<Timestamp>,
    /// When everything is over.
    end: Timestamp,
}

/// A scene as it is delivered.
pub(crate) struct Script {
    pub(crate) settings: Settings,
    pub(crate) has_kubelet: bool,
    pub(crate) pods: Vec<Pod>,
    pub(crate) told: Vec<(Timestamp, Input)>,
    /// The log of each pod.
    pub(crate) logs: Vec<Vec<Written>>,
    pub(crate) intake: Intake,
    pub(crate) truth: Truth,
    /// The wall clock is set.
    pub(crate) clock_step: Option<ClockStep>,
    /// The agent stops and starts at these moments.
    pub(crate) restart: Option<(Timestamp, Timestamp)>,
    /// When everything that can be judged is to be judged.
    pub(crate) end: Timestamp,
}

impl Script {
    /// The scene of a seed.
    pub(crate) fn new(seed: u64) -> (Self, Random) {
        let mut scene = Scene::new(seed);
        scene.play();
        scene.play_apart(!seed, Scene::play_datagrams);
        scene.play_apart(seed.rotate_left(32), Scene::carried_in_plaintext);
        scene.play_apart(seed.rotate_left(16), Scene::play_shadows);
        scene.finish()
    }
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let step = ClockStep::any(BEGIN, &mut random);
        let clock_step = random.chance(20).then_some(step);
        let mut truth = Truth::default();
        truth.clock_step = clock_step;
        let flush = Duration::from_secs(*random.pick(&[1, 1, 3, 10]));
        let count = usize::try_from(random.between(1, 3)).unwrap();
        let pods: Vec<Pod> = (0..count)
            .map(|index| Pod::new(index, &mut random))
            .collect();
        Self {
            logs: pods
                .iter()
                .map(|pod| match clock_step {
                    None => Log::new(pod, &mut random),
                    Some(_) => Log::new(pod, &mut random).plain(),
                })
                .collect(),
            pods,
            truth,
            intake: intake(),
            told: Vec::new(),
            next_connection: 1,
            has_kubelet: random.chance(50),
            cause: *random.pick(&CAUSES),
            flush,
            carried: Vec::new(),
            plain_legs: Vec::new(),
            moments: HashSet::new(),
            end: BEGIN,
            random,
        }
    }

    /// Everything that happens.
    fn play(&mut self) {
        for pod in 0..self.pods.len() {
            match self.pods[pod].kind {
                Kind::Meshed => {
                    self.requests(pod);
                    if self.logs[pod].damage == Damage::None {
                        self.streams_of_bytes(pod);
                    }
                    // What of an exchange lies on which side of a step is not known well enough.
                    if self.logs[pod].damage == Damage::None && self.truth.clock_step.is_none() {
                        self.retried_requests(pod);
                        self.requests_tried_again(pod);
                    }
                    if self.logs[pod].damage == Damage::None && self.random.chance(25) {
                        self.proxy_ends(pod);
                    }
                    self.answers_of_the_proxy(pod);
                    self.past_the_proxy(pod);
                    self.among_sidecars(pod);
                }
                Kind::Plain => self.without_a_sidecar(pod),
                Kind::Gateway => self.through_a_gateway(pod),
            }
            for _ in 0..self.random.between(0, 3) {
                let time = BEGIN + self.random.millis(0, SPAN_MILLISECONDS);
                self.logs[pod].other_output(time);
            }
        }
    }

    /// Plays by chance of its own: the rest is what it is without.
    fn play_apart(&mut self, seed: u64, play: impl FnOnce(&mut Self)) {
        let rest = mem::replace(&mut self.random, Random::new(seed));
        play(self);
        self.random = rest;
    }

    /// What goes by UDP.
    fn play_datagrams(&mut self) {
        for pod in 0..self.pods.len() {
            match self.pods[pod].kind {
                Kind::Meshed => self.datagrams(pod),
                Kind::Plain => self.datagrams_without_a_sidecar(pod),
                Kind::Gateway => {}
            }
        }
    }

    /// What is sent several times at once.
    fn play_shadows(&mut self) {
        for pod in 0..self.pods.len() {
            let has_lines = self.logs[pod].damage == Damage::None;
            let is_meshed = self.pods[pod].kind == Kind::Meshed;
            if is_meshed && has_lines && self.truth.clock_step.is_none() {
                self.shadowed_requests(pod);
            }
        }
    }

    /// A moment near `time` at which nothing else of the scene happens: moments name units.
    pub(crate) fn moment(&mut self, mut time: Timestamp) -> Timestamp {
        while !self.moments.insert(time) {
            time = time + Duration::from_nanos(1);
        }
        self.end = self.end.max(time);
        time
    }

    /// The capture tells something at this moment.
    pub(crate) fn tell(&mut self, time: Timestamp, input: Input) {
        self.end = self.end.max(time);
        self.told.push((time, input));
    }

    fn finish(mut self) -> (Script, Random) {
        self.told.sort_by_key(|(time, _)| *time);
        let (mut logs, mut end) = (Vec::new(), self.end);
        let mut stalled = false;
        for log in self.logs {
            if let Damage::Stalled(_, to) = log.damage {
                (end, stalled) = (end.max(to), true);
            }
            let damage = log.damage;
            let written = log.write(BEGIN, self.flush, &mut self.random, &mut self.truth);
            for leg in &self.plain_legs {
                if leg.pod == logs.len() {
                    let uid = self.pods[leg.pod].uid.clone();
                    let plaintext = leg.judge(&written, damage);
                    self.truth.plaintext.insert((uid, leg.source), plaintext);
                }
            }
            logs.push(written);
        }
        let settings = settings(self.flush, &mut self.random);
        let stop = BEGIN + self.random.millis(500, 12_000);
        let start = stop + self.random.millis(1_600, 6_000);
        // A line that is late for one run is nothing to the next.
        let may_stop = !stalled && self.truth.clock_step.is_none();
        let restart = (may_stop && self.random.chance(25)).then_some((stop, start));
        let clock_step = self.truth.clock_step;
        let script = Script {
            restart,
            clock_step,
            settings,
            has_kubelet: self.has_kubelet,
            pods: self.pods,
            told: self.told,
            logs,
            intake: self.intake,
            truth: self.truth,
            end: end.max(BEGIN + LONGEST_LAG) + self.flush * 2 + Duration::from_secs(15),
        };
        (script, self.random)
    }
}

fn settings(flush: Duration, random: &mut Random) -> Settings {
    Settings {
        start_id: "s".into(),
        node: "n1".into(),
        version: "0".into(),
        proxy_containers: vec!["istio-proxy".into()],
        mesh_listeners: vec![15001, 15006],
        mesh_admin: vec![15000],
        flush,
        interval: Duration::from_secs(*random.pick(&[1, 5, 60])),
        earlier_run: false,
        observe: false,
        policy: vec![flows::declared()],
        sinks: Vec::new(),
    }
}

fn intake() -> Intake {
    let headers = ["user-agent", "x-request-id", "x-forwarded-for"];
    let redaction = Redaction {
        identity: IdentityRedaction::default(),
        query: QueryRedaction::Values,
        paths: Vec::new(),
        headers: headers.map(Into::into).to_vec(),
    };
    Intake::new(Fingerprints::new(&[7; 16]), redaction)
}
