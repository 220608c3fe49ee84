//! Every odd case that the contract names, each a scenario with real Envoy.
//!
//! Scenarios that need the same agent share a session: a lab, an agent, a receiver. Each plays in
//! pods or on paths of its own and is judged for itself, from the received records alone, against
//! what nginx, curl and Envoy wrote. At the end a table says what came of each; the same table
//! stands in `docs/scenarios.md`.
//!
//! `cargo test --package lab --test scenarios -- <part of a name>` plays some of them,
//! `-- --list` names them all.

#![expect(
    clippy::print_stdout,
    reason = "the table is what the program says at its end"
)]

mod aborts;
mod announced;
mod attacks;
mod clock;
mod declared;
mod elsewhere;
mod evidence;
mod flags;
mod formats;
mod heads;
mod health;
mod hostile;
mod interim;
mod killed;
mod lag;
mod load;
mod logs;
mod messages;
mod paths;
mod pods;
mod refused;
mod replies;
mod retries;
mod rewrites;
mod silent;
mod sockets;
mod stage;
mod table;
mod tcp;
mod tls;
mod traffic;

use std::{
    collections::HashSet,
    mem,
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libtest_mimic::{Arguments, Failed, Trial};

use stage::{Group, Verdicts};

/// All of them, in the order in which they are played and told.
const GROUPS: [&Group; 13] = [
    &Group {
        name: "ordinary",
        config: |config| config,
        chapters: &[
            // What it waits for comes while the others are played.
            &silent::CHAPTER,
            &messages::CHAPTER,
            &paths::CHAPTER,
            &heads::CHAPTER,
            &aborts::CHAPTER,
            &retries::CHAPTER,
            &replies::CHAPTER,
            &announced::CHAPTER,
            &refused::CHAPTER,
            &flags::CHAPTER,
            &rewrites::CHAPTER,
            &interim::CHAPTER,
            &health::CHAPTER,
            &tcp::CHAPTER,
            &tls::CHAPTER,
            &sockets::CHAPTER,
            &attacks::datagrams::ODDITIES,
            &pods::CHAPTER,
            &elsewhere::CHAPTER,
            &logs::CHAPTER,
        ],
    },
    &Group {
        name: "attacks",
        config: |config| config,
        chapters: &[
            &attacks::lines::CHAPTER,
            &attacks::bytes::CHAPTER,
            &attacks::tls::CHAPTER,
            &attacks::bypasses::CHAPTER,
            &attacks::datagrams::CHAPTER,
            &attacks::guards::CHAPTER,
            &attacks::injection::CHAPTER,
        ],
    },
    &Group {
        name: "policy",
        config: attacks::policy::config,
        chapters: &[&attacks::policy::CHAPTER],
    },
    &Group {
        name: "restart",
        config: |config| config,
        chapters: &[&attacks::older::CHAPTER],
    },
    &Group {
        name: "string",
        config: formats::with_string,
        chapters: &[&formats::TEXT],
    },
    &Group {
        name: "json",
        config: formats::with_object,
        chapters: &[&formats::JSON],
    },
    &Group {
        name: "declared",
        config: declared::config,
        chapters: &[&declared::CHAPTER],
    },
    &Group {
        name: "killed",
        config: killed::config,
        chapters: &[&killed::CHAPTER],
    },
    &Group {
        name: "clock",
        config: |config| config,
        chapters: &[&clock::CHAPTER],
    },
    &Group {
        name: "lag",
        config: |config| config,
        chapters: &[&lag::CHAPTER],
    },
    &Group {
        name: "hostile",
        config: |config| config,
        chapters: &[
            &hostile::content::CHAPTER,
            &hostile::terminal::CHAPTER,
            &hostile::directory::CHAPTER,
        ],
    },
    &Group {
        name: "flood",
        config: |config| config,
        chapters: &[&hostile::crowds::FLOOD],
    },
    &Group {
        name: "churn",
        config: |config| config,
        chapters: &[&hostile::crowds::CHURN],
    },
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let told = Arc::new(Mutex::new(Verdicts::new()));
    let mut trials = vec![Trial::test("table", || {
        table::compare(&GROUPS).map_err(|error| Failed::from(format!("{error:#}")))
    })];
    for group in GROUPS {
        trials.extend(trials_of(group, &arguments, &told));
    }
    let names: HashSet<&str> = trials.iter().map(Trial::name).collect();
    assert_eq!(names.len(), trials.len(), "a name is there twice");
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        println!("\n{}", table::outcomes(&GROUPS, &lock(&told)));
    }
    conclusion.exit_code()
}

/// A trial for each scenario and one for the books; the first that runs plays for all.
fn trials_of(
    group: &'static Group,
    arguments: &Arguments,
    told: &Arc<Mutex<Verdicts>>,
) -> Vec<Trial> {
    let waiting: Arc<Mutex<Vec<String>>> = Arc::default();
    let trials: Vec<Trial> = group
        .names()
        .map(|name| {
            let (waiting, told) = (Arc::clone(&waiting), Arc::clone(told));
            Trial::test(name.clone(), move || {
                let mut told = lock(&told);
                let selected = mem::take(&mut *lock(&waiting));
                if !selected.is_empty() {
                    told.extend(stage::play(group, &selected));
                }
                let told = told.get(&name).cloned();
                told.unwrap_or_else(|| Err("it was not played".to_owned()))
                    .map_err(Failed::from)
            })
        })
        .collect();
    let selected = trials
        .iter()
        .filter(|trial| !arguments.is_filtered_out(trial));
    *lock(&waiting) = selected.map(|trial| trial.name().to_owned()).collect();
    trials
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
