//! Signals as flags that a loop looks at.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag::register,
};

/// Which signals have come.
#[derive(Debug, Default)]
pub(super) struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    /// Listens for SIGTERM, SIGINT and SIGHUP, of which any would end the process until then.
    ///
    /// # Errors
    /// If the kernel refuses a handler.
    pub(super) fn listen() -> io::Result<Self> {
        let signals = Self::default();
        register(SIGTERM, Arc::clone(&signals.stop))?;
        register(SIGINT, Arc::clone(&signals.stop))?;
        register(SIGHUP, Arc::clone(&signals.reload))?;
        Ok(signals)
    }

    /// The program is to end.
    pub(super) fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The configuration is to be read anew; told once.
    pub(super) fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }
}
