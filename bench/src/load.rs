//! The load: connections that are kept, each with one request under way at a time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The bytes of the request with this number.
pub type Requests = Arc<dyn Fn(usize) -> Arc<[u8]> + Send + Sync>;

/// Where the numbers of the requests come from: each is used once, and a workload goes on where it was.
pub type Counter = Arc<AtomicUsize>;

const MOST_HEADERS: usize = 64;

#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    pub calls: usize,
    pub errors: usize,
    /// A second.
    pub rate: f64,
    /// In microseconds, like all that follow.
    pub p50: u32,
    pub p95: u32,
    pub p99: u32,
    pub most: u32,
}

/// Sends requests from all connections until the time is over or `numbers` has come to `end`.
///
/// # Errors
/// When a connection can't be opened, or breaks.
pub async fn drive(
    address: SocketAddr,
    connections: usize,
    time: Duration,
    requests: &Requests,
    numbers: &Counter,
    end: usize,
) -> Result<Measured> {
    let mut streams = Vec::with_capacity(connections);
    for _ in 0..connections {
        let stream = TcpStream::connect(address).await.context("no connection")?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let errors = Arc::new(AtomicUsize::new(0));
    let first_error = Arc::new(Mutex::new(None));
    let began = Instant::now();
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            let (requests, numbers) = (requests.clone(), numbers.clone());
            let (errors, first_error) = (errors.clone(), first_error.clone());
            tokio::spawn(async move {
                let (mut times, mut buffer) = (Vec::new(), Vec::with_capacity(4096));
                while began.elapsed() < time {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        break;
                    }
                    let request = requests(number);
                    let sent = Instant::now();
                    stream.write_all(&request).await?;
                    let status = read_answer(&mut stream, &mut buffer).await?;
                    times.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                    if !(200..400).contains(&status) {
                        errors.fetch_add(1, Ordering::Relaxed);
                        let text = || String::from_utf8_lossy(&buffer).into_owned();
                        if let Ok(mut first) = first_error.lock() {
                            first.get_or_insert_with(text);
                        }
                    }
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let took = began.elapsed();
    times.sort_unstable();
    if let Ok(Some(error)) = first_error.lock().map(|mut first| first.take()) {
        eprintln!("the first answer that was no success: {error}");
    }
    ensure!(!times.is_empty(), "nothing was measured: there were no requests left");
    let at = |hundredths: usize| times[(times.len() - 1) * hundredths / 100];
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = times.len() as f64 / took.as_secs_f64();
    Ok(Measured {
        calls: times.len(),
        errors: errors.load(Ordering::Relaxed),
        rate,
        p50: at(50),
        p95: at(95),
        p99: at(99),
        most: at(100),
    })
}

/// Sends one request, and has the whole answer.
///
/// # Errors
/// When there is no answer.
pub async fn one(address: SocketAddr, request: &[u8]) -> Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).await?;
    let mut buffer = Vec::new();
    stream.write_all(request).await?;
    let status = read_answer(&mut stream, &mut buffer).await?;
    Ok((status, buffer))
}

/// Reads one whole answer into the buffer, and gives its status. Only those with a length are understood.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<u16> {
    buffer.clear();
    loop {
        ensure!(stream.read_buf(buffer).await? > 0, "the connection was closed");
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head) = answer.parse(buffer)? else { continue };
        let status = answer.code.unwrap_or_default();
        let length = answer
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("content-length"))
            .and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
        let length = match length {
            Some(length) => length,
            None if status == 204 || status == 304 => 0,
            None => bail!("an answer does not say how long it is"),
        };
        if buffer.len() >= head + length {
            return Ok(status);
        }
    }
}
