//! A connection that is given up when the other side takes nothing for too long.
//!
//! Whoever asks for much and reads none of it would otherwise hold a connection, a task and their buffers for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// A TCP connection whose writes fail once the other side has taken nothing for so long.
pub struct Impatient {
    stream: TcpStream,
    patience: Duration,
    /// Made when a write has to wait, which is rare.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    #[must_use]
    pub fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }

    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        if waiting.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        // What lies in the kernel's buffer would wait on for minutes after the connection is closed.
        if let Err(error) = self.stream.set_zero_linger() {
            tracing::debug!(%error, "SO_LINGER could not be set");
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other side takes nothing")))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair(patience: Duration) -> (Impatient, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (Impatient::new(stream, patience), client)
    }

    #[tokio::test]
    async fn whoever_takes_nothing_is_given_up() {
        let (mut server, mut client) = pair(Duration::from_millis(200)).await;
        let written = async {
            loop {
                server.write_all(&[0; 65536]).await?;
            }
        };
        let Err::<(), io::Error>(error) = written.await else { unreachable!() };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(server);
        // Reset, not left to drain.
        let mut rest = Vec::new();
        let read = client.read_to_end(&mut rest).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn whoever_takes_little_by_little_is_not() {
        let (mut server, mut client) = pair(Duration::from_secs(5)).await;
        let writer = tokio::spawn(async move { server.write_all(&vec![0; 16 << 20]).await });
        let mut taken = 0;
        let mut buffer = vec![0; 65536];
        while taken < 16 << 20 {
            taken += client.read(&mut buffer).await.unwrap();
        }
        writer.await.unwrap().unwrap();
    }
}
