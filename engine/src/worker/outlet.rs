//! The way up: frames (newest wins), events (all arrive but those that only say how far something is), status (latest is
//! enough).

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

    /// Hands an event up that a later one makes good for: it is dropped where too many pile up.
    pub(crate) fn mention(&self, event: Event) {
        drop(self.events.try_send(event));
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

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use crate::api::JobId;

    #[test]
    fn how_far_a_render_is_waits_for_nobody() {
        let ((frames, untaken), (sender, events)) = (bounded(1), bounded(2));
        let outlet = Outlet::new(frames, untaken, sender, Arc::default(), || ());
        for done in 1..=5 {
            outlet.mention(Event::RenderProgress {
                job: JobId(1),
                done,
                total: 5,
            });
        }
        assert_eq!(events.len(), 2);
    }
}
