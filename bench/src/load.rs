//! The load: connections that are kept, each with one request under way at a time.
//!
//! It shares the cores with what it measures, so it does little: requests are copied or written into a buffer that each
//! connection keeps, one thread serves all connections, and an answer is read no further than to its end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

/// The requests of a workload, by their number.
#[derive(Clone)]
pub enum Requests {
    /// Some, again and again.
    Ready(Arc<Vec<Vec<u8>>>),
    /// Each written when it is sent.
    Each(Arc<Write>),
}

pub type Write = dyn Fn(usize, &mut Vec<u8>) + Send + Sync;

impl Requests {
    /// The first `count` of those, written before they are needed.
    pub fn ready(count: usize, write: impl Fn(usize, &mut Vec<u8>)) -> Self {
        let one = |number| {
            let mut request = Vec::new();
            write(number, &mut request);
            request
        };
        Self::Ready(Arc::new((0..count).map(one).collect()))
    }

    pub fn each(write: impl Fn(usize, &mut Vec<u8>) + Send + Sync + 'static) -> Self {
        Self::Each(Arc::new(write))
    }

    /// The bytes of the request with this number; `buffer` may be used for them.
    pub fn get<'a>(&'a self, number: usize, buffer: &'a mut Vec<u8>) -> &'a [u8] {
        match self {
            Self::Ready(requests) => &requests[number % requests.len()],
            Self::Each(write) => {
                buffer.clear();
                write(number, buffer);
                buffer
            }
        }
    }
}

/// Where the numbers of the requests come from: each is used once, and a workload goes on where it was.
pub type Counter = Arc<AtomicUsize>;

const MOST_HEADERS: usize = 64;

/// What is sent where, and for how long.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub connections: usize,
    pub time: Duration,
    /// How many calls a second are made in all; as many as there can be without it.
    pub pace: Option<f64>,
    pub requests: Requests,
    pub numbers: Counter,
    /// No number from here on is used.
    pub end: usize,
    /// What is in an answer that is what was asked for, beside its status.
    pub shows: &'static str,
}

#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    pub calls: usize,
    pub errors: usize,
    pub seconds: f64,
    /// A second.
    pub rate: f64,
    /// In microseconds, like all that follow.
    pub p50: u32,
    pub p95: u32,
    pub p99: u32,
    pub most: u32,
}

/// Sends requests from all connections until the time is over or the numbers are.
///
/// # Errors
/// When a connection can't be opened, or breaks.
pub async fn drive(load: Load) -> Result<Measured> {
    tokio::task::spawn_blocking(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(all(load))
    })
    .await?
}

async fn all(load: Load) -> Result<Measured> {
    let mut streams = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        let stream = TcpStream::connect(load.address).await.context("no connection")?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let failures = Arc::new(Failures::default());
    let began = Instant::now();
    let tasks: Vec<_> = streams
        .into_iter()
        .enumerate()
        .map(|(at, stream)| {
            tokio::spawn(connection(load.clone(), at, stream, began, failures.clone()))
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let seconds = began.elapsed().as_secs_f64();
    times.sort_unstable();
    let first = failures.first.lock().map_err(|_| anyhow!("a connection panicked"))?.take();
    if let Some(error) = first {
        eprintln!("the first answer that was not what was asked for: {error}");
    }
    ensure!(!times.is_empty(), "nothing was measured: there were no requests left");
    let at = |hundredths: usize| times[(times.len() - 1) * hundredths / 100];
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = times.len() as f64 / seconds;
    Ok(Measured {
        calls: times.len(),
        errors: failures.count.load(Ordering::Relaxed),
        seconds,
        rate,
        p50: at(50),
        p95: at(95),
        p99: at(99),
        most: at(100),
    })
}

/// Answers that were not what was asked for.
#[derive(Default)]
struct Failures {
    count: AtomicUsize,
    first: Mutex<Option<String>>,
}

impl Failures {
    fn add(&self, answer: &[u8]) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut first) = self.first.lock() {
            first.get_or_insert_with(|| String::from_utf8_lossy(answer).into_owned());
        }
    }
}

/// The microseconds that each call of one connection took.
async fn connection(
    load: Load,
    at: usize,
    mut stream: TcpStream,
    began: Instant,
    failures: Arc<Failures>,
) -> Result<Vec<u32>> {
    let (mut times, mut answer, mut buffer) =
        (Vec::with_capacity(1 << 14), Vec::with_capacity(1 << 14), Vec::new());
    let mut ticks = load.pace.map(|pace| {
        #[expect(clippy::cast_precision_loss, reason = "there are not that many connections")]
        let (at, all) = (at as f64, load.connections as f64);
        let first = began + Duration::from_secs_f64(at / pace);
        let mut ticks = tokio::time::interval_at(first.into(), Duration::from_secs_f64(all / pace));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    loop {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let sent = Instant::now();
        if sent.duration_since(began) >= load.time {
            break;
        }
        let number = load.numbers.fetch_add(1, Ordering::Relaxed);
        if number >= load.end {
            break;
        }
        stream.write_all(load.requests.get(number, &mut buffer)).await?;
        let status = read_answer(&mut stream, &mut answer).await?;
        times.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        if !(200..400).contains(&status) {
            failures.add(&answer);
        }
    }
    // Each is not looked at: that would be the load's time, not the server's.
    if !times.is_empty() && !shows(&answer, load.shows) {
        failures.add(&answer);
    }
    Ok(times)
}

/// Whether the answer holds that text.
pub fn shows(answer: &[u8], text: &str) -> bool {
    text.is_empty() || answer.windows(text.len()).any(|window| window == text.as_bytes())
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
        if let Some((status, length)) = head(buffer)?
            && buffer.len() >= length
        {
            return Ok(status);
        }
    }
}

/// The status, and how long the whole answer is; none while its head is not all there.
fn head(answer: &[u8]) -> Result<Option<(u16, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = parsed.parse(answer)? else { return Ok(None) };
    let status = parsed.code.unwrap_or_default();
    let length = parsed
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    match length {
        Some(length) => Ok(Some((status, head + length))),
        None if status == 204 || status == 304 => Ok(Some((status, head))),
        None => bail!("an answer does not say how long it is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_it_says() {
        let read = |text: &str| head(text.as_bytes());
        assert!(matches!(read("HTTP/1.1 200 OK\r\ncontent-le"), Ok(None)));
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert!(matches!(read(whole), Ok(Some((200, length))) if length == whole.len()));
        assert!(matches!(read("HTTP/1.1 304 Not Modified\r\n\r\n"), Ok(Some((304, 29)))));
        assert!(read("HTTP/1.1 200 OK\r\n\r\n{}").is_err(), "its end is the connection's");
    }

    #[test]
    fn ready_requests_come_again_and_others_do_not() {
        let write = |number: usize, out: &mut Vec<u8>| out.extend(number.to_string().as_bytes());
        let mut buffer = b"before".to_vec();
        assert_eq!(Requests::ready(2, write).get(3, &mut buffer), b"1");
        assert_eq!(Requests::each(write).get(3, &mut buffer), b"3");
    }
}
