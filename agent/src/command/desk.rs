//! Where inputs become records: each goes to the ledger, and what follows from it to the sinks.

use std::sync::Arc;

use tracing::error;

use crate::{
    explain::{Kept, Store},
    forward::{Forwarder, SinkStatus},
    ledger::{Input, Ledger},
    record::{Body, Envelope, Record, Verdict},
    telemetry::{Metrics, Side, SinkNumbers},
    witness::{HttpPorts, Recorder},
    workload::WorkloadFact,
};

/// Everything between the witness and the network.
pub(super) struct Desk {
    pub(super) ledger: Ledger,
    pub(super) forwarder: Forwarder,
    recorder: Option<Recorder>,
    /// What the next run shall know.
    http_ports: Option<HttpPorts>,
    /// For those who ask why; none where nobody can.
    explanations: Option<Arc<Store>>,
    metrics: Arc<Metrics>,
    /// What was judged since the last delivery.
    envelopes: Vec<Envelope>,
    explained: Vec<Kept>,
    /// Used again for each input, and for each record.
    records: Vec<Record>,
    line: Vec<u8>,
}

impl Desk {
    pub(super) fn new(
        ledger: Ledger,
        forwarder: Forwarder,
        recorder: Option<Recorder>,
        http_ports: Option<HttpPorts>,
        explanations: Option<Arc<Store>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            ledger,
            forwarder,
            recorder,
            http_ports,
            explanations,
            metrics,
            envelopes: Vec::new(),
            explained: Vec::new(),
            records: Vec::new(),
            line: Vec::new(),
        }
    }

    /// Hands an input to the ledger; its records wait to be delivered.
    pub(super) fn take(&mut self, input: Input) {
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.add(&input)
        {
            error!("{error}; the recording ends here");
            self.recorder = None;
        }
        if let (Some(ports), Input::Workload(WorkloadFact::PodGone { uid })) =
            (&mut self.http_ports, &input)
        {
            ports.forget(uid);
        }
        self.ledger.handle(input, &mut self.records);
        let mut evidence = self.ledger.take_evidence().into_iter().peekable();
        for record in self.records.drain(..) {
            let evidence = evidence.next_if(|of| of.sequence == record.sequence);
            count(&self.metrics, &record);
            match record.seal(&mut self.line) {
                Ok(envelope) => {
                    let kept = evidence.zip(record.verdict);
                    self.explained.extend(kept.map(|(evidence, verdict)| Kept {
                        record: Arc::clone(&envelope.line),
                        verdict,
                        evidence,
                    }));
                    self.envelopes.push(envelope);
                }
                Err(error) => error!("record {}: {error}", record.id),
            }
        }
    }

    /// Gives the sinks what was judged since the last call.
    pub(super) fn deliver(&mut self) {
        self.forwarder.send_all(&self.envelopes);
        if let (Some(store), Some(newest)) = (&self.explanations, self.envelopes.last()) {
            store.keep(newest.sequence, self.explained.drain(..));
        }
        self.envelopes.clear();
        self.explained.clear();
    }

    /// Writes down what the next run shall know.
    pub(super) fn keep(&mut self) {
        let learnt = self.ledger.take_http_ports();
        if let Some(ports) = &mut self.http_ports {
            ports.learn(learnt);
            if let Err(error) = ports.keep() {
                error!("the ports that speak HTTP cannot be kept: {error}");
            }
        }
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.flush()
        {
            error!("{error}");
        }
    }

    /// Tells the numbers that nobody counts on the way.
    pub(super) fn tell(&self) {
        let pending = self.ledger.pending();
        let metrics = &self.metrics;
        metrics.pending_units.set(Side::Observed, pending.observed);
        metrics.pending_units.set(Side::Logged, pending.logged);
        metrics.set_pods(self.ledger.pods());
        for (kind, count) in self.ledger.open_findings() {
            metrics.open_findings.set(kind.id(), count);
        }
        let sinks = self.forwarder.statuses().into_iter().map(numbers);
        metrics.set_sinks(sinks.collect());
    }
}

fn numbers(status: SinkStatus) -> SinkNumbers {
    SinkNumbers {
        name: status.sink.to_string(),
        connected: status.connected.is_some(),
        queued_records: status.queued as u64,
        queued_bytes: status.queued_bytes as u64,
        oldest_queued_seconds: status.oldest_queued.as_secs_f64(),
        window_bytes: status.window_bytes as u64,
        sent: status.sent,
        resent: status.resent,
        acknowledged: status.acknowledged,
        dropped: status.dropped,
        unconfirmed: status.unconfirmed,
        filtered: status.filtered,
        attempts: status.attempts,
        failures: status.failures,
        certificate_expiry_seconds: status
            .certificate_not_after
            .map(|end| end.0 / 1_000_000_000),
    }
}

fn count(metrics: &Metrics, record: &Record) {
    metrics.records.add((record.kind, record.verdict), 1);
    let (Some(verdict), Some(units), Body::Traffic(traffic)) =
        (record.verdict, record.units, &record.body)
    else {
        return;
    };
    if !traffic.revises.is_empty() {
        metrics.revisions.add(1);
    }
    let reason = record.reasons.iter().flatten().next();
    let lost = reason.filter(|_| verdict == Verdict::Unverifiable);
    for side in [Side::Observed, Side::Logged] {
        let count = side.of(units);
        if count > 0 {
            metrics.units.add((verdict, side), count);
            if let Some(reason) = lost {
                metrics.lost_units.add((*reason, side), count);
            }
        }
    }
}
