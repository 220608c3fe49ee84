//! tonic as the client.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{
    Request, Status, client,
    codegen::http::uri::PathAndQuery,
    metadata::{MetadataKey, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{codec::Plain, reflection};

/// The deadline of calls that are not to meet it.
const DEADLINE: Duration = Duration::from_millis(300);
/// How much metadata stands in one value: below what any side takes for one header.
const VALUE_BYTES: usize = 4096;

/// Calls each method in each way; the ids of the calls begin with `prefix`.
pub(crate) async fn kinds(address: &str, prefix: &str) -> Result<()> {
    let echo = Echo::connect(address, prefix).await?;
    for round in 0..5 {
        let id = |kind: &str| format!("{kind}-{round}");
        echo.unary(&id("unary"), &[]).await?;
        echo.unary(&id("refused"), &[("lab-status", "5")]).await?;
        echo.unary(&id("denied"), &[("lab-status", "16")]).await?;
        echo.collect(&id("collect")).await?;
        echo.repeat(&id("repeat"), &[]).await?;
        echo.repeat(&id("repeat-refused"), &[("lab-status", "9")])
            .await?;
        echo.chat(&id("chat")).await?;
        echo.unknown(&id("unknown")).await?;
        echo.late(&id("late")).await?;
        echo.cancelled(&id("cancelled")).await?;
        echo.reflected(&id("reflected")).await?;
    }
    Ok(())
}

/// One call with so many bytes of metadata.
pub(crate) async fn metadata(address: &str, prefix: &str, bytes: usize) -> Result<()> {
    let echo = Echo::connect(address, prefix).await?;
    let value = "m".repeat(VALUE_BYTES);
    let names: Vec<String> = (0..bytes / VALUE_BYTES)
        .map(|number| format!("lab-fill-{number}"))
        .collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &*value)).collect();
    echo.unary("metadata", &fields).await
}

/// So many calls that are all open at once on one connection.
pub(crate) async fn concurrent(address: &str, prefix: &str, count: usize) -> Result<()> {
    let echo = Echo::connect(address, prefix).await?;
    let mut calls = Vec::new();
    for number in 0..count {
        let echo = echo.clone();
        let (sender, receiver) = mpsc::channel(1);
        sender.send(b"first".to_vec()).await?;
        let task = tokio::spawn(async move {
            let id = format!("concurrent-{number}");
            let request = echo.request(&id, &[], ReceiverStream::new(receiver))?;
            let mut grpc = echo.grpc().await?;
            let messages = grpc.streaming(request, path("Chat"), Plain).await?;
            let mut messages = messages.into_inner();
            let first = messages.message().await?;
            ensure!(first.as_deref() == Some(b"first"), "no echo, but {first:?}");
            Ok((id, messages))
        });
        calls.push((sender, task));
    }
    let mut open = Vec::new();
    for (sender, task) in calls {
        let (id, messages) = task.await??;
        open.push((sender, id, messages));
    }
    // Each has had an answer and none has ended.
    for (sender, id, mut messages) in open {
        drop(sender);
        let end = messages.message().await;
        echo.tell(&id, "Chat", end.map(drop));
    }
    Ok(())
}

/// A connection to the service, whose calls have ids that begin alike.
#[derive(Clone)]
struct Echo {
    channel: Channel,
    prefix: String,
}

impl Echo {
    async fn connect(address: &str, prefix: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        Ok(Self {
            channel: endpoint.connect().await?,
            prefix: prefix.to_owned(),
        })
    }

    async fn unary(&self, id: &str, metadata: &[(&str, &str)]) -> Result<()> {
        let request = self.request(id, metadata, b"message".to_vec())?;
        let mut grpc = self.grpc().await?;
        let answer = grpc.unary(request, path("Unary"), Plain).await;
        self.tell(id, "Unary", answer.map(drop));
        Ok(())
    }

    async fn unknown(&self, id: &str) -> Result<()> {
        let request = self.request(id, &[], b"message".to_vec())?;
        let mut grpc = self.grpc().await?;
        let answer = grpc.unary(request, path("Unknown"), Plain).await;
        self.tell(id, "Unknown", answer.map(drop));
        Ok(())
    }

    async fn collect(&self, id: &str) -> Result<()> {
        let messages = tokio_stream::iter([(); 3].map(|()| b"message".to_vec()));
        let request = self.request(id, &[], messages)?;
        let mut grpc = self.grpc().await?;
        let answer = grpc.client_streaming(request, path("Collect"), Plain);
        self.tell(id, "Collect", answer.await.map(drop));
        Ok(())
    }

    async fn repeat(&self, id: &str, metadata: &[(&str, &str)]) -> Result<()> {
        let request = self.request(id, metadata, b"message".to_vec())?;
        let mut grpc = self.grpc().await?;
        let answer = grpc.server_streaming(request, path("Repeat"), Plain).await;
        let end = match answer {
            Ok(messages) => last(messages.into_inner()).await,
            Err(status) => Err(status),
        };
        self.tell(id, "Repeat", end);
        Ok(())
    }

    async fn chat(&self, id: &str) -> Result<()> {
        let messages = tokio_stream::iter([(); 3].map(|()| b"message".to_vec()));
        let request = self.request(id, &[], messages)?;
        let mut grpc = self.grpc().await?;
        let answer = grpc.streaming(request, path("Chat"), Plain).await?;
        self.tell(id, "Chat", last(answer.into_inner()).await);
        Ok(())
    }

    /// A call that is not answered within its deadline.
    async fn late(&self, id: &str) -> Result<()> {
        let mut request = self.request(id, &[("lab-wait", "")], b"message".to_vec())?;
        request.set_timeout(DEADLINE);
        let mut grpc = self.grpc().await?;
        let answer =
            tokio::time::timeout(DEADLINE, grpc.unary(request, path("Unary"), Plain)).await;
        let end = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("here")));
        self.tell(id, "Unary", end.map(drop));
        Ok(())
    }

    /// A call that the client gives up when the first answer has come.
    async fn cancelled(&self, id: &str) -> Result<()> {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(b"first".to_vec()).await?;
        let request = self.request(id, &[], ReceiverStream::new(receiver))?;
        let mut grpc = self.grpc().await?;
        let answer = grpc.streaming(request, path("Chat"), Plain).await?;
        let first = answer.into_inner().message().await?;
        ensure!(first.is_some(), "no echo");
        self.tell(id, "Chat", Err(Status::cancelled("here")));
        Ok(())
    }

    /// Asks which services there are.
    async fn reflected(&self, id: &str) -> Result<()> {
        let questions = [reflection::LIST, reflection::FILE].map(<[u8]>::to_vec);
        let request = self.request(id, &[], tokio_stream::iter(questions))?;
        let mut grpc = self.grpc().await?;
        let path = PathAndQuery::from_static(reflection::PATH);
        let mut answers = grpc.streaming(request, path, Plain).await?.into_inner();
        for expected in [reflection::SERVICES, reflection::NOT_FOUND] {
            let answer = answers.message().await?;
            ensure!(answer.as_deref() == Some(expected), "got {answer:?}");
        }
        let end = answers.message().await;
        self.tell_path(id, reflection::PATH, end.map(drop));
        Ok(())
    }

    async fn grpc(&self) -> Result<client::Grpc<Channel>> {
        let mut grpc = client::Grpc::new(self.channel.clone());
        grpc.ready().await?;
        Ok(grpc)
    }

    fn request<T>(&self, id: &str, metadata: &[(&str, &str)], message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        let id = self.id(id);
        for (name, value) in metadata.iter().chain(&[("x-request-id", &*id)]) {
            let name = MetadataKey::from_bytes(name.as_bytes())?;
            let value = MetadataValue::try_from(*value).context("in the metadata")?;
            request.metadata_mut().insert(name, value);
        }
        Ok(request)
    }

    fn id(&self, id: &str) -> String {
        format!("{}-{id}", self.prefix)
    }

    fn tell(&self, id: &str, method: &str, end: Result<(), Status>) {
        self.tell_path(id, path(method).as_str(), end);
    }

    /// One line: the call's id, its path, and the status in which it ended here.
    fn tell_path(&self, id: &str, path: &str, end: Result<(), Status>) {
        let code = end.map_or_else(|status| status.code(), |()| tonic::Code::Ok);
        let (id, code) = (self.id(id), i32::from(code));
        // Nobody reads it any more: then nobody will ask why.
        let _ = writeln!(io::stdout(), "{id} {path} {code}");
    }
}

fn path(method: &str) -> PathAndQuery {
    match PathAndQuery::try_from(format!("/lab.Echo/{method}")) {
        Ok(path) => path,
        Err(error) => panic!("{method}: {error}"),
    }
}

/// Reads an answer to its end.
async fn last(mut messages: tonic::Streaming<Vec<u8>>) -> Result<(), Status> {
    while let Some(message) = messages.next().await {
        message?;
    }
    Ok(())
}
