//! A runtime that writes, a kubelet that rotates and an agent that restarts, in any order: every
//! line comes out once, in order, and the end of the log is never claimed too early.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::Write,
    time::Duration,
};

use proptest::{
    prelude::{Just, ProptestConfig, Strategy, any, prop},
    prop_assert_eq, prop_oneof, proptest,
};

use super::{Node, line, part, text};

#[derive(Clone, Debug)]
enum Action {
    /// The runtime writes a line.
    Write,
    /// It writes a part of one, or the last part.
    WritePart {
        last: bool,
    },
    /// The kubelet renames what the runtime writes to.
    Rename,
    /// The runtime opens a new file.
    Reopen,
    /// The kubelet compresses the oldest plain rotated file but one.
    Compress,
    /// The container is started again.
    Restart,
    Poll,
    /// Time passes.
    Wait(u64),
    /// The agent is started again.
    RestartAgent,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => Just(Action::Write),
        2 => any::<bool>().prop_map(|last| Action::WritePart { last }),
        2 => Just(Action::Rename),
        3 => Just(Action::Reopen),
        1 => Just(Action::Compress),
        1 => Just(Action::Restart),
        5 => Just(Action::Poll),
        3 => (0..1500_u64).prop_map(Action::Wait),
        1 => Just(Action::RestartAgent),
    ]
}

/// The runtime's and the kubelet's side.
struct Writer {
    file: File,
    life: u64,
    renamed: bool,
    rotations: u64,
    rotated: VecDeque<String>,
    written: u64,
    /// The parts of a line that is not whole, and the file's number in which they stand.
    parts: Option<String>,
    expected: Vec<String>,
}

impl Writer {
    fn open(node: &Node, life: u64) -> File {
        let path = node.path(&format!("{life}.log"));
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
    }

    fn act(&mut self, node: &Node, action: &Action) {
        match action {
            Action::Write => {
                self.end_line();
                let text = self.next();
                self.file.write_all(line(&text).as_bytes()).unwrap();
                self.expected.push(text);
            }
            Action::WritePart { last: true } => self.end_line(),
            Action::WritePart { last: false } => {
                let text = self.next();
                let content = match &self.parts {
                    Some(_) => text.clone(),
                    None => format!("text {text}"),
                };
                self.file
                    .write_all(part("stdout", "P", &content).as_bytes())
                    .unwrap();
                self.parts.get_or_insert_default().push_str(&text);
            }
            Action::Rename if !self.renamed => {
                self.end_line();
                self.rotations += 1;
                let name = format!("{}.log.20260822-{:06}", self.life, self.rotations);
                node.rename(&format!("{}.log", self.life), &name);
                self.rotated.push_back(name);
                self.renamed = true;
            }
            Action::Reopen if self.renamed => {
                self.end_line();
                self.file = Self::open(node, self.life);
                self.renamed = false;
            }
            // What the runtime still writes to is not compressed.
            Action::Compress if self.rotated.len() > 1 => {
                node.compress(&self.rotated.pop_front().unwrap());
            }
            Action::Restart if !self.renamed => {
                // A line that a container began and did not end is no entry.
                if self.parts.take().is_some() {
                    self.expected.push("Unknown".to_owned());
                }
                self.life += 1;
                self.file = Self::open(node, self.life);
            }
            _ => {}
        }
    }

    fn next(&mut self) -> String {
        self.written += 1;
        format!("<{}>", self.written)
    }

    fn end_line(&mut self) {
        if let Some(parts) = self.parts.take() {
            self.file
                .write_all(part("stdout", "F", ".").as_bytes())
                .unwrap();
            self.expected.push(format!("{parts}."));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_line_once_and_in_order(actions in prop::collection::vec(action(), 1..120)) {
        let mut node = Node::unwatched();
        node.create_container();
        let mut writer = Writer {
            file: Writer::open(&node, 0),
            life: 0,
            renamed: false,
            rotations: 0,
            rotated: VecDeque::new(),
            written: 0,
            parts: None,
            expected: Vec::new(),
        };
        for action in &actions {
            match action {
                Action::Poll => {
                    node.now = node.now + Duration::from_millis(1);
                    node.poll();
                    if node.progress == Some(node.now) {
                        let read: Vec<_> = node.lines.iter().map(text).collect();
                        prop_assert_eq!(&read, &writer.expected);
                    }
                }
                Action::Wait(milliseconds) => {
                    node.now = node.now + Duration::from_millis(*milliseconds);
                }
                Action::RestartAgent => node.restart(),
                action => writer.act(&node, action),
            }
        }
        writer.end_line();
        node.settle();
        prop_assert_eq!(node.texts(), writer.expected);
        prop_assert_eq!(&node.problems, &Vec::<String>::new());
        prop_assert_eq!(node.rewritten, 0);
        prop_assert_eq!(node.progress, Some(node.now));
        prop_assert_eq!(fs::read_dir(node.root.path().join("pods")).unwrap().count(), 1);
    }
}
