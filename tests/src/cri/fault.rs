//! Faults that wait for their line.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::lock;

/// What a fault does to the line that it meets.
pub enum Fault {
    /// The line is lost.
    Drop,
    /// Another line is written in its place.
    Edit(Box<dyn Fn(&str) -> String + Send>),
    /// The line is written twice.
    Repeat,
    /// It is written later, and with it all that follow.
    Delay(Duration),
}

/// A fault that waits for its line.
struct Trap {
    matches: Box<dyn Fn(&str) -> bool + Send>,
    /// How many matching lines still pass before the one that is meant.
    before: usize,
    fault: Fault,
    sprung: Arc<Mutex<Option<String>>>,
}

/// Shows whether a fault has met its line.
#[derive(Clone)]
pub struct Sprung(Arc<Mutex<Option<String>>>);

impl Sprung {
    /// The line as the container wrote it, once the fault has met it.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        lock(&self.0).clone()
    }
}

/// Faults that have not met their lines yet.
#[derive(Default)]
pub(super) struct Traps(Vec<Trap>);

impl Traps {
    /// Sets a fault for the `nth` line from now on that `matches`.
    pub(super) fn set(
        &mut self,
        nth: usize,
        matches: Box<dyn Fn(&str) -> bool + Send>,
        fault: Fault,
    ) -> Sprung {
        let sprung = Arc::new(Mutex::new(None));
        self.0.push(Trap {
            matches,
            before: nth,
            fault,
            sprung: Arc::clone(&sprung),
        });
        Sprung(sprung)
    }

    /// The fault that is meant for this line, if any; it is used up.
    pub(super) fn spring(&mut self, line: &str) -> Option<Fault> {
        let mut meant = None;
        for (index, trap) in self.0.iter_mut().enumerate() {
            if !(trap.matches)(line) {
                continue;
            }
            match trap.before.checked_sub(1) {
                Some(before) => trap.before = before,
                None => meant = meant.or(Some(index)),
            }
        }
        let trap = self.0.remove(meant?);
        *lock(&trap.sprung) = Some(line.to_owned());
        Some(trap.fault)
    }
}
