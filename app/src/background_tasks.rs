//! Work that the window must not wait for: named jobs on a thread of their own, with progress, cancel and a result
//! to be fetched.
//!
//! The app keeps a [`TaskThread`] for each kind of work, so that a download of an hour does not stand in front of a save:
//! "file-io" writes, "file-reading" opens, "frames" keeps frames of the history strip, "masks" changes whole masks,
//! "download" fetches models. A job gets its own snapshot of what it works on; documents are cheap to clone.
//!
//! A thread that writes is waited for at the end of the program, by dropping it. One that only makes or fetches what
//! nobody will see then is left to itself ([`TaskThread::leave`]): a server or a folder on a network may never answer.
//!
//! ```
//! use wordbrush::background_tasks::TaskThread;
//!
//! let files = TaskThread::start("file-io", || { /* request a repaint */ })?;
//! let saving = files.run("Saving castle.wordbrush", |progress| {
//!     progress.set(1, 2);
//!     progress.check()?; // ends the job here if it was cancelled
//!     Ok(42)
//! });
//! // In every tick: `if let Some(result) = saving.poll() { ... }`
//! assert_eq!(saving.wait()?, 42);
//! # Ok::<(), anyhow::Error>(())
//! ```

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context as _, anyhow};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;

/// Jobs that may wait; more at once is a bug of the caller, and answered with an error.
const MAX_WAITING_JOBS: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does one job after the other. Dropping it waits until all accepted jobs are done, so that no save
/// is lost when the window closes.
#[derive(Debug)]
pub struct TaskThread {
    jobs: Option<Sender<Job>>,
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

struct Wake(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Wake {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Wake")
    }
}

/// A job that was asked for: fetch its result with [`Task::poll`]. Dropping it lets the job go on; see [`WantedTask`].
#[derive(Debug)]
pub struct Task<T> {
    name: String,
    progress: Arc<Progress>,
    result: Receiver<anyhow::Result<T>>,
}

/// A job whose result is wanted only as long as this is there: dropping it cancels the job.
#[derive(Debug)]
pub struct WantedTask<T>(Task<T>);

/// How far a job is, and whether it should end.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    is_cancelled: AtomicBool,
    hindrance: Mutex<Option<String>>,
}

/// The error of a job that was cancelled; `error.is::<Cancelled>()` tells it from failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

impl TaskThread {
    /// Starts a thread; `wake` is called from it whenever a result is there to be fetched.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(name: &str, wake: impl Fn() + Send + Sync + 'static) -> anyhow::Result<Self> {
        let (jobs, waiting) = bounded::<Job>(MAX_WAITING_JOBS);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || waiting.iter().for_each(|job| job()))
            .with_context(|| format!("cannot start the thread {name:?}"))?;
        Ok(Self {
            jobs: Some(jobs),
            wake: Arc::new(Wake(Box::new(wake))),
            thread: Some(thread),
        })
    }

    /// Asks for a job; never waits. Jobs run in the order in which they were asked for.
    pub fn run<T: Send + 'static>(
        &self,
        name: impl Into<String>,
        job: impl FnOnce(&Progress) -> anyhow::Result<T> + Send + 'static,
    ) -> Task<T> {
        let (sender, result) = bounded(1);
        let task = Task {
            name: name.into(),
            progress: Arc::new(Progress::default()),
            result,
        };
        let refused = sender.clone();
        let (progress, wake) = (Arc::clone(&task.progress), Arc::clone(&self.wake));
        let job: Job = Box::new(move || {
            // Nobody waits for the result of a task that was dropped.
            drop(sender.send(run_guarded(job, &progress)));
            (wake.0)();
        });
        let sent = match &self.jobs {
            Some(jobs) => jobs.try_send(job),
            None => Err(TrySendError::Disconnected(job)),
        };
        if let Err(error) = sent {
            let reason = match error {
                TrySendError::Full(_) => "too many other jobs are waiting",
                TrySendError::Disconnected(_) => "its thread has ended",
            };
            // The channel holds one result, and none was sent.
            drop(refused.send(Err(anyhow!("it was not begun: {reason}"))));
        }
        task
    }

    /// Lets the thread go without waiting for what it does and has yet to do: the end of the program ends it. Jobs that are
    /// asked for later are refused.
    pub fn leave(&mut self) {
        self.jobs = None;
        self.thread = None;
    }
}

impl Drop for TaskThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A job's panic is caught, so that the thread ends by itself only.
            drop(thread.join());
        }
    }
}

/// A panic in a job is a failure of that job, not of the thread.
fn run_guarded<T>(
    job: impl FnOnce(&Progress) -> anyhow::Result<T>,
    progress: &Progress,
) -> anyhow::Result<T> {
    progress.check()?;
    catch_unwind(AssertUnwindSafe(|| job(progress))).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("unknown reason");
        tracing::error!("a background job failed unexpectedly: {message}");
        Err(anyhow!("it failed unexpectedly: {message}"))
    })
}

impl<T> Task<T> {
    /// What it does, as shown to the user.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The result, once; `None` while it is not there.
    pub fn poll(&self) -> Option<anyhow::Result<T>> {
        self.result.try_recv().ok()
    }

    /// Waits for the result; for tests and the command line.
    ///
    /// # Errors
    /// If the job failed, was cancelled, or its result was fetched before.
    pub fn wait(self) -> anyhow::Result<T> {
        self.result
            .recv()
            .map_err(|_gone| anyhow!("the result was fetched before"))?
    }

    /// Asks the job to end; it does so at its next check.
    pub fn cancel(&self) {
        self.progress.cancel();
    }

    /// How far it is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The same job, cancelled as soon as nobody waits for it any more.
    pub fn cancelled_on_drop(self) -> WantedTask<T> {
        WantedTask(self)
    }
}

impl<T> WantedTask<T> {
    /// As [`Task::poll`].
    pub fn poll(&self) -> Option<anyhow::Result<T>> {
        self.0.poll()
    }
}

impl<T> Drop for WantedTask<T> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Progress {
    /// Tells how much of how much is done, in any unit.
    pub fn set(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// Done and total, in the job's unit; a total of 0 means that it is not known.
    pub fn amounts(&self) -> (u64, u64) {
        (
            self.done.load(Ordering::Relaxed),
            self.total.load(Ordering::Relaxed),
        )
    }

    /// Tells what the job waits for, such as a server that does not answer; `None` when it goes on.
    pub fn set_hindrance(&self, hindrance: Option<String>) {
        *self.hindrance.lock() = hindrance;
    }

    /// What the job waits for, if it does not get on.
    pub fn hindrance(&self) -> Option<String> {
        self.hindrance.lock().clone()
    }

    /// Asks the job to end.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Ends a job that was cancelled, by `?`.
    ///
    /// # Errors
    /// [`Cancelled`] if it was.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled.load(Ordering::Relaxed) {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_run_in_order_and_wake_the_app() {
        let (wake, wakes) = bounded(8);
        let thread = TaskThread::start("test", move || wake.send(()).unwrap()).unwrap();
        let (log, entries) = bounded(8);
        let tasks: Vec<Task<u32>> = (0..3)
            .map(|number| {
                let log = log.clone();
                thread.run(format!("job {number}"), move |progress| {
                    progress.set(number.into(), 3);
                    log.send(number)?;
                    Ok(number)
                })
            })
            .collect();
        for (number, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.name(), format!("job {number}"));
            wakes.recv().unwrap();
            assert_eq!(task.wait().unwrap(), number as u32);
        }
        assert_eq!(entries.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_panic_fails_the_job_and_not_the_thread() {
        let thread = TaskThread::start("test", || ()).unwrap();
        let failed = thread.run("bad", |_| -> anyhow::Result<()> { panic!("out of {}", "luck") });
        assert!(failed.wait().unwrap_err().to_string().contains("out of luck"));
        assert_eq!(thread.run("good", |_| Ok(1)).wait().unwrap(), 1);
    }

    #[test]
    fn cancelled_jobs_say_so() {
        let thread = TaskThread::start("test", || ()).unwrap();
        let (go, may_go) = bounded::<()>(1);
        let running = thread.run("running", move |progress| {
            may_go.recv()?;
            progress.check()?;
            Ok(())
        });
        let waiting = thread.run("waiting", |_| Ok(()));
        running.cancel();
        waiting.cancel();
        go.send(()).unwrap();
        assert!(running.wait().unwrap_err().is::<Cancelled>());
        assert!(waiting.wait().unwrap_err().is::<Cancelled>());
    }

    #[test]
    fn a_job_that_nobody_waits_for_any_more_is_not_begun() {
        let thread = TaskThread::start("test", || ()).unwrap();
        let (go, may_go) = bounded::<()>(1);
        let (begun, jobs) = bounded(2);
        thread.run("in front", move |_| Ok(may_go.recv()?));
        for is_wanted in [false, true] {
            let begun = begun.clone();
            let task = thread.run("job", move |_| Ok(begun.send(is_wanted)?));
            if !is_wanted {
                drop(task.cancelled_on_drop());
            }
        }
        go.send(()).unwrap();
        drop(thread);
        assert_eq!(jobs.try_iter().collect::<Vec<_>>(), [true]);
    }

    #[test]
    fn a_thread_that_is_left_is_not_waited_for() {
        let mut thread = TaskThread::start("test", || ()).unwrap();
        let (_go, may_go) = bounded::<()>(1);
        let stalled = thread.run("stalled", move |_| Ok(may_go.recv()?));
        thread.leave();
        drop(thread);
        assert!(stalled.poll().is_none(), "it still waits for a server");
    }

    #[test]
    fn dropping_the_thread_finishes_what_was_accepted() {
        let (sender, receiver) = bounded(64);
        let thread = TaskThread::start("test", || ()).unwrap();
        for number in 0..20 {
            let sender = sender.clone();
            thread.run("save", move |_| Ok(sender.send(number)?));
        }
        drop(thread);
        assert_eq!(receiver.len(), 20);
    }
}
