mod following;
mod hostile;
mod restarts;
mod rewritten;
mod simulation;
mod torn;

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use super::{LogEvent, LogReader, LogReaderSettings, Positions};
use crate::{
    envoy::{Content, Format, LogLine},
    timestamp::Timestamp,
};

const CONTAINER: &str = "pods/shop_a_uid-a/istio-proxy";

/// A directory as the kubelet lays it out, and a reader of it with its own clock.
struct Node {
    root: TempDir,
    reader: LogReader,
    now: Timestamp,
    problems: Vec<String>,
    /// How often a log was not as it had been read.
    rewritten: usize,
    lines: Vec<LogLine>,
    progress: Option<Timestamp>,
}

impl Node {
    /// A node with nothing in it, and a reader that has looked at it once.
    fn new() -> Self {
        let mut node = Self::before_first_poll();
        node.step();
        node
    }

    /// The same without word from the kernel of what changes: only scans tell.
    fn unwatched() -> Self {
        let mut node = Self::before_first_poll();
        node.reader.settings.watch = false;
        node.step();
        node
    }

    fn before_first_poll() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("pods")).unwrap();
        Self::at(root, None)
    }

    fn at(root: TempDir, stored: Option<Positions>) -> Self {
        let reader = reader(root.path(), stored);
        let now = Timestamp(1_800_000_000_000_000_000);
        Self {
            root,
            reader,
            now,
            problems: Vec::new(),
            rewritten: 0,
            lines: Vec::new(),
            progress: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(CONTAINER).join(name)
    }

    fn create_container(&self) {
        fs::create_dir_all(self.path("")).unwrap();
    }

    fn append(&self, name: &str, text: &str) {
        self.create_container();
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn compress(&self, name: &str) {
        let bytes = fs::read(self.path(name)).unwrap();
        let temporary = self.path(&format!("{name}.tmp"));
        let mut encoder = GzEncoder::new(File::create(&temporary).unwrap(), Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap();
        fs::rename(temporary, self.path(&format!("{name}.gz"))).unwrap();
        fs::remove_file(self.path(name)).unwrap();
    }

    /// One poll, at the present moment of the node's clock.
    fn poll(&mut self) -> bool {
        let (lines, problems) = (&mut self.lines, &mut self.problems);
        let (progress, rewritten) = (&mut self.progress, &mut self.rewritten);
        self.reader.poll(self.now, &mut |event| match event {
            LogEvent::Line(line) => lines.push(line),
            LogEvent::Rewritten(_) => *rewritten += 1,
            LogEvent::Problem(problem) => problems.push(problem.to_string()),
            LogEvent::Progress(told) => *progress = Some(told.read_until),
        })
    }

    /// Lets pass what is between two scans at least, and polls.
    fn step(&mut self) -> bool {
        self.now = self.now + Duration::from_millis(100);
        self.poll()
    }

    /// Polls until nothing more can come of what is there: three seconds by the node's clock.
    fn settle(&mut self) {
        for _ in 0..30 {
            self.step();
            while self.poll() {}
        }
    }

    /// Ends the reader and begins another one where it stood.
    fn restart(&mut self) {
        let stored = serde_json::to_vec(&self.reader.positions()).unwrap();
        let stored = serde_json::from_slice(&stored).unwrap();
        let watch = self.reader.settings.watch;
        self.reader = reader(self.root.path(), Some(stored));
        self.reader.settings.watch = watch;
    }

    /// The contents of the lines since the last call, by their texts.
    fn texts(&mut self) -> Vec<String> {
        self.lines.drain(..).map(|line| text(&line)).collect()
    }
}

fn reader(root: &Path, stored: Option<Positions>) -> LogReader {
    let settings = LogReaderSettings::new(root.to_owned(), vec!["istio-proxy".to_owned()]);
    // A format that shows what was read.
    LogReader::new(
        settings,
        Format::compile("text %REQ(USER-AGENT)%").unwrap(),
        stored,
    )
}

fn text(line: &LogLine) -> String {
    match &line.content {
        Content::Entry(entry) => entry.user_agent.clone().unwrap_or_default(),
        content => format!("{content:?}"),
    }
}

/// A framed line that the format of these tests reads.
fn line(text: &str) -> String {
    part("stdout", "F", &format!("text {text}"))
}

fn part(stream: &str, tag: &str, content: &str) -> String {
    format!("2026-11-22T08:08:17.919038000Z {stream} {tag} {content}\n")
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
