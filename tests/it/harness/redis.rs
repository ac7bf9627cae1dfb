//! A way to Redis that a test can cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use super::services::redis_url;

/// A proxy on a port of its own, before the Redis that all tests share.
pub struct WayToRedis {
    address: SocketAddr,
    upstream: String,
    is_silent: Arc<AtomicBool>,
    /// None while it is cut.
    passing: Option<JoinHandle<()>>,
}

impl WayToRedis {
    /// One that is open, or none where there is no Redis.
    pub async fn open() -> Option<Self> {
        let url = Url::parse(&redis_url()?).unwrap();
        let upstream = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(6379));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_silent = Arc::new(AtomicBool::new(false));
        let mut way = Self { address, upstream, is_silent, passing: None };
        way.pass(listener);
        Some(way)
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Cuts every connection, and takes no new ones.
    pub async fn is_cut(&mut self) {
        if let Some(passing) = self.passing.take() {
            passing.abort();
            // It has let go of the port.
            let _ = passing.await;
        }
    }

    pub async fn is_mended(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.pass(listener);
    }

    /// From now on questions arrive and answers don't; or they do again.
    pub fn falls_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::SeqCst);
    }

    fn pass(&mut self, listener: TcpListener) {
        let (upstream, is_silent) = (self.upstream.clone(), self.is_silent.clone());
        self.passing = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(&upstream).await.unwrap();
                let ((mut near_in, near_out), (far_in, mut far_out)) =
                    (near.into_split(), far.into_split());
                connections.spawn(answers(far_in, near_out, is_silent.clone()));
                connections.spawn(async move {
                    let _ = copy(&mut near_in, &mut far_out).await;
                });
            }
        }));
    }
}

impl Drop for WayToRedis {
    fn drop(&mut self) {
        if let Some(passing) = &self.passing {
            passing.abort();
        }
    }
}

async fn answers(mut far: OwnedReadHalf, mut near: OwnedWriteHalf, is_silent: Arc<AtomicBool>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = far.read(&mut buffer).await {
        if !is_silent.load(Ordering::SeqCst) && near.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
