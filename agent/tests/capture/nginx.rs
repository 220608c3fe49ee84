//! Servers and clients that others wrote, with their own counts.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use meshwitness::capture::{Opener, Peer, Phase, Socket};
use tempfile::TempDir;

use crate::scene::{Scene, Watched, sockets};

/// An nginx that is gone when dropped.
pub(crate) struct Nginx {
    process: Child,
    directory: TempDir,
    port: u16,
    /// Where it speaks HTTP/2 without TLS.
    pub(crate) h2c_port: u16,
}

impl Nginx {
    pub(crate) fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let [port, h2c_port] = free_ports();
        let path = directory.path().display();
        let configuration = format!(
            "daemon off; master_process off; pid {path}/pid; error_log {path}/error;
             events {{ }}
             http {{
                 log_format line '$request|$status|$bytes_sent|$connection_requests|'
                                 '$http_x_request_id|$http_user_agent|$http_x_tenant';
                 access_log {path}/access line;
                 sendfile on; gzip on; gzip_min_length 1; gzip_types text/plain;
                 keepalive_requests 1000000; client_max_body_size 0;
                 client_body_temp_path {path}; proxy_temp_path {path}; fastcgi_temp_path {path};
                 uwsgi_temp_path {path}; scgi_temp_path {path};
                 types {{ text/plain txt; application/octet-stream bin; }}
                 server {{
                     listen 127.0.0.1:{port} deferred; listen 127.0.0.1:{h2c_port} http2;
                     root {path}; autoindex on;
                 }}
             }}"
        );
        fs::write(directory.path().join("conf"), configuration).unwrap();
        fs::write(directory.path().join("small.txt"), "small").unwrap();
        fs::write(directory.path().join("large.bin"), vec![b'l'; 5 << 20]).unwrap();
        let process = Command::new("nginx")
            .arg("-c")
            .arg(directory.path().join("conf"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self {
            process,
            directory,
            port,
            h2c_port,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < deadline, "{}", nginx.read("error"));
            thread::sleep(Duration::from_millis(5));
        }
        nginx
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn h2c_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.h2c_port)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.directory.path().join(file)).unwrap_or_default()
    }

    /// The lines of the access log, once there are so many.
    pub(crate) fn lines(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let lines: Vec<_> = self.read("access").lines().map(str::to_owned).collect();
            if lines.len() >= count {
                return lines;
            }
            assert!(Instant::now() < deadline, "{lines:#?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_ports() -> [u16; 2] {
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    free.map(|listener| listener.local_addr().unwrap().port())
}

fn client(program: &str, arguments: &[&str], directory: &Path) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Both ends of the connections that carried something.
fn used(watched: &Watched) -> (Vec<Socket>, Vec<Socket>) {
    sockets(&watched.seen, Phase::Closed)
        .filter(|end| end.bytes_sent > 0)
        .partition(|end| end.opener == Opener::Here)
}

fn is_peer(end: &Socket, peer: &Socket) -> bool {
    matches!(end.peer, Peer::Local { cookie, .. } if cookie == peer.cookie)
}

#[test]
fn every_request_line_is_that_of_the_servers_log() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 24);
    scene.enter("server");
    let nginx = Nginx::start();
    scene.enter("client");
    let upload = nginx.directory.path().join("large.bin");
    let upload = format!("@{}", upload.display());
    let (small, large) = (nginx.url("/small.txt"), nginx.url("/large.bin"));
    let arguments: &[&[&str]] = &[
        &[
            &small,
            &large,
            &nginx.url("/"),
            &nginx.url("/absent"),
            &small,
        ],
        &["-I", &small, &large, &nginx.url("/"), &small],
        &["--compressed", &nginx.url("/"), &small],
        &["-r", "100-299999", &large, "--next", &small],
        &["--data-binary", &upload, &small, "--next", &small],
        &[
            "-H",
            "Transfer-Encoding: chunked",
            "-d",
            &upload,
            &small,
            "--next",
            &small,
        ],
        &["--http1.0", &small],
    ];
    for arguments in arguments {
        client(
            "curl",
            &[&["-s", "-S"], *arguments].concat(),
            nginx.directory.path(),
        );
    }
    let lines = nginx.lines(18);
    assert_eq!(lines.len(), 18, "{lines:#?}");
    watched.until(|seen| {
        let ends = sockets(seen, Phase::Closed).filter(|end| end.bytes_sent > 0);
        let ends: Vec<_> = ends.collect();
        let has_peer = |end: &Socket| ends.iter().any(|peer| is_peer(end, peer));
        (ends.len() >= 2 * arguments.len() && ends.iter().all(has_peer)).then_some(())
    });
    watched.all();

    let (clients, servers) = used(&watched);
    let mut requests = Vec::new();
    for client in &clients {
        for segment in watched.segments(client.cookie) {
            if let Some(at) = segment.first_message {
                let text = String::from_utf8_lossy(&segment.bytes[usize::from(at)..]).into_owned();
                requests.push(text.lines().next().unwrap().to_owned());
            }
        }
    }
    let mut logged: Vec<_> = lines
        .iter()
        .map(|line| line.split('|').next().unwrap())
        .collect();
    // Connections come in the order in which they closed, lines in that of their answers.
    requests.sort_unstable();
    logged.sort_unstable();
    assert_eq!(requests, logged);
    // Interim responses (100 Continue) are messages too.
    let responses: u32 = servers.iter().map(|server| server.stream.messages).sum();
    assert!(responses >= 18, "{responses}");
    for end in clients.iter().chain(&servers) {
        assert!(end.stream.followed, "{end:?}");
        let mut ends = clients.iter().chain(&servers);
        let peer = ends.find(|peer| is_peer(end, peer));
        assert_eq!(end.bytes_received, peer.unwrap().bytes_sent, "{end:?}");
    }
    watched.assert_clean();
}

#[test]
fn every_request_of_a_load_generator_is_counted() {
    const REQUESTS: u32 = 20_000;
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 24);
    scene.enter("server");
    let nginx = Nginx::start();
    scene.enter("client");
    let url = nginx.url("/small.txt");
    let count = REQUESTS.to_string();
    let load = thread::scope(|threads| {
        let load = threads.spawn(|| {
            let arguments = ["--h1", "-n", &count, "-c", "16", "-m", "4", &url];
            client("h2load", &arguments, nginx.directory.path())
        });
        while !load.is_finished() {
            watched.drain();
            thread::sleep(Duration::from_millis(2));
        }
        load.join().unwrap()
    });
    assert!(
        load.contains(&format!("{REQUESTS} succeeded, 0 failed")),
        "{load}"
    );
    watched.until(|seen| {
        let ends = sockets(seen, Phase::Closed).filter(|end| end.bytes_sent > 0);
        (ends.count() == 32).then_some(())
    });
    watched.all();
    let (clients, servers) = used(&watched);
    for ends in [&clients, &servers] {
        let messages: u32 = ends.iter().map(|end| end.stream.messages).sum();
        assert_eq!(messages, REQUESTS);
        for end in ends {
            let segments = watched.segments(end.cookie).len();
            assert_eq!(segments, end.stream.segments as usize);
        }
    }
    assert_eq!(nginx.lines(REQUESTS as usize).len(), REQUESTS as usize);
    watched.assert_clean();
}

#[test]
fn every_stream_of_a_load_generator_is_counted() {
    const REQUESTS: u32 = 20_000;
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 24);
    scene.enter("server");
    let nginx = Nginx::start();
    scene.enter("client");
    let count = REQUESTS.to_string();
    let (small, large) = (nginx.h2c_url("/small.txt"), nginx.h2c_url("/large.bin"));
    for url in [&small, &large] {
        let arguments = [
            "-s",
            "-S",
            "-o",
            "/dev/null",
            "--http2-prior-knowledge",
            url,
        ];
        client("curl", &arguments, nginx.directory.path());
    }
    let load = thread::scope(|threads| {
        let load = threads.spawn(|| {
            let arguments = ["-n", &count, "-c", "8", "-m", "100", &small];
            client("h2load", &arguments, nginx.directory.path())
        });
        while !load.is_finished() {
            watched.drain();
            thread::sleep(Duration::from_millis(2));
        }
        load.join().unwrap()
    });
    assert!(
        load.contains(&format!("{REQUESTS} succeeded, 0 failed")),
        "{load}"
    );
    watched.until(|seen| {
        let ends = sockets(seen, Phase::Closed).filter(|end| end.bytes_sent > 0);
        (ends.count() == 20).then_some(())
    });
    watched.all();
    let (clients, servers) = used(&watched);
    let opened: u32 = clients.iter().map(|end| end.stream.messages).sum();
    assert_eq!(opened, REQUESTS + 2);
    for end in clients.iter().chain(&servers) {
        assert!(end.stream.followed, "{end:?}");
        let segments = watched.segments(end.cookie);
        assert_eq!(segments.len(), end.stream.segments as usize);
        assert!(segments.iter().all(|segment| segment.http2));
    }
    watched.assert_clean();
}
