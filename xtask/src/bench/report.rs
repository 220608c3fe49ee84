//! The figures for people: a table, with what the project aims at beside them.

use std::fmt::Write;

use serde::Serialize;

use super::{
    bypasses::{self, Bypasses},
    downloads::{self, Downloads},
    fixed_rate::FixedRate,
    latency::Latency,
    machine::Machine,
    replay::Replay,
    saturation::Saturation,
    soak::Soak,
};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) mesh: Option<FixedRate>,
    pub(super) http2: Option<FixedRate>,
    pub(super) direct: Option<FixedRate>,
    pub(super) downloads: Option<Downloads>,
    pub(super) bypasses: Option<Bypasses>,
    pub(super) saturation: Option<Saturation>,
    pub(super) replay: Option<Replay>,
    pub(super) soak: Option<Soak>,
}

impl Report {
    /// Nothing yet.
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            machine,
            mesh: None,
            http2: None,
            direct: None,
            downloads: None,
            bypasses: None,
            saturation: None,
            replay: None,
            soak: None,
        }
    }

    /// As plain text.
    pub(super) fn table(&self) -> String {
        let mut table = Table::default();
        table.machine(&self.machine);
        if let Some(mesh) = &self.mesh {
            table.fixed_rate(mesh, Some(MESH_AIMS));
        }
        if let Some(http2) = &self.http2 {
            table.fixed_rate(http2, Some(HTTP2_AIMS));
        }
        if let Some(direct) = &self.direct {
            table.fixed_rate(direct, None);
        }
        if let Some(downloads) = &self.downloads {
            table.downloads(downloads);
        }
        if let Some(bypasses) = &self.bypasses {
            table.bypasses(bypasses);
        }
        if let Some(saturation) = &self.saturation {
            table.saturation(saturation);
        }
        if let Some(replay) = &self.replay {
            table.replay(replay);
        }
        if let Some(soak) = &self.soak {
            table.soak(soak);
        }
        table.text
    }
}

/// What the project aims at.
#[derive(Default)]
struct Aims {
    microseconds: Option<&'static str>,
    exchange: Option<&'static str>,
    share: Option<&'static str>,
    at_rest: Option<&'static str>,
    peak: Option<&'static str>,
}

const MESH_AIMS: Aims = Aims {
    microseconds: Some("10 µs"),
    exchange: None,
    share: Some("3 %"),
    at_rest: Some("64 MiB"),
    peak: Some("128 MiB"),
};

const HTTP2_AIMS: Aims = Aims {
    microseconds: None,
    exchange: Some("6 µs"),
    share: None,
    at_rest: None,
    peak: None,
};

/// Rows of a label and a figure, under headings.
#[derive(Default)]
struct Table {
    text: String,
    /// The figures under this heading do not count.
    is_void: bool,
}

impl Table {
    fn machine(&mut self, machine: &Machine) {
        self.heading("machine");
        let cores = machine.cores;
        self.row("processor", format!("{}, {cores} cores", machine.processor));
        self.row("memory", mebibytes(machine.memory_bytes));
        self.row("Linux", machine.kernel.clone());
        self.row("Envoy", machine.envoy.clone());
        self.row(
            "load average when it began",
            format!("{:.2}", machine.load_average),
        );
    }

    fn fixed_rate(&mut self, run: &FixedRate, aims: Option<Aims>) {
        self.heading(&run.title);
        self.void(&run.void);
        let (agent, programs) = (run.agent_microseconds(), run.programs_microseconds());
        let aims = aims.unwrap_or_default();
        self.row("requests", run.requests.to_string());
        self.row("agent's CPU per request", format!("{agent:.2} µs"));
        self.row("its programs' CPU per request", format!("{programs:.2} µs"));
        self.aimed(
            "both",
            format!("{:.2} µs", agent + programs),
            aims.microseconds,
        );
        self.aimed(
            "both, per exchange",
            format!("{:.2} µs", run.microseconds_per_exchange()),
            aims.exchange,
        );
        self.aimed(
            "their share of the CPU of both pods and the agent",
            percent(run.share()),
            aims.share,
        );
        for (name, program) in &run.programs {
            self.row(
                &format!("  program {name}"),
                format!(
                    "{} runs of {} ns",
                    program.runs,
                    program.nanoseconds / program.runs.max(1)
                ),
            );
        }
        self.row("p99 without the agent", p99(run.latency_without));
        self.row("p99 with the agent", p99(run.latency_with));
        self.row("agent's CPU at rest, of a core", percent(run.cpu_at_rest));
        self.aimed(
            "its memory at rest",
            mebibytes(run.resident_bytes_at_rest),
            aims.at_rest,
        );
        self.aimed(
            "its memory at the most",
            mebibytes(run.peak_bytes),
            aims.peak,
        );
    }

    fn downloads(&mut self, downloads: &Downloads) {
        self.heading(downloads::TITLE);
        // Of HTTP/2 the header of each frame is told, and a frame has 16 KiB at the most.
        for (protocol, packets, aim) in [
            ("HTTP/1", &downloads.http1, Some("250 ns")),
            ("HTTP/2", &downloads.http2, None),
        ] {
            self.aimed(
                &format!(
                    "{protocol}: program egress, mean of {} packets",
                    packets.packets
                ),
                format!("{} ns", packets.nanoseconds_each()),
                aim,
            );
        }
    }

    fn bypasses(&mut self, bypasses: &Bypasses) {
        self.heading(bypasses::TITLE);
        self.row("requests meanwhile", bypasses.requests.to_string());
        let milliseconds = |microseconds: u64| format!("{} ms", microseconds / 1_000);
        let delay = bypasses.delay;
        self.row(
            "to the arrival of the record, p50",
            milliseconds(delay.p50_microseconds),
        );
        self.aimed(
            "to the arrival of the record, p99",
            milliseconds(delay.p99_microseconds),
            Some("1 s"),
        );
    }

    fn saturation(&mut self, saturation: &Saturation) {
        self.heading("flat out through both sidecars, pairs without and with the agent");
        let [least, median, most] = saturation.ratios();
        self.row(
            "throughput with the agent / without, median of pairs",
            format!("{median:.2} ({least:.2} to {most:.2})"),
        );
        for (number, pair) in saturation.pairs.iter().enumerate() {
            let losses = match pair.losses.is_empty() {
                true => "nothing lost".to_owned(),
                false => pair.losses.join("; "),
            };
            self.row(
                &format!("  pair {}", number + 1),
                format!(
                    "{:.0} / {:.0} requests a second; {losses}",
                    pair.with, pair.without
                ),
            );
        }
    }

    fn replay(&mut self, replay: &Replay) {
        self.heading("a recording through the ledger, on one core");
        self.void(&replay.void);
        let judged = &replay.judged;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = |seconds: f64| format!("{:.0} a second", judged.exchanges as f64 / seconds);
        self.aimed(
            "exchanges judged, reading the recording left out",
            rate(judged.ledger_seconds),
            Some("300000"),
        );
        self.row(
            "exchanges judged and their records written as JSON",
            rate(judged.ledger_seconds + judged.sealing_seconds),
        );
    }

    fn soak(&mut self, soak: &Soak) {
        self.heading("ten minutes at 5,000 requests a second");
        self.void(&soak.void);
        self.row("memory at minute 3", mebibytes(soak.bytes_at_minute_3));
        self.row("memory at minute 10", mebibytes(soak.bytes_at_minute_10));
        self.aimed("grown by", percent(soak.growth()), Some("5 %"));
        self.row("memory at the most", mebibytes(soak.peak_bytes));
    }

    fn heading(&mut self, text: &str) {
        self.is_void = false;
        let _ = writeln!(self.text, "\n{text}");
    }

    fn void(&mut self, reasons: &[String]) {
        for reason in reasons {
            self.row("void, because", reason.clone());
        }
        self.is_void = !reasons.is_empty();
    }

    fn aimed(&mut self, label: &str, figure: String, aim: Option<&str>) {
        match aim {
            Some(aim) => self.row(label, format!("{figure:<16} (aim: {aim})")),
            None => self.row(label, figure),
        }
    }

    fn row(&mut self, label: &str, figure: String) {
        let mark = if self.is_void { "void: " } else { "" };
        let _ = writeln!(self.text, "  {label:<56} {mark}{figure}");
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn p99(latency: Latency) -> String {
    format!("{:.2} ms", latency.p99_microseconds as f64 / 1e3)
}
