//! tonic as the server.

use std::{
    convert::Infallible,
    future::Future,
    net::{Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use tokio_stream::{Stream, StreamExt};
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    codegen::http,
    metadata::MetadataMap,
    server::{Grpc, NamedService},
    transport::Server,
};
use tower::{Service, service_fn};

use crate::{codec::Plain, reflection::Reflection};

/// The most bytes of metadata: far above what the sidecar lets pass.
const METADATA_BYTES: u32 = 1 << 20;

/// Serves `lab.Echo`, and reflection, until it is killed.
///
/// | method | answer |
/// |---|---|
/// | `Unary` | the message |
/// | `Collect` | one message when all have come |
/// | `Repeat` | the message three times |
/// | `Chat` | each message as it comes |
///
/// `lab-status` in the metadata asks for an answer of that status instead, `lab-wait` for none.
pub(crate) async fn serve(port: u16) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    Server::builder()
        .http2_max_header_list_size(METADATA_BYTES)
        .add_service(Echo)
        .add_service(Reflection)
        .serve(address)
        .await?;
    Ok(())
}

#[derive(Clone, Copy)]
struct Echo;

type Messages = Pin<Box<dyn Stream<Item = Result<Vec<u8>, Status>> + Send>>;

impl NamedService for Echo {
    const NAME: &'static str = "lab.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(Plain);
            Ok(match request.uri().path() {
                "/lab.Echo/Unary" => grpc.unary(service_fn(unary), request).await,
                "/lab.Echo/Collect" => grpc.client_streaming(service_fn(collect), request).await,
                "/lab.Echo/Repeat" => grpc.server_streaming(service_fn(repeat), request).await,
                "/lab.Echo/Chat" => grpc.streaming(service_fn(chat), request).await,
                unknown => Status::unimplemented(unknown).into_http(),
            })
        })
    }
}

async fn unary(request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Status> {
    obey(request.metadata()).await?;
    Ok(Response::new(request.into_inner()))
}

async fn collect(request: Request<Streaming<Vec<u8>>>) -> Result<Response<Vec<u8>>, Status> {
    obey(request.metadata()).await?;
    let mut messages = request.into_inner();
    let mut count = 0_u8;
    while messages.message().await?.is_some() {
        count += 1;
    }
    Ok(Response::new(vec![count]))
}

async fn repeat(request: Request<Vec<u8>>) -> Result<Response<Messages>, Status> {
    obey(request.metadata()).await?;
    let message = request.into_inner();
    let messages = tokio_stream::iter([(); 3].map(|()| Ok(message.clone())));
    Ok(Response::new(Box::pin(messages)))
}

async fn chat(request: Request<Streaming<Vec<u8>>>) -> Result<Response<Messages>, Status> {
    obey(request.metadata()).await?;
    let messages = request.into_inner().map(|message| message);
    Ok(Response::new(Box::pin(messages)))
}

/// Does what the metadata asks for.
async fn obey(metadata: &MetadataMap) -> Result<(), Status> {
    if metadata.contains_key("lab-wait") {
        std::future::pending::<()>().await;
    }
    match metadata.get("lab-status") {
        Some(code) => Err(Status::new(
            Code::from_bytes(code.as_bytes()),
            "as asked for",
        )),
        None => Ok(()),
    }
}
