//! The way up: frames (newest wins), events (all arrive), status (latest is enough).

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use parking_lot::Mutex;

use crate::api::{Event, Frame, Status};

pub(crate) struct Outlet {
    frames: Sender<Frame>,
    /// The app's own end, to take back a frame that nobody fetched.
    untaken: Receiver<Frame>,
    events: Sender<Event>,
    status: Arc<Mutex<Status>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Outlet {
    pub(crate) fn new(
        frames: Sender<Frame>,
        untaken: Receiver<Frame>,
        events: Sender<Event>,
        status: Arc<Mutex<Status>>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            frames,
            untaken,
            events,
            status,
            wake: Box::new(wake),
        }
    }

    /// Hands a frame up; one that was not fetched yet is replaced.
    pub(crate) fn publish(&self, frame: Frame) {
        let mut frame = frame;
        while let Err(TrySendError::Full(rejected)) = self.frames.try_send(frame) {
            drop(self.untaken.try_recv());
            frame = rejected;
        }
        (self.wake)();
    }

    /// Hands an event up; waits while the app has let too many pile up.
    pub(crate) fn report(&self, event: Event) {
        // A receiver that is gone means that the app ends; nobody is left to tell.
        drop(self.events.send(event));
        (self.wake)();
    }

    /// Changes the status that the app reads.
    pub(crate) fn set_status(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock());
    }

    /// Tells the app that there is something new to read.
    pub(crate) fn wake(&self) {
        (self.wake)();
    }
}
