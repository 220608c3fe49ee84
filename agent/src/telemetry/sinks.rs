//! What goes through each sink.

use super::exposition::{Exposition, MetricType};

/// What goes through one sink. Counts are since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SinkNumbers {
    /// Its endpoint.
    pub name: String,
    /// A connection stands and the peer has accepted the certificate.
    pub connected: bool,
    /// Records that do not count as delivered.
    pub queued_records: u64,
    /// Bytes of these.
    pub queued_bytes: u64,
    /// How long the oldest of these has waited.
    pub oldest_queued_seconds: f64,
    /// Bytes kept for the resend to a receiver that does not acknowledge.
    pub window_bytes: u64,
    /// Records written for the first time.
    pub sent: u64,
    /// Records written once more.
    pub resent: u64,
    /// Records that the receiver says it has stored.
    pub acknowledged: u64,
    /// Records dropped because the queue was full.
    pub dropped: u64,
    /// Records that a receiver may not have read when its connection broke, and that the window no
    /// longer held.
    pub unconfirmed: u64,
    /// Records that the sink's `include` leaves out.
    pub filtered: u64,
    /// Attempts to connect.
    pub attempts: u64,
    /// Attempts and connections that failed.
    pub failures: u64,
    /// When the client certificate that was last presented ends, in seconds since 1970; none
    /// before the first was read.
    pub certificate_expiry_seconds: Option<u64>,
}

/// Metric by metric, as the format wants it, not sink by sink.
pub(super) fn render(sinks: &[SinkNumbers], page: &mut Exposition) {
    type Value = fn(&SinkNumbers) -> Option<f64>;
    let metrics: [(MetricType, &str, &str, Value); 14] = [
        (
            MetricType::Gauge,
            "meshwitness_sink_connected",
            "1 while the collector holds a connection and has accepted the certificate.",
            |sink| Some(f64::from(u8::from(sink.connected))),
        ),
        (
            MetricType::Gauge,
            "meshwitness_sink_queued_records",
            "Records that do not count as delivered.",
            |sink| number(sink.queued_records),
        ),
        (
            MetricType::Gauge,
            "meshwitness_sink_queued_bytes",
            "Bytes of the records that do not count as delivered.",
            |sink| number(sink.queued_bytes),
        ),
        (
            MetricType::Gauge,
            "meshwitness_sink_oldest_queued_age_seconds",
            "How long the oldest record that does not count as delivered has waited.",
            |sink| Some(sink.oldest_queued_seconds),
        ),
        (
            MetricType::Gauge,
            "meshwitness_sink_window_bytes",
            "Bytes kept for the resend to a receiver that does not acknowledge.",
            |sink| number(sink.window_bytes),
        ),
        (
            MetricType::Counter,
            "meshwitness_sink_sent_records_total",
            "Records written for the first time.",
            |sink| number(sink.sent),
        ),
        (
            MetricType::Counter,
            "meshwitness_sink_resent_records_total",
            "Records written once more after a connection had ended.",
            |sink| number(sink.resent),
        ),
        (
            MetricType::Counter,
            "meshwitness_sink_acknowledged_records_total",
            "Records that the receiver says it has stored.",
            |sink| number(sink.acknowledged),
        ),
        (
            MetricType::Counter,
            "meshwitness_sink_dropped_records_total",
            "Records dropped because the queue was full.",
            |sink| number(sink.dropped),
        ),
        (
            MetricType::Counter,
            "meshwitness_sink_unconfirmed_records_total",
            "Records that a receiver may not have read, and that could not be sent again.",
            |sink| number(sink.unconfirmed),
        ),
        (
            MetricType::Counter,
            "meshwitness_sink_filtered_records_total",
            "Records that the sink's include leaves out.",
            |sink| number(sink.filtered),
        ),
        (
            MetricType::Counter,
            "meshwitness_sink_connection_attempts_total",
            "Attempts to connect.",
            |sink| number(sink.attempts),
        ),
        (
            MetricType::Counter,
            "meshwitness_sink_connection_failures_total",
            "Attempts and connections that failed.",
            |sink| number(sink.failures),
        ),
        (
            MetricType::Gauge,
            "meshwitness_sink_certificate_expiry_timestamp_seconds",
            "When the client certificate that was last presented ends, in Unix time.",
            |sink| number(sink.certificate_expiry_seconds?),
        ),
    ];
    for (kind, name, help, value) in metrics {
        page.metric(kind, name, help);
        for sink in sinks {
            if let Some(value) = value(sink) {
                page.sample(&[("sink", &sink.name)], value);
            }
        }
    }
}

/// Prometheus knows floats only; they are exact up to 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "the format's own numbers are floats"
)]
#[expect(clippy::unnecessary_wraps, reason = "the table's form")]
fn number(count: u64) -> Option<f64> {
    Some(count as f64)
}
