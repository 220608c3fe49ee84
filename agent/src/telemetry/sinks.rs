//! What goes through each sink.

use std::sync::Arc;

use super::{
    exposition::{Exposition, MetricType},
    family::{Counter, Gauge},
};

/// What goes through one sink.
#[derive(Debug, Default)]
pub struct SinkMetrics {
    name: String,
    /// 1 while a connection stands and the peer has accepted the certificate.
    pub connected: Gauge,
    /// Bytes of records that wait to be sent.
    pub queued_bytes: Gauge,
    /// Records that were sent, those sent again included.
    pub sent_records: Counter,
    /// Records that count as delivered.
    pub acknowledged_records: Counter,
    /// Records that were dropped because the queue was full.
    pub dropped_records: Counter,
    /// Records that the sink's `include` leaves out.
    pub filtered_records: Counter,
    /// Attempts to connect.
    pub connection_attempts: Counter,
    /// Connections that broke or never came to stand.
    pub connection_failures: Counter,
}

impl SinkMetrics {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Metric by metric, as the format wants it, not sink by sink.
    pub(super) fn render(sinks: &[Arc<Self>], page: &mut Exposition) {
        type Value = fn(&SinkMetrics) -> u64;
        let metrics: [(MetricType, &str, &str, Value); 8] = [
            (
                MetricType::Gauge,
                "meshwitness_sink_connected",
                "1 while the collector holds a connection.",
                |sink| sink.connected.value(),
            ),
            (
                MetricType::Gauge,
                "meshwitness_sink_queued_bytes",
                "Bytes of records that wait to be sent.",
                |sink| sink.queued_bytes.value(),
            ),
            (
                MetricType::Counter,
                "meshwitness_sink_sent_records_total",
                "Records sent, those sent again included.",
                |sink| sink.sent_records.value(),
            ),
            (
                MetricType::Counter,
                "meshwitness_sink_acknowledged_records_total",
                "Records that count as delivered.",
                |sink| sink.acknowledged_records.value(),
            ),
            (
                MetricType::Counter,
                "meshwitness_sink_dropped_records_total",
                "Records dropped because the queue was full.",
                |sink| sink.dropped_records.value(),
            ),
            (
                MetricType::Counter,
                "meshwitness_sink_filtered_records_total",
                "Records that the sink's include leaves out.",
                |sink| sink.filtered_records.value(),
            ),
            (
                MetricType::Counter,
                "meshwitness_sink_connection_attempts_total",
                "Attempts to connect.",
                |sink| sink.connection_attempts.value(),
            ),
            (
                MetricType::Counter,
                "meshwitness_sink_connection_failures_total",
                "Connections that broke or never came to stand.",
                |sink| sink.connection_failures.value(),
            ),
        ];
        for (kind, name, help, value) in metrics {
            page.metric(kind, name, help);
            for sink in sinks {
                page.sample(&[("sink", &sink.name)], value(sink));
            }
        }
    }
}
