//! Carries records over one connection, until one side ends it.

use std::{future::pending, path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::client::TlsStream;

use super::{
    ack::AckReader,
    backoff::Backoff,
    connect::Link,
    error::ConnectionError,
    queue::Receiver,
    renewal::Basis,
    sink::{End, Sink, until},
};

impl Sink {
    /// Sends what waits and reads what the peer answers, both at any time.
    ///
    /// The peer is proven by a session ticket or by a while without an alert; before, nothing is
    /// written. The outbox knows afterwards what has to be sent again.
    pub(super) async fn carry(
        &self,
        link: Link,
        stop: &mut watch::Receiver<Option<Instant>>,
        renewals: &mut watch::Receiver<Option<Basis>>,
        backoff: &mut Backoff,
    ) -> End {
        let certificate = {
            let mut state = self.state();
            state.outbox.connected(link.receiver);
            state.settings.tls.cert.clone()
        };
        let (reader, writer) = split(link.stream);
        let mut wire = Wire {
            sink: self,
            receiver: link.receiver,
            certificate,
            proven: false,
            reader,
            writer,
            input: vec![0; INPUT_BYTES],
            acks: AckReader::default(),
            batch: Vec::new(),
            written: 0,
        };
        // An order may have come while the connection was made.
        stop.mark_changed();
        let mut deadline = None;
        let mut renew_by = None;
        let mut acceptance = std::pin::pin!(sleep(self.timing.acceptance));
        let mut good = std::pin::pin!(sleep(self.timing.acceptance + self.timing.proof));
        let mut is_good = false;

        let end = loop {
            wire.fill();
            if wire.batch.is_empty() {
                if deadline.is_some() && self.state().outbox.is_settled() {
                    break End::Stopped;
                }
                if renew_by.is_some() {
                    break End::Renewed;
                }
            }
            let step = tokio::select! {
                read = wire.reader.read(&mut wire.input) => match read {
                    Ok(0) => Err(wire.closed()),
                    Ok(length) => wire.answered(length).map(|progress| {
                        if progress {
                            backoff.reset();
                        }
                    }),
                    Err(error) => Err(wire.broken(error)),
                },
                sent = send(&mut wire.writer, &wire.batch, wire.written) => match sent {
                    Ok(length) => {
                        wire.sent(length);
                        Ok(())
                    }
                    Err(error) => Err(wire.last_words(error).await),
                },
                () = link.tickets.arrived(), if !wire.proven => {
                    wire.accepted();
                    Ok(())
                }
                () = &mut acceptance, if !wire.proven => {
                    wire.accepted();
                    Ok(())
                }
                () = &mut good, if !is_good => {
                    is_good = true;
                    backoff.reset();
                    Ok(())
                }
                () = self.wake.notified(), if wire.proven && wire.batch.is_empty() => Ok(()),
                changed = stop.changed() => {
                    if changed.is_err() {
                        break End::Stopped;
                    }
                    deadline = *stop.borrow_and_update();
                    Ok(())
                }
                Ok(()) = renewals.changed() => {
                    // This connection may have been made with it already.
                    if *renewals.borrow_and_update() != self.state().basis {
                        renew_by = renew_by.or(Some(Instant::now() + self.timing.close));
                    }
                    Ok(())
                }
                () = until(deadline) => break End::Stopped,
                () = until(renew_by) => break End::Renewed,
            };
            if let Err(error) = step {
                break End::Failed(error);
            }
        };
        let orderly = !matches!(end, End::Failed(_)) && wire.close(deadline).await;
        self.ended(orderly);
        end
    }
}

/// A connection in use.
struct Wire<'a> {
    sink: &'a Sink,
    receiver: Receiver,
    /// The file of our certificate, for messages.
    certificate: PathBuf,
    proven: bool,
    reader: ReadHalf<TlsStream<TcpStream>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    input: Vec<u8>,
    acks: AckReader,
    /// Whole lines, being written.
    batch: Vec<u8>,
    /// How much of the batch TLS has taken: 0 <= written <= batch.len().
    written: usize,
}

impl Wire<'_> {
    /// Takes the next batch, once the last one is gone.
    fn fill(&mut self) {
        if self.batch.is_empty() {
            self.sink.state().outbox.give(&mut self.batch, BATCH_BYTES);
        }
    }

    fn accepted(&mut self) {
        self.proven = true;
        self.sink.accepted(self.receiver);
    }

    fn sent(&mut self, sent: Sent) {
        match sent {
            Sent::Bytes(length) => self.written += length,
            Sent::Everything => {
                self.batch.clear();
                self.written = 0;
                self.sink.state().outbox.flushed();
            }
        }
    }

    /// Reads `length` bytes of input. True: the peer has stored something.
    fn answered(&mut self, length: usize) -> Result<bool, ConnectionError> {
        if self.receiver == Receiver::Silent {
            return Ok(false);
        }
        let mut state = self.sink.state();
        let before = state.outbox.counts().acknowledged;
        self.acks.read(&self.input[..length], |id| {
            state.outbox.acknowledged(id).map_err(ConnectionError::from)
        })?;
        Ok(state.outbox.counts().acknowledged > before)
    }

    fn closed(&self) -> ConnectionError {
        if self.proven {
            ConnectionError::Closed
        } else {
            ConnectionError::ClosedUnproven {
                certificate: self.certificate.clone(),
            }
        }
    }

    fn broken(&self, error: std::io::Error) -> ConnectionError {
        ConnectionError::from_stream(error, self.proven, self.certificate.clone())
    }

    /// After a failed write: what the peer said before it went may still be there to be read, an
    /// alert that gives the reason, or acknowledgements.
    async fn last_words(&mut self, error: std::io::Error) -> ConnectionError {
        let read = async {
            loop {
                match self.reader.read(&mut self.input).await {
                    Ok(0) => break None,
                    Ok(length) => {
                        if let Err(error) = self.answered(length) {
                            break Some(error);
                        }
                    }
                    Err(error) => break Some(self.broken(error)),
                }
            }
        };
        match timeout(LAST_WORDS, read).await {
            Ok(Some(said)) if !matches!(said, ConnectionError::Lost(_)) => said,
            _ => self.broken(error),
        }
    }

    /// Closes our side and waits for the peer to close its own. True: it did, in order.
    async fn close(&mut self, deadline: Option<Instant>) -> bool {
        let limit = deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
            .unwrap_or(self.sink.timing.close)
            .min(self.sink.timing.close);
        let closing = async {
            if self.writer.shutdown().await.is_err() {
                return false;
            }
            loop {
                match self.reader.read(&mut self.input).await {
                    Ok(0) => return true,
                    Ok(length) => {
                        if self.answered(length).is_err() {
                            return false;
                        }
                    }
                    Err(_) => return false,
                }
            }
        };
        timeout(limit, closing).await.unwrap_or(false)
    }
}

enum Sent {
    /// TLS took so many bytes of the batch.
    Bytes(usize),
    /// The batch has left the process.
    Everything,
}

/// One step of writing a batch. May be cancelled: what was taken is always told.
async fn send(
    writer: &mut WriteHalf<TlsStream<TcpStream>>,
    batch: &[u8],
    written: usize,
) -> std::io::Result<Sent> {
    if batch.is_empty() {
        return pending().await;
    }
    if written < batch.len() {
        return match writer.write(&batch[written..]).await? {
            0 => Err(std::io::ErrorKind::WriteZero.into()),
            length => Ok(Sent::Bytes(length)),
        };
    }
    writer.flush().await?;
    Ok(Sent::Everything)
}

/// Four TLS records of the largest size.
const BATCH_BYTES: usize = 64 * 1024;
const INPUT_BYTES: usize = 8 * 1024;
/// How long a refusal that the peer has already sent may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(200);
