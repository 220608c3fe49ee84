//! One sender's connection.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::server::TlsStream;

use super::{
    Notice, Reporter,
    counters::Counters,
    line::{Batch, Intake, LineError},
    segment::StoreError,
    store::Room,
};
use crate::{timestamp::Timestamp, tls::ACKNOWLEDGING_PROTOCOL};

/// A sender that was let in.
pub(super) struct Session {
    pub(super) name: Arc<str>,
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) intake: Intake,
    pub(super) room: Arc<Room>,
    pub(super) counters: Arc<Counters>,
    pub(super) reporter: Arc<Reporter>,
    pub(super) idle: Duration,
}

/// Why a session ended before its sender ended it.
#[derive(Debug, Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the sender takes no acknowledgements: nothing read for {} s", .0.as_secs())]
    Unread(Duration),
    #[error("nothing came for {} s", .0.as_secs())]
    Idle(Duration),
    #[error("the connection was lost: {0}")]
    Lost(#[from] io::Error),
}

impl Session {
    /// Stores what comes until the sender ends, or the collector, then closes in order.
    ///
    /// What one read brings is one write to the disk and one acknowledgement: while the disk is
    /// busy more gathers in the socket, so that batches grow with the load.
    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) {
        let outcome = self.take_in(stop).await;
        if let Err(error) = outcome {
            self.counters.sessions_failed.add(1);
            if let SessionError::Line(error) = &error {
                let count = match error {
                    LineError::WrongNode { .. } => &self.counters.wrong_node,
                    _ => &self.counters.malformed,
                };
                count.add(1);
            }
            self.reporter.tell(&Notice::SessionFailed {
                sender: Arc::clone(&self.name),
                reason: error.to_string(),
            });
            if matches!(error, SessionError::Lost(_) | SessionError::Unread(_)) {
                return;
            }
        }
        let _ = timeout(CLOSE, self.close()).await;
    }

    async fn take_in(&mut self, mut stop: watch::Receiver<bool>) -> Result<(), SessionError> {
        let acknowledges = self.stream.get_ref().1.alpn_protocol() == Some(ACKNOWLEDGING_PROTOCOL);
        let mut input = vec![0; INPUT_BYTES];
        loop {
            let read = tokio::select! {
                read = timeout(self.idle, self.stream.read(&mut input)) => read,
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            };
            let length = read.map_err(|_| SessionError::Idle(self.idle))??;
            if length == 0 {
                // A line may be begun; its sender knows, and sends it again.
                return Ok(());
            }
            let (batch, error) = self.intake.read(&input[..length]);
            if let Some(id) = batch.last_id() {
                self.store(batch).await?;
                if acknowledges {
                    self.acknowledge(&id).await?;
                }
            }
            if let Some(error) = error {
                return Err(error.into());
            }
        }
    }

    async fn store(&self, batch: Batch) -> Result<(), SessionError> {
        let room = Arc::clone(&self.room);
        let stored = spawn_blocking(move || room.append(&batch, now()))
            .await
            .map_err(io::Error::other)?;
        let (appended, recovered) = stored.inspect_err(|_| self.counters.store_failures.add(1))?;
        self.counters.records.add(appended.records);
        self.counters.bytes.add(appended.bytes);
        self.counters.duplicates.add(appended.duplicates);
        self.counters.cut_bytes.add(recovered.cut_bytes);
        self.counters.unreadable.add(recovered.unreadable);
        if recovered.cut_bytes > 0 || recovered.unreadable > 0 {
            self.reporter.tell(&Notice::Recovered {
                sender: Arc::clone(&self.name),
                cut_bytes: recovered.cut_bytes,
                unreadable: recovered.unreadable,
            });
        }
        Ok(())
    }

    async fn acknowledge(&mut self, id: &str) -> Result<(), SessionError> {
        // An id has no character that JSON escapes.
        let line = format!("{{\"ack\":\"{id}\"}}\n");
        let write = async {
            self.stream.write_all(line.as_bytes()).await?;
            self.stream.flush().await
        };
        timeout(UNREAD, write)
            .await
            .map_err(|_| SessionError::Unread(UNREAD))??;
        self.counters.acknowledgements.add(1);
        Ok(())
    }

    /// Says that we end, then lets the sender end: a socket closed with unread bytes would reset
    /// the connection, and our last words with it.
    async fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let mut rest = vec![0; INPUT_BYTES];
        while self.stream.read(&mut rest).await? > 0 {}
        Ok(())
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The most that one write to the disk holds, the end of a long line aside.
const INPUT_BYTES: usize = 256 * 1024;
const UNREAD: Duration = Duration::from_secs(30);
const CLOSE: Duration = Duration::from_secs(1);
