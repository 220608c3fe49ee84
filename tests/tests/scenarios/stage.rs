//! What a scenario is, and how those of a group are played.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lab::{Session, agent::Config, pod::PodSpec, records::Record};

use crate::{
    evidence::Evidence,
    load::{self, Load},
};

/// The agent has to end within this time (CONTRACT 1).
const END: Duration = Duration::from_secs(5);

/// What came of each scenario, and of each group's books.
pub(crate) type Verdicts = BTreeMap<String, Result<(), String>>;

/// Judges what was received, by what the play has learnt.
pub(crate) type Judge = Box<dyn FnOnce(&Evidence) -> Result<()>>;

/// One case of the contract.
pub(crate) struct Scenario {
    /// Its name, which stays: people look for it.
    pub(crate) name: &'static str,
    /// What happens.
    pub(crate) happens: &'static str,
    /// What the records say of it.
    pub(crate) recorded: &'static str,
    /// What is found: the pod, and the finding's id. Nothing else may be.
    pub(crate) finds: &'static [(&'static str, &'static str)],
    /// The pods it plays in. A pod that several scenarios ask for is there once; who changes a pod
    /// or has somebody accused asks for one of its own.
    pub(crate) pods: fn() -> Vec<PodSpec>,
    /// Makes it happen and says how to judge it.
    pub(crate) play: fn(&mut Session) -> Result<Judge>,
}

/// Scenarios of one subject.
pub(crate) struct Chapter {
    pub(crate) title: &'static str,
    pub(crate) scenarios: &'static [Scenario],
}

/// Scenarios that share a session.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    /// The agent's configuration.
    pub(crate) config: fn(Config) -> Config,
    pub(crate) chapters: &'static [&'static Chapter],
}

impl Group {
    /// The names of what is judged: each scenario, the group's books, and the clean traffic beside
    /// them.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.scenarios()
            .map(|scenario| scenario.name.to_owned())
            .chain([self.books()])
            .chain(self.is_under_load().then(|| self.load()))
    }

    /// Whether 1,000 clean requests a second go on beside its scenarios, if all of it is played.
    fn is_under_load(&self) -> bool {
        ["ordinary", "attacks"].contains(&self.name)
    }

    fn load(&self) -> String {
        format!("load_beside_{}", self.name)
    }

    fn scenarios(&self) -> impl Iterator<Item = &'static Scenario> {
        self.chapters.iter().flat_map(|chapter| chapter.scenarios)
    }

    fn books(&self) -> String {
        format!("books_of_{}", self.name)
    }
}

/// A judge.
pub(crate) fn judge(judge: impl FnOnce(&Evidence) -> Result<()> + 'static) -> Result<Judge> {
    Ok(Box::new(judge))
}

/// Plays those scenarios of a group that are in `names`, and judges each and the books.
pub(crate) fn play(group: &Group, names: &[String]) -> Verdicts {
    let selected: Vec<&Scenario> = group
        .scenarios()
        .filter(|scenario| names.iter().any(|name| name == scenario.name))
        .collect();
    let under_load = names.contains(&group.load());
    let (judges, load, evidence) = match perform(group, &selected, under_load) {
        Ok(performed) => performed,
        Err(error) => {
            let told = Err(format!("{error:#}"));
            return group.names().map(|name| (name, told.clone())).collect();
        }
    };
    let judged: Vec<Result<()>> = judges
        .into_iter()
        .map(|judge| judge.and_then(|judge| guarded(|| judge(&evidence))))
        .collect();
    // All have said what they are about before any asks for what else there is.
    let judged = selected.iter().zip(judged).map(|(scenario, judged)| {
        let pods = (scenario.pods)();
        let judged = judged
            .and_then(|()| evidence.nobody_else_is_accused(&pods))
            .and_then(|()| evidence.findings_are(&pods, &finds(&selected)));
        (scenario.name.to_owned(), judged)
    });
    let load = load.map(|load| (group.load(), load.and_then(|sent| sent.check(&evidence))));
    let verdicts: Verdicts = judged
        .chain([(group.books(), check_end(&evidence))])
        .chain(load)
        .map(|(name, judged)| (name, judged.map_err(|error| format!("{error:#}"))))
        .collect();
    if verdicts.values().any(Result::is_err) {
        keep_records(group, &evidence);
    }
    verdicts
}

/// Leaves what was received to whoever looks for the cause.
fn keep_records(group: &Group, evidence: &Evidence) {
    let name = format!("records-{}.jsonl", group.name);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let lines: Vec<&str> = evidence.records.all().iter().map(Record::line).collect();
    match fs::write(&file, lines.join("\n")) {
        Ok(()) => println!("what was received is in {}", file.display()),
        Err(error) => println!("writing {}: {error}", file.display()),
    }
}

type Performed = (Vec<Result<Judge>>, Option<Result<load::Sent>>, Evidence);

fn perform(group: &Group, selected: &[&Scenario], under_load: bool) -> Result<Performed> {
    let load_pods = under_load.then(load::pods).into_iter().flatten();
    let all = pods(selected).into_iter().chain(load_pods);
    let mut session = Session::start_with(all, group.config)?;
    let load = under_load.then(|| Load::start(&session)).transpose()?;
    let judges = selected
        .iter()
        .map(|scenario| guarded(|| (scenario.play)(&mut session)).context("playing"))
        .collect();
    let sent = load.map(Load::finish);
    Ok((judges, sent, Evidence::gather(session)?))
}

/// All pods that are asked for, each once. It knows those that it plays with.
fn pods(selected: &[&Scenario]) -> Vec<PodSpec> {
    let casts: Vec<Vec<PodSpec>> = selected.iter().map(|scenario| (scenario.pods)()).collect();
    let mut pods: Vec<PodSpec> = Vec::new();
    for pod in casts.iter().flatten() {
        if pods.iter().all(|found| found.name() != pod.name()) {
            let of_pod = casts
                .iter()
                .filter(|cast| cast.iter().any(|other| other.name() == pod.name()));
            pods.push(pod.clone().knowing(of_pod.flatten().map(PodSpec::name)));
        }
    }
    pods
}

/// What they all have found.
fn finds(selected: &[&Scenario]) -> BTreeSet<(&'static str, &'static str)> {
    let finds = selected.iter().flat_map(|scenario| scenario.finds);
    finds.copied().collect()
}

/// A scenario that panics has failed; the others go on.
fn guarded<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(anyhow!(message(&*panic))))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// The books add up, and the agent ended as it should.
fn check_end(evidence: &Evidence) -> Result<()> {
    if let Err(error) = &evidence.books {
        bail!("{error:#}");
    }
    let ended = &evidence.ended;
    ensure!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
    ensure!(ended.after < END, "the agent ended after {:?}", ended.after);
    Ok(())
}
