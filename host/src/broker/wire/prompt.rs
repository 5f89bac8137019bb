//! A connection that confirms to the sender's kernel at once what came over it.
//!
//! Acknowledgements of MQTT leave in order, so a message that takes long holds back those behind
//! it, and meanwhile nothing of ours leaves. The kernel then confirms what it received only after
//! its delayed ACK, 40 ms on Linux, and a broker that gathers small packets (Nagle's algorithm,
//! which Mosquitto uses unless told otherwise) sends nothing until then: messages of every
//! pipeline on the connection waited for it. Likewise a publication's confirmation, behind that
//! of a large one. So each read asks for the confirmation at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rumqttc_v5::{NetworkOptions, default_socket_connect};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

/// How long an address may take before the next one is tried beside it.
const BESIDE: Duration = Duration::from_millis(250);

/// Connects to the first address of `host` that answers.
pub(super) async fn connect(host: String, options: NetworkOptions) -> io::Result<Prompt> {
    let mut attempts = JoinSet::new();
    for (place, address) in (0_u32..).zip(lookup_host(host).await?) {
        let options = options.clone();
        attempts.spawn(async move {
            tokio::time::sleep(BESIDE * place).await;
            default_socket_connect(address.to_string(), options).await
        });
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(stream)) => return Ok(Prompt(stream)),
            Ok(Err(error)) => last = error,
            Err(ended) => last = io::Error::other(ended),
        }
    }
    Err(last)
}

/// The stream. The kernel falls back by itself, so it is told after each read.
pub(super) struct Prompt(TcpStream);

impl Prompt {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn confirm(&self) {
        // Where it is refused, messages come a little later.
        let _later = socket2::SockRef::from(&self.0).set_tcp_quickack(true);
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn confirm(&self) {}
}

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.0).poll_read(context, buffer);
        if read.is_ready() {
            self.confirm();
        }
        read
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn passes_on_what_comes_and_what_goes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut ours = connect(address, NetworkOptions::new()).await.unwrap();
        let (mut theirs, _) = listener.accept().await.unwrap();
        let mut heard = [0; 4];
        ours.write_all(b"ping").await.unwrap();
        theirs.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"ping");
        theirs.write_all(b"pong").await.unwrap();
        ours.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"pong");
        drop(theirs);
        assert_eq!(ours.read(&mut heard).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn says_why_nobody_answers() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let refused = connect(closed.to_string(), NetworkOptions::new()).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
