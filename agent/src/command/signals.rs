//! Signals as flags that a loop looks at.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::signal::unix::{SignalKind, signal};

/// Which signals have come.
#[derive(Clone, Debug, Default)]
pub(super) struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    /// Listens for SIGTERM, SIGINT and SIGHUP; must be called within a tokio runtime.
    pub(super) fn listen() -> io::Result<Self> {
        let signals = Self::default();
        for (kind, flag) in [
            (SignalKind::terminate(), &signals.stop),
            (SignalKind::interrupt(), &signals.stop),
            (SignalKind::hangup(), &signals.reload),
        ] {
            let (mut stream, flag) = (signal(kind)?, flag.clone());
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    flag.store(true, Ordering::Relaxed);
                }
            });
        }
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
