//! The agent's end: a unix socket in `state.dir`, for root alone.

use std::{
    convert::Infallible,
    fs::{self, File},
    io,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{
    store::Store,
    wire::{Absence, MOST_BYTES_A_QUESTION, RecordId, SOCKET, encode},
};

/// Connections that are served at once; further ones wait in the listener's queue.
const MOST_CONNECTIONS: usize = 4;

/// The whole time that a connection has.
const TIME: Duration = Duration::from_secs(5);

/// The socket, which goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    place: Place,
}

impl Socket {
    /// Opens the socket in a directory that this process alone holds; one that an earlier agent
    /// left is replaced. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn bind(directory: &Path) -> io::Result<Self> {
        let place = Place::new(directory)?;
        match fs::remove_file(&place.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&place.path)?;
        let socket = Self { listener, place };
        fs::set_permissions(&socket.place.path, fs::Permissions::from_mode(0o600))?;
        Ok(socket)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // What is left behind is replaced by the next agent.
        let _ = fs::remove_file(&self.place.path);
    }
}

/// Where a socket is. A directory's own name may be longer than the 107 bytes that the kernel
/// allows; then it is named by its descriptor.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Keeps the descriptor that `path` may name.
    _directory: File,
}

impl Place {
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        const MOST_BYTES: usize = 107;
        let file = File::open(directory)?;
        let mut path = directory.join(SOCKET);
        if path.as_os_str().len() > MOST_BYTES {
            path = format!("/proc/self/fd/{}/{SOCKET}", file.as_raw_fd()).into();
        }
        Ok(Self {
            path,
            _directory: file,
        })
    }
}

/// Answers until it is dropped.
pub async fn serve(socket: Socket, store: Arc<Store>) -> Infallible {
    serve_within(TIME, rustix::process::geteuid().as_raw(), socket, store).await
}

async fn serve_within(time: Duration, own: u32, socket: Socket, store: Arc<Store>) -> Infallible {
    let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    // Aborts what is being served when the server is dropped.
    let mut served = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            // Never: nobody closes the semaphore.
            return std::future::pending().await;
        };
        while served.try_join_next().is_some() {}
        let stream = match socket.listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // No more descriptors: wait for some.
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let store = Arc::clone(&store);
        served.spawn(async move {
            // Whoever is slow or goes away costs nothing but the own answer.
            let _ = timeout(time, answer(stream, own, &store)).await;
            drop(permit);
        });
    }
}

/// `own`: the user of the agent, who may ask too: the agent need not be root.
async fn answer(mut stream: UnixStream, own: u32, store: &Store) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    // Closing with an unread question would take the answer along.
    let question = read_question(&mut stream).await?;
    let answer = match question {
        _ if user != 0 && user != own => Err(Absence::Denied),
        Some(id) => store.find(&id),
        None => Err(Absence::NotUnderstood),
    };
    stream.write_all(&encode(&answer)).await?;
    stream.shutdown().await
}

async fn read_question(stream: &mut UnixStream) -> io::Result<Option<RecordId>> {
    let mut question = Vec::with_capacity(MOST_BYTES_A_QUESTION);
    while !question.ends_with(b"\n") {
        let room = MOST_BYTES_A_QUESTION - question.len();
        let mut rest = (&mut *stream).take(room as u64);
        if room == 0 || rest.read_buf(&mut question).await? == 0 {
            return Ok(None);
        }
    }
    let text = std::str::from_utf8(&question).ok();
    Ok(text.and_then(|text| text.trim_end().parse().ok()))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read, Write},
        os::unix::{fs::PermissionsExt, net::UnixStream},
        path::Path,
        sync::Arc,
        time::Duration,
    };

    use super::{
        super::{AskError, ask, store::tests::kept},
        Absence, MOST_CONNECTIONS, SOCKET, Socket, Store, TIME, serve_within,
    };
    use crate::record::Verdict;

    struct Agent {
        directory: tempfile::TempDir,
        runtime: tokio::runtime::Runtime,
    }

    impl Agent {
        fn start(time: Duration, own: u32) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let agent = Self {
                directory,
                runtime: tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()
                    .unwrap(),
            };
            let store = Arc::new(Store::new("s".into()));
            store.keep(9, [kept(3, Verdict::Unlogged)]);
            let _within = agent.runtime.enter();
            let socket = Socket::bind(agent.path()).unwrap();
            agent.runtime.spawn(serve_within(time, own, socket, store));
            agent
        }

        fn path(&self) -> &Path {
            self.directory.path()
        }

        fn connect(&self) -> UnixStream {
            UnixStream::connect(self.path().join(SOCKET)).unwrap()
        }
    }

    fn own() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn an_answer_and_none() {
        let agent = Agent::start(TIME, own());
        let mode = fs::metadata(agent.path().join(SOCKET))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let found = ask(agent.path(), &"s-3".parse().unwrap()).unwrap();
        assert_eq!(
            (&found.record["id"], found.evidence.sequence),
            (&"s-3".into(), 3)
        );
        for (id, expected) in [
            ("s-4", Absence::NothingToExplain),
            ("s-10", Absence::NotYet { newest: 9 }),
            (
                "t-3",
                Absence::AnotherStart {
                    start_id: "s".into(),
                },
            ),
        ] {
            match ask(agent.path(), &id.parse().unwrap()) {
                Err(AskError::Absent(absence)) => assert_eq!(absence, expected),
                other => panic!("{other:?}"),
            }
        }
        let path = agent.path().join(SOCKET);
        drop(agent.runtime);
        assert!(!path.exists());
        let error = ask(agent.directory.path(), &"s-3".parse().unwrap()).unwrap_err();
        assert!(matches!(error, AskError::NotRunning { .. }), "{error:?}");
    }

    #[test]
    fn a_socket_that_was_left_behind_is_no_agent_and_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        drop(std::os::unix::net::UnixListener::bind(directory.path().join(SOCKET)).unwrap());
        let error = ask(directory.path(), &"s-3".parse().unwrap()).unwrap_err();
        assert!(matches!(error, AskError::NotRunning { .. }), "{error:?}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _within = runtime.enter();
        Socket::bind(directory.path()).unwrap();
    }

    #[test]
    fn a_directory_with_a_long_name() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("d".repeat(200));
        fs::create_dir(&directory).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let _within = runtime.enter();
        let socket = Socket::bind(&directory).unwrap();
        runtime.spawn(serve_within(
            TIME,
            own(),
            socket,
            Arc::new(Store::new("s".into())),
        ));
        let error = ask(&directory, &"s-3".parse().unwrap()).unwrap_err();
        assert!(
            matches!(error, AskError::Absent(Absence::NotYet { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn others_are_denied() {
        let directory = tempfile::tempdir().unwrap();
        assert!(
            rustix::process::geteuid().is_root(),
            "this test drops privileges: run it as root"
        );
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let _within = runtime.enter();
        let socket = Socket::bind(directory.path()).unwrap();
        let path = directory.path().join(SOCKET);
        let everybody = |mode| fs::Permissions::from_mode(mode);
        fs::set_permissions(directory.path(), everybody(0o755)).unwrap();
        fs::set_permissions(&path, everybody(0o666)).unwrap();
        runtime.spawn(serve_within(
            TIME,
            own(),
            socket,
            Arc::new(Store::new("s".into())),
        ));
        let asking = std::thread::spawn(move || {
            // SAFETY: changes the ids of this thread alone; it does not come back.
            let result = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
            assert_eq!(result, 0);
            let mut stream = UnixStream::connect(path).unwrap();
            stream.write_all(b"s-1\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        assert_eq!(asking.join().unwrap(), "{\"absent\":\"denied\"}\n");
    }

    #[test]
    fn questions_that_are_none() {
        let agent = Agent::start(TIME, own());
        let long = "x".repeat(4096) + "\n";
        for question in ["\n", "GET / HTTP/1.1\r\n", "\u{0}\u{1}\n", &long[..]] {
            let mut stream = agent.connect();
            // The answer may come before everything is written.
            let _ = stream.write_all(question.as_bytes());
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text);
            assert!(
                text.is_empty() || text == "{\"absent\":\"not_understood\"}\n",
                "{text}"
            );
        }
        ask(agent.path(), &"s-3".parse().unwrap()).unwrap();
    }

    #[test]
    fn whoever_is_slow_is_sent_away() {
        let agent = Agent::start(Duration::from_millis(300), own());
        let slow: Vec<_> = (0..MOST_CONNECTIONS).map(|_| agent.connect()).collect();
        ask(agent.path(), &"s-3".parse().unwrap()).unwrap();
        for mut stream in slow {
            let mut end = [0; 1];
            assert_eq!(stream.read(&mut end).unwrap_or(0), 0);
        }
    }
}
