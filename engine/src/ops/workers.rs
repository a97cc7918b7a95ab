//! A few threads that work on the parts of one job at a time.
//!
//! Networks are hundreds of small jobs in a row, so handing one out must cost about a microsecond: threads watch for
//! the next job for a moment before they sleep, and the caller, who works too, never waits for a thread that did not
//! wake in time. Which thread does which part never changes a result: jobs are cut by shape alone.
use std::{
    any::Any,
    cell::UnsafeCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle, Thread},
};

use parking_lot::Mutex;

/// How often a thread looks for a next job before it sleeps; some tens of microseconds.
const LOOKS_BEFORE_SLEEP: usize = 3_000;
const CLOSED: isize = -1;

type Job<'a> = dyn Fn(usize) + Sync + 'a;

struct Shared {
    /// Grows with every job; sleeping threads wait for a change.
    epoch: AtomicUsize,
    /// Threads inside the current job, or `CLOSED` between jobs.
    inside: AtomicIsize,
    job: UnsafeCell<Option<*const Job<'static>>>,
    parts: AtomicUsize,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    ends: AtomicBool,
    /// Threads that may work, the caller included.
    allowed: AtomicUsize,
}

// SAFETY: `job` is written only while `inside` is `CLOSED` and read only by threads counted in `inside`; the pointer is
// valid as long as the gate is open, since the caller of `run` closes it before it returns.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn work(&self, job: &Job<'_>) {
        let parts = self.parts.load(Ordering::Relaxed);
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                return;
            }
            job(part);
        }
    }

    fn enter(&self) -> bool {
        let enter = |inside| (inside != CLOSED).then_some(inside + 1);
        self.inside
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, enter)
            .is_ok()
    }

    fn run_thread(&self, index: usize) {
        let mut seen = 0;
        while !self.ends.load(Ordering::Relaxed) {
            let mut looks = 0;
            while self.epoch.load(Ordering::Acquire) == seen && !self.ends.load(Ordering::Relaxed) {
                looks += 1;
                if looks < LOOKS_BEFORE_SLEEP {
                    std::hint::spin_loop();
                } else {
                    // A wake-up between the look and the sleep is kept by `park`.
                    thread::park();
                }
            }
            seen = self.epoch.load(Ordering::Acquire);
            if index >= self.allowed.load(Ordering::Relaxed) || !self.enter() {
                continue;
            }
            // SAFETY: the gate is open and counts this thread, so the job stays until it has left.
            let job = unsafe { (*self.job.get()).map(|job| &*job) };
            if let Some(job) = job
                && let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work(job)))
            {
                // The other parts are of no use any more.
                self.next.store(usize::MAX / 2, Ordering::Relaxed);
                *self.panic.lock() = Some(panic);
            }
            self.inside.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits until all threads have left, and lets no other in.
    fn close(&self) {
        while self
            .inside
            .compare_exchange_weak(0, CLOSED, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            std::hint::spin_loop();
        }
    }
}

/// Threads for the parts of a job; see the module.
pub struct Workers {
    shared: Arc<Shared>,
    /// Held by the one who runs a job.
    turn: Mutex<()>,
    sleepers: Vec<Thread>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// `count` threads in all, the caller included. Those that cannot be started are left out.
    pub fn new(count: usize) -> Self {
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            inside: AtomicIsize::new(CLOSED),
            job: UnsafeCell::new(None),
            parts: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
            ends: AtomicBool::new(false),
            allowed: AtomicUsize::new(count.max(1)),
        });
        let threads: Vec<_> = (1..count)
            .map_while(|index| {
                let shared = Arc::clone(&shared);
                let body = move || {
                    leave_room_for_the_window();
                    shared.run_thread(index);
                };
                thread::Builder::new()
                    .name(format!("engine-cpu-{index}"))
                    .spawn(body)
                    .ok()
            })
            .collect();
        let sleepers = threads.iter().map(|thread| thread.thread().clone()).collect();
        Self {
            shared,
            turn: Mutex::new(()),
            sleepers,
            threads,
        }
    }

    /// As many as there are processors.
    pub fn of_this_machine() -> Self {
        Self::new(thread::available_parallelism().map_or(1, usize::from))
    }

    /// Lets `count` threads work from now on, the caller included, at most as many as were started; `None` is all.
    pub fn allow(&self, count: Option<usize>) {
        let count = count.unwrap_or(usize::MAX).max(1);
        self.shared.allowed.store(count, Ordering::Relaxed);
    }

    /// Threads that may work, the caller included.
    pub fn count(&self) -> usize {
        self.shared
            .allowed
            .load(Ordering::Relaxed)
            .min(self.threads.len() + 1)
    }

    /// Calls `job` with every number below `parts`, on all threads, and returns when all are done. A job inside a job,
    /// or beside another caller's, runs on the calling thread alone.
    pub fn run(&self, parts: usize, job: impl Fn(usize) + Sync) {
        let turn = if self.count() == 1 || parts < 2 {
            None
        } else {
            self.turn.try_lock()
        };
        if turn.is_none() {
            (0..parts).for_each(job);
            return;
        }
        let job: &Job<'_> = &job;
        // SAFETY: only the lifetime is forgotten; `Gate` closes before `job` ends, also in a panic.
        let job_for_threads = unsafe { std::mem::transmute::<&Job<'_>, &'static Job<'static>>(job) };
        self.shared.parts.store(parts, Ordering::Relaxed);
        self.shared.next.store(0, Ordering::Relaxed);
        // SAFETY: the gate is closed and this thread has the turn.
        unsafe { *self.shared.job.get() = Some(std::ptr::from_ref(job_for_threads)) };
        self.shared.inside.store(0, Ordering::Release);
        let gate = Gate(&self.shared);
        self.shared.epoch.fetch_add(1, Ordering::Release);
        for sleeper in self.sleepers.iter().take((parts - 1).min(self.count() - 1)) {
            sleeper.unpark();
        }
        self.shared.work(job);
        drop(gate);
        let panic = self.shared.panic.lock().take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Workers {
    /// As [`Self::run`], where every part writes its own stretch of `data`: part `p` gets what begins at `start(p)` and
    /// ends where the next part begins; `start(parts)` is not asked for, the last part reaches to the end.
    ///
    /// # Panics
    /// If the parts' starts do not rise, or lie outside.
    pub(crate) fn run_on_parts<T: Copy + Send>(
        &self,
        data: &mut [T],
        parts: usize,
        start: impl Fn(usize) -> usize + Sync,
        job: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let length = data.len();
        let end = |part: usize| {
            if part + 1 == parts {
                length
            } else {
                start(part + 1)
            }
        };
        let rises = (0..parts).all(|part| start(part) <= end(part) && end(part) <= length);
        assert!(rises, "parts do not follow each other");
        let data = super::picture::Shared(data.as_mut_ptr());
        self.run(parts, |part| {
            let first = start(part);
            // SAFETY: the parts follow each other inside the data, as asserted.
            let own = unsafe { data.slice(first, end(part) - first) };
            job(part, own);
        });
    }
}

struct Gate<'a>(&'a Shared);

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.next.store(usize::MAX / 2, Ordering::Relaxed);
        }
        self.0.close();
        if thread::panicking() {
            // The caller's own panic is told; another thread's must not wait for the next job.
            drop(self.0.panic.lock().take());
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        for sleeper in &self.sleepers {
            sleeper.unpark();
        }
        for thread in self.threads.drain(..) {
            // A panic inside a job was handed to its caller; a thread has nothing else to say.
            drop(thread.join());
        }
    }
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

/// Lowers the calling thread's priority, so that the window's thread is served first when all processors are busy.
/// Does nothing where the system has no such thing for threads.
pub fn leave_room_for_the_window() {
    #[cfg(target_os = "linux")]
    {
        const NICE: i32 = 5;
        // SAFETY: takes plain numbers; process 0 is the calling thread on Linux. A refusal changes nothing.
        let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
        if result != 0 {
            tracing::debug!("the priority of a thread could not be lowered");
        }
    }
}

/// The threads that a kernel may use.
#[derive(Clone, Copy, Debug)]
pub enum Team<'a> {
    /// The calling thread: others work on other rows of the batch.
    Solo,
    /// All.
    Full(&'a Workers),
}

impl Team<'_> {
    /// Threads.
    pub fn size(&self) -> usize {
        match self {
            Self::Solo => 1,
            Self::Full(workers) => workers.count(),
        }
    }

    /// See [`Workers::run`].
    pub fn run(&self, parts: usize, job: impl Fn(usize) + Sync) {
        match self {
            Self::Solo => (0..parts).for_each(job),
            Self::Full(workers) => workers.run(parts, job),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_done_once() {
        let workers = Workers::new(3);
        for parts in [0, 1, 2, 7, 100] {
            let done: Vec<_> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..200 {
                workers.run(parts, |part| {
                    done[part].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 200));
        }
    }

    #[test]
    fn every_part_has_its_own_stretch() {
        let workers = Workers::new(3);
        let mut data = vec![0; 23];
        workers.run_on_parts(
            &mut data,
            5,
            |part| part * part,
            |part, own| {
                for value in own {
                    *value += part + 1;
                }
            },
        );
        let expected = (0..23).map(|index: usize| index.isqrt().min(4) + 1);
        assert!(data.into_iter().eq(expected));
    }

    #[test]
    fn a_job_inside_a_job_is_done() {
        let workers = Workers::new(2);
        let count = AtomicUsize::new(0);
        workers.run(4, |_| {
            workers.run(5, |_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(count.into_inner(), 20);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_threads_live_on() {
        let workers = Workers::new(2);
        let result = catch_unwind(AssertUnwindSafe(|| {
            workers.run(8, |part| assert!(part != 5, "part five"));
        }));
        assert!(result.is_err());
        let count = AtomicUsize::new(0);
        workers.run(8, |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 8);
    }

    #[test]
    fn a_panic_of_two_threads_does_not_reach_the_next_job() {
        let workers = Workers::new(2);
        let both = std::sync::Barrier::new(2);
        let result = catch_unwind(AssertUnwindSafe(|| {
            workers.run(2, |part| {
                both.wait();
                panic!("part {part}");
            });
        }));
        assert!(result.is_err());
        workers.run(2, |_| {});
    }
}
