//! Conversations of the `h2` crate with itself, recorded as they are written.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client, server};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::wire::Talk;
use crate::http::tests::script::{CLIENT, SERVER};

/// One request, and the answer to it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    /// The sizes of the pieces of the body.
    pub(super) body: Vec<usize>,
    pub(super) status: u16,
    pub(super) response_headers: Vec<(String, String)>,
    pub(super) response_body: Vec<usize>,
    pub(super) trailers: Option<Vec<(String, String)>>,
}

/// What both ends say of themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) header_table_size: u32,
    pub(super) max_frame_size: u32,
    pub(super) window: u32,
    /// The most bytes of one write.
    pub(super) write: usize,
}

/// What both ends write while all calls are made at once.
pub(super) fn record(calls: &[Call], settings: Settings) -> Talk {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let written = Arc::new(Mutex::new(Talk::default()));
    let ends = tokio::io::duplex(1 << 16);
    let recorded = |end: usize, io: DuplexStream| Recorded {
        end,
        io,
        most: settings.write,
        talk: Arc::clone(&written),
    };
    let (client, server) = (recorded(CLIENT, ends.0), recorded(SERVER, ends.1));
    runtime.block_on(async {
        let serving = tokio::spawn(serve(server, calls.to_vec(), settings));
        request(client, calls, settings).await;
        serving.await.unwrap();
    });
    drop(runtime);
    Arc::try_unwrap(written).unwrap().into_inner().unwrap()
}

async fn request(io: Recorded, calls: &[Call], settings: Settings) {
    let mut builder = client::Builder::new();
    builder
        .header_table_size(settings.header_table_size)
        .max_frame_size(settings.max_frame_size)
        .initial_window_size(settings.window)
        .initial_max_send_streams(1000);
    let (sender, connection) = builder.handshake::<_, Bytes>(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut running = Vec::new();
    for call in calls {
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(call.method.as_bytes()).unwrap();
        *request.uri_mut() = format!("http://host{}", call.path).parse().unwrap();
        *request.headers_mut() = map(&call.headers);
        let mut sender = sender.clone().ready().await.unwrap();
        let (response, stream) = sender.send_request(request, call.body.is_empty()).unwrap();
        let body = call.body.clone();
        running.push(tokio::spawn(async move {
            if !body.is_empty() {
                send(stream, &body, None).await;
            }
            drain(response.await.unwrap().into_body()).await;
        }));
    }
    for running in running {
        running.await.unwrap();
    }
    drop(sender);
    connection.await.unwrap().unwrap();
}

async fn serve(io: Recorded, calls: Vec<Call>, settings: Settings) {
    let mut builder = server::Builder::new();
    builder
        .max_header_list_size(1 << 20)
        .max_frame_size(settings.max_frame_size)
        .initial_window_size(settings.window);
    let mut connection = builder.handshake::<_, Bytes>(io).await.unwrap();
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.unwrap();
        let path = request.uri().path_and_query().unwrap().as_str();
        let call = calls.iter().find(|call| call.path == path).unwrap().clone();
        tokio::spawn(async move {
            drain(request.into_body()).await;
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::from_u16(call.status).unwrap();
            *response.headers_mut() = map(&call.response_headers);
            let is_over = call.response_body.is_empty() && call.trailers.is_none();
            let stream = respond.send_response(response, is_over).unwrap();
            if !is_over {
                send(stream, &call.response_body, call.trailers).await;
            }
        });
    }
}

/// Sends the pieces of a body, and trailers behind them.
async fn send(
    mut stream: SendStream<Bytes>,
    sizes: &[usize],
    trailers: Option<Vec<(String, String)>>,
) {
    for (index, size) in sizes.iter().enumerate() {
        let last = index + 1 == sizes.len() && trailers.is_none();
        stream.send_data(Bytes::from(vec![7; *size]), last).unwrap();
        tokio::task::yield_now().await;
    }
    if let Some(trailers) = trailers {
        stream.send_trailers(map(&trailers)).unwrap();
    }
}

async fn drain(mut body: RecvStream) {
    while let Some(data) = body.data().await {
        let length = data.unwrap().len();
        body.flow_control().release_capacity(length).unwrap();
    }
    body.trailers().await.unwrap();
}

fn map(fields: &[(String, String)]) -> HeaderMap {
    let field = |(name, value): &(String, String)| {
        let name: HeaderName = name.parse().unwrap();
        (name, HeaderValue::from_str(value).unwrap())
    };
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        map.append(name, value);
    }
    map
}

/// One end of a connection; what it writes is kept.
struct Recorded {
    end: usize,
    io: DuplexStream,
    most: usize,
    talk: Arc<Mutex<Talk>>,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let most = bytes.len().min(self.most);
        let written = Pin::new(&mut self.io).poll_write(context, &bytes[..most]);
        if let Poll::Ready(Ok(length @ 1..)) = written {
            self.talk.lock().unwrap().add(self.end, &bytes[..length]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
