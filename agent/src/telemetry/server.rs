//! A small HTTP/1.1 server for three paths: one request a connection, everything bounded.

use std::{
    convert::Infallible,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{exposition::CONTENT_TYPE, health::Health, metrics::Metrics};

/// Connections that are served at once; further ones wait in the listener's queue. A scraper, a
/// kubelet and somebody who looks.
const MOST_CONNECTIONS: usize = 16;

/// The whole time that a connection has.
const TIME: Duration = Duration::from_secs(5);

/// The longest request head; scrapers send some 300 bytes.
const MOST_BYTES: usize = 8 * 1024;

/// What is still read from a client whose request was refused, so that the answer reaches it.
const MOST_DRAINED_BYTES: usize = 64 * 1024;

const MOST_HEADERS: usize = 64;

/// Serves `/metrics`, `/healthz` and `/readyz` until it is dropped.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
) -> Infallible {
    serve_within(TIME, listener, metrics, health).await
}

async fn serve_within(
    time: Duration,
    listener: TcpListener,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
) -> Infallible {
    let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    // Aborts what is being served when the server is dropped.
    let mut served = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            // Never: nobody closes the semaphore.
            return std::future::pending().await;
        };
        while served.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // Of one connection that is gone already, or of no more descriptors: wait for some.
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (metrics, health) = (Arc::clone(&metrics), Arc::clone(&health));
        served.spawn(async move {
            // A client that is slow or goes away costs nothing but its own answer.
            let _ = timeout(time, answer(stream, &metrics, &health)).await;
            drop(permit);
        });
    }
}

struct Response {
    status: &'static str,
    content_type: &'static str,
    body: String,
    /// HEAD: the length is told, the body is not sent.
    without_body: bool,
}

impl Response {
    fn text(status: &'static str, body: impl Into<String>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into(),
            without_body: false,
        }
    }
}

async fn answer(mut stream: TcpStream, metrics: &Metrics, health: &Health) -> io::Result<()> {
    let response = match read_head(&mut stream).await? {
        Some(head) => respond(&head, metrics, health),
        None => Response::text(
            "431 Request Header Fields Too Large",
            "the request is too long\n",
        ),
    };
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        response.status,
        response.content_type,
        response.body.len(),
    );
    stream.write_all(head.as_bytes()).await?;
    if !response.without_body {
        stream.write_all(response.body.as_bytes()).await?;
    }
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection and take the answer along.
    let mut drained = 0;
    let mut buffer = [0; 1024];
    while drained < MOST_DRAINED_BYTES {
        match stream.read(&mut buffer).await? {
            0 => break,
            count => drained += count,
        }
    }
    Ok(())
}

/// Reads up to the end of the request head; none if it is too long.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::with_capacity(1024);
    loop {
        if head.len() >= MOST_BYTES {
            return Ok(None);
        }
        let mut rest = (&mut *stream).take((MOST_BYTES - head.len()) as u64);
        if rest.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Whatever cannot be read as a head is complete enough to be refused.
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let is_partial = httparse::Request::new(&mut headers)
            .parse(&head)
            .is_ok_and(|status| status.is_partial());
        if !is_partial {
            return Ok(Some(head));
        }
    }
}

fn respond(head: &[u8], metrics: &Metrics, health: &Health) -> Response {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let (Ok(_), Some(method), Some(target)) = (request.parse(head), request.method, request.path)
    else {
        return Response::text("400 Bad Request", "expected an HTTP/1.1 request\n");
    };
    if !matches!(method, "GET" | "HEAD") {
        return Response::text("405 Method Not Allowed", "expected GET\n");
    }
    let path = target.split('?').next().unwrap_or_default();
    let mut response = match path {
        "/metrics" => Response {
            content_type: CONTENT_TYPE,
            ..Response::text("200 OK", metrics.render())
        },
        "/healthz" => match health.failures(Instant::now()) {
            failures if failures.is_empty() => Response::text("200 OK", "ok\n"),
            failures => Response::text("503 Service Unavailable", failures.join("\n") + "\n"),
        },
        "/readyz" => match health.waiting_for() {
            waiting if waiting.is_empty() => Response::text("200 OK", "ready\n"),
            waiting => Response::text(
                "503 Service Unavailable",
                format!("waiting for {}\n", waiting.join(", ")),
            ),
        },
        _ => Response::text("404 Not Found", "expected /metrics, /healthz or /readyz\n"),
    };
    response.without_body = method == "HEAD";
    response
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time::{Instant, timeout},
    };

    use super::{Health, MOST_CONNECTIONS, Metrics, TIME, serve_within};
    use crate::telemetry::SinkNumbers;

    struct Server {
        address: SocketAddr,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
    }

    impl Server {
        async fn start() -> Self {
            Self::start_within(TIME).await
        }

        async fn start_within(time: Duration) -> Self {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let server = Self {
                address: listener.local_addr().unwrap(),
                health: Health::new(),
                metrics: Arc::new(Metrics::new()),
            };
            let (metrics, health) = (Arc::clone(&server.metrics), Arc::clone(&server.health));
            tokio::spawn(serve_within(time, listener, metrics, health));
            server
        }

        async fn send(&self, request: &[u8]) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request).await.unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).await.unwrap();
            response
        }

        async fn get(&self, path: &str) -> String {
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            self.send(request.as_bytes()).await
        }
    }

    #[tokio::test]
    async fn the_three_paths() {
        let server = Server::start().await;
        server.metrics.set_sinks(vec![SinkNumbers {
            name: "collector:6514".into(),
            sent: 5,
            ..SinkNumbers::default()
        }]);
        let page = server.get("/metrics").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4"));
        let sent = "\nmeshwitness_sink_sent_records_total{sink=\"collector:6514\"} 5\n";
        assert!(page.contains(sent), "{page}");
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));

        let task = server.health.wait_for("capture");
        let waiting = server.get("/readyz").await;
        assert!(waiting.starts_with("HTTP/1.1 503 ") && waiting.ends_with("waiting for capture\n"));
        task.done();
        assert!(
            server
                .get("/readyz?verbose")
                .await
                .starts_with("HTTP/1.1 200 ")
        );

        assert!(server.get("/healthz").await.starts_with("HTTP/1.1 200 "));
        server.health.failed("capture", "the ring is not read");
        let failed = server.get("/healthz").await;
        assert!(failed.starts_with("HTTP/1.1 503 "));
        assert!(failed.ends_with("\r\n\r\ncapture: the ring is not read\n"));
    }

    #[tokio::test]
    async fn requests_that_are_refused() {
        let server = Server::start().await;
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(20_000));
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            (
                "POST /metrics HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc",
                "405",
            ),
            ("\u{16}\u{3}\u{1}\0", "400"),
            ("GET /metrics HTTP/1.1\r\nbad header\r\n\r\n", "400"),
            (&long, "431"),
        ] {
            let response = server.send(request.as_bytes()).await;
            assert!(
                response.starts_with(&format!("HTTP/1.1 {status} ")),
                "{response}"
            );
        }
        let head = server.send(b"HEAD /readyz HTTP/1.0\r\n\r\n").await;
        assert!(head.contains("content-length: 6\r\n") && head.ends_with("\r\n\r\n"));
    }

    #[tokio::test]
    async fn slow_clients_are_sent_away_and_others_are_served_then() {
        let time = Duration::from_millis(300);
        let server = Server::start_within(time).await;
        let mut slow = Vec::new();
        for _ in 0..MOST_CONNECTIONS {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(b"GET /metr").await.unwrap();
            slow.push(stream);
        }
        let begin = Instant::now();
        let page = timeout(100 * time, server.get("/metrics")).await.unwrap();
        assert!(page.starts_with("HTTP/1.1 200 "));
        assert!(begin.elapsed() > time / 2, "{:?}", begin.elapsed());
        let mut end = [0; 1];
        assert_eq!(slow[0].read(&mut end).await.unwrap_or(0), 0);
    }
}
