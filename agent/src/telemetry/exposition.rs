//! The Prometheus text format, version 0.0.4.

use std::fmt::{Display, Write};

/// What the format is called in HTTP.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
    name: &'static str,
}

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug)]
pub(super) enum MetricType {
    Counter,
    Gauge,
}

impl Exposition {
    /// Begins a metric; its samples follow.
    pub(super) fn metric(&mut self, kind: MetricType, name: &'static str, help: &str) -> &mut Self {
        let word = match kind {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
        };
        self.name = name;
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {word}\n"));
        self
    }

    /// A sample of the metric that was begun last. Labels without a value are left out.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.write(self.name);
        let mut before = '{';
        for (label, text) in labels.iter().filter(|(_, text)| !text.is_empty()) {
            self.write(format_args!("{before}{label}=\""));
            for character in text.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        self.write(format_args!(" {value}\n"));
        self
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn write(&mut self, text: impl Display) {
        // Writing to a string does not fail.
        let _ = write!(self.text, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::{Exposition, MetricType};

    #[test]
    fn format() {
        let mut page = Exposition::default();
        page.metric(MetricType::Counter, "a_total", "Help.")
            .sample(&[], 1)
            .sample(&[("x", "q\"\\\n"), ("y", ""), ("z", "ä")], 2)
            .metric(MetricType::Gauge, "b_ratio", "Help.")
            .sample(&[("y", "")], 0.5);
        assert_eq!(
            page.into_text(),
            "# HELP a_total Help.\n# TYPE a_total counter\na_total 1\n\
             a_total{x=\"q\\\"\\\\\\n\",z=\"ä\"} 2\n\
             # HELP b_ratio Help.\n# TYPE b_ratio gauge\nb_ratio 0.5\n"
        );
    }
}
