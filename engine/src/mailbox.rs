//! One slot in which requests merge while the receiver is busy.
//!
//! The engine takes everything at each step border, so that no half-applied edit is ever seen, and memory is
//! bounded by what can be asked, never by how long a step takes.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::api::{Command, CommandBatch};

#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    batch: CommandBatch,
    /// The engine's own threads have something for it.
    is_poked: bool,
    is_closed: bool,
}

impl Mailbox {
    /// Adds a request; never waits for the engine.
    pub(crate) fn push(&self, command: Command) {
        self.state.lock().batch.push(command);
        self.changed.notify_one();
    }

    /// Wakes the receiver without a request; its own threads have finished something.
    pub(crate) fn poke(&self) {
        self.state.lock().is_poked = true;
        self.changed.notify_one();
    }

    /// Tells the receiver to end.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Whether the sender is gone; checked in the middle of long work.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// Looks at what waits without taking it.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&CommandBatch) -> R) -> R {
        look(&self.state.lock().batch)
    }

    /// Takes everything that waits; `None` when the sender is gone.
    pub(crate) fn take(&self) -> Option<CommandBatch> {
        self.state.lock().take()
    }

    /// Waits until there is something or the time is over, then takes it; `None` when the sender is gone.
    pub(crate) fn wait(&self, longest: Option<Duration>) -> Option<CommandBatch> {
        let deadline = longest.map(|longest| Instant::now() + longest);
        let mut state = self.state.lock();
        while !state.is_closed && !state.is_poked && state.batch.is_empty() {
            match deadline {
                Some(deadline) => {
                    if self.changed.wait_until(&mut state, deadline).timed_out() {
                        break;
                    }
                }
                None => self.changed.wait(&mut state),
            }
        }
        state.take()
    }
}

impl State {
    fn take(&mut self) -> Option<CommandBatch> {
        self.is_poked = false;
        (!self.is_closed).then(|| std::mem::take(&mut self.batch))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::{JobId, RunState};

    #[test]
    fn later_requests_of_a_kind_win_and_steps_add_up() {
        let mailbox = Mailbox::default();
        mailbox.push(Command::Run(RunState::Paused));
        mailbox.push(Command::Run(RunState::Running));
        mailbox.push(Command::Step);
        mailbox.push(Command::Step);
        mailbox.push(Command::CancelRender(JobId(3)));
        let batch = mailbox.take().unwrap();
        assert_eq!(batch.run, Some(RunState::Running));
        assert_eq!(batch.steps, 2);
        assert_eq!(batch.cancelled, [JobId(3)]);
        assert!(mailbox.peek(CommandBatch::is_empty));
    }

    #[test]
    fn waiting_ends_with_mail_or_with_the_sender() {
        let mailbox = Arc::new(Mailbox::default());
        let sender = Arc::clone(&mailbox);
        let thread = std::thread::Builder::new()
            .name("sender".to_owned())
            .spawn(move || {
                sender.push(Command::Step);
            })
            .unwrap();
        assert_eq!(mailbox.wait(None).unwrap().steps, 1);
        thread.join().unwrap();
        mailbox.close();
        assert!(mailbox.wait(None).is_none());
    }
}
