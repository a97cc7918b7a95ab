//! The thread "engine": take what was asked, apply it, make one step, publish, wake the app.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use parking_lot::Mutex;

use crate::{
    api::{EngineConfig, Event, Frame, FrameKind, Phase, Picture, RunState, Status},
    mailbox::Mailbox,
};

/// The way up: frames (newest wins), events, status.
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

    pub(crate) fn set_status(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock());
    }
}

/// Runs until the mailbox is closed.
pub(crate) fn run(_config: EngineConfig, mailbox: &Mailbox, outlet: &Outlet) {
    let mut run = RunState::default();
    let mut sequence = 0;
    while let Some(batch) = mailbox.wait(None) {
        if let Some(state) = batch.run {
            run = state;
        }
        let Some((revision, scene)) = batch.scene else {
            continue;
        };
        if run == RunState::Paused {
            continue;
        }
        sequence += 1;
        outlet.set_status(|status| {
            status.phase = Phase::Settled;
            status.revision = revision;
        });
        outlet.publish(Frame {
            revision,
            sequence,
            picture: Picture::solid(scene.size, [255, 255, 255, 255]),
            kind: FrameKind::Complete,
            steps_until_settled: 0,
            timings: crate::api::StageTimings::default(),
        });
    }
}
