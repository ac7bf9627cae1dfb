//! Many callers, one statement: what is asked while the database is at work is asked together, right after.
//!
//! A lone caller waits for nobody. Under load a batch holds as many as came during the one before, and costs one round
//! trip, and one flush to the disk, for all of them.

use std::fmt;

use tokio::sync::{mpsc, oneshot};

/// The most that are asked together. Each takes some parameters of a statement, whose number both databases limit.
pub const MOST: usize = 256;
/// How many may wait beside those that are being asked; further ones wait for a place.
const QUEUE: usize = 4 * MOST;

/// A queue to one worker that answers many at once.
#[derive(Debug)]
pub struct Batcher<Q, A>(mpsc::Sender<Waiting<Q, A>>);

type Waiting<Q, A> = (Q, oneshot::Sender<A>);

/// The batch came to nothing, and whether it was carried out is not known.
#[derive(Debug)]
pub struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody answered for the batch")
    }
}

impl std::error::Error for Lost {}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Starts the worker, which ends with the last handle. `work` gets at least one question and at most [`MOST`], and
    /// answers them in their order.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn new<F>(work: impl Fn(Vec<Q>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Vec<A>> + Send + 'static,
    {
        let (sender, mut queue) = mpsc::channel::<Waiting<Q, A>>(QUEUE);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(MOST);
            while queue.recv_many(&mut batch, MOST).await > 0 {
                let (questions, callers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
                // A task of its own, so that a panic costs one batch and not the worker.
                let answers = tokio::spawn(work(questions)).await.unwrap_or_default();
                for (caller, answer) in callers.into_iter().zip(answers) {
                    // Whoever has gone needs no answer.
                    let _ = caller.send(answer);
                }
            }
        });
        Self(sender)
    }

    /// Asks with the next batch. Dropping the future does not take the question back.
    ///
    /// # Errors
    /// When the work panicked.
    pub async fn ask(&self, question: Q) -> Result<A, Lost> {
        let (sender, answer) = oneshot::channel();
        self.0.send((question, sender)).await.map_err(|_| Lost)?;
        answer.await.map_err(|_| Lost)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn what_comes_while_the_work_is_done_is_asked_together_and_each_gets_its_own_answer() {
        let (batches, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let batcher = {
            let (batches, gate) = (batches.clone(), gate.clone());
            Batcher::new(move |questions: Vec<usize>| {
                let (batches, gate) = (batches.clone(), gate.clone());
                async move {
                    assert!(questions.len() <= MOST);
                    batches.fetch_add(1, Ordering::Relaxed);
                    let _permit = gate.acquire().await.unwrap();
                    questions.into_iter().map(|question| question * 2).collect()
                }
            })
        };
        let open = async { gate.add_permits(1) };
        let asked = join_all((0..64).map(|question| batcher.ask(question)));
        let (answers, ()) = tokio::join!(asked, open);
        for (question, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.unwrap(), question * 2);
        }
        assert!(batches.load(Ordering::Relaxed) <= 2);
    }

    #[tokio::test]
    async fn a_panic_costs_one_batch() {
        let batcher = Batcher::new(async |questions: Vec<u32>| {
            assert!(!questions.contains(&0), "zero");
            questions
        });
        assert!(batcher.ask(0).await.is_err());
        assert_eq!(batcher.ask(1).await.unwrap(), 1);
    }
}
