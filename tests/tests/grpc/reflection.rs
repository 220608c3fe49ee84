//! Server reflection (`grpc/reflection/v1/reflection.proto`), as far as a client needs it that lists
//! the services and asks for one: a stream both ways, whose messages are spelt out here.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio_stream::{Stream, StreamExt};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codegen::http,
    server::{Grpc, NamedService},
};
use tower::{Service, service_fn};

use crate::codec::Plain;

/// The only method.
pub(crate) const PATH: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/// `list_services`.
pub(crate) const LIST: &[u8] = b"\x3a\x00";
/// `file_containing_symbol`.
pub(crate) const FILE: &[u8] = b"\x22\x08lab.Echo";
/// `list_services_response`: one service.
pub(crate) const SERVICES: &[u8] = b"\x32\x0c\x0a\x0a\x0a\x08lab.Echo";
/// `error_response`: NOT_FOUND, since what the messages are no file says.
pub(crate) const NOT_FOUND: &[u8] = b"\x3a\x02\x08\x05";

/// Tells who asks that `lab.Echo` is here.
#[derive(Clone, Copy)]
pub(crate) struct Reflection;

impl NamedService for Reflection {
    const NAME: &'static str = "grpc.reflection.v1.ServerReflection";
}

type Answers = Pin<Box<dyn Stream<Item = Result<Vec<u8>, Status>> + Send>>;

impl Service<http::Request<Body>> for Reflection {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(Plain);
            Ok(grpc.streaming(service_fn(answer), request).await)
        })
    }
}

async fn answer(request: Request<Streaming<Vec<u8>>>) -> Result<Response<Answers>, Status> {
    let answers = request.into_inner().map(|message| match message {
        Ok(message) if message == LIST => Ok(SERVICES.to_vec()),
        Ok(_) => Ok(NOT_FOUND.to_vec()),
        Err(status) => Err(status),
    });
    Ok(Response::new(Box::pin(answers)))
}
