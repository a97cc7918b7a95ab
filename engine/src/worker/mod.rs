//! The thread "engine": take what was asked, apply it, make one step, publish, wake the app.
//!
//! Everything slow that is not a step has a thread of its own: models are loaded by [`loader`], prompts are encoded by
//! [`prompts`]; both poke the mailbox when they are done. A panic in a step is caught here: the model is loaded anew and
//! the scene, which the worker keeps, is painted again.

mod calibration;
#[cfg(test)]
mod faults;
mod loader;
mod meter;
mod outlet;
mod painter;
mod prompts;
mod stopwatch;

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use loader::{Loader, Place};
pub(crate) use outlet::Outlet;
use painter::Painter;

use crate::{
    Error,
    api::{
        CommandBatch, DeviceChoice, EngineConfig, Event, FrameKind, JobId, ModelChoice, ModelRequest, Notice,
        NoticeLevel, Phase, RenderJob, Revision, RunState, Scene, ThreadLimit,
    },
    device::abandon,
    error::failure_of_card,
    mailbox::Mailbox,
    ops::leave_room_for_the_window,
};

/// A step that takes longer than this is not begun while edits still come in ...
const SLOW_STEP: Duration = Duration::from_millis(1500);
/// ... but only after this long without one.
const QUIET_TIME: Duration = Duration::from_millis(250);
/// Unexpected ends in a row, without a frame between them, after which the engine waits for the user.
const MAX_RESTARTS: u32 = 3;

/// Runs until the mailbox is closed.
pub(crate) fn run(config: EngineConfig, mailbox: &Arc<Mailbox>, outlet: &Arc<Outlet>) {
    leave_room_for_the_window();
    let mut worker = Worker::new(config, Arc::clone(mailbox), Arc::clone(outlet));
    worker.start_configured_model();
    while let Some(batch) = if worker.has_work() {
        mailbox.take()
    } else {
        mailbox.wait(None)
    } {
        worker.guarded_turn(batch);
    }
}

struct Worker {
    config: EngineConfig,
    mailbox: Arc<Mailbox>,
    outlet: Arc<Outlet>,
    /// The newest scene; kept through restarts.
    scene: Option<(Revision, Box<Scene>)>,
    run: RunState,
    /// Frames asked for while paused.
    steps: u32,
    renders: VecDeque<RenderJob>,
    /// The render that has the device, to be answered for if it ends unexpectedly.
    rendering: Option<JobId>,
    loader: Option<Loader>,
    /// What the loader was asked for, to ask again.
    choice: Option<ModelChoice>,
    painter: Option<Painter>,
    /// The last step failed; nothing is tried until something changes.
    is_stuck: bool,
    /// The newest scene could not be taken over, or a prompt of it not be encoded: what is shown is older.
    is_scene_refused: bool,
    restarts: u32,
}

impl Worker {
    fn new(config: EngineConfig, mailbox: Arc<Mailbox>, outlet: Arc<Outlet>) -> Self {
        Self {
            config,
            mailbox,
            outlet,
            scene: None,
            run: RunState::default(),
            steps: 0,
            renders: VecDeque::new(),
            rendering: None,
            loader: None,
            choice: None,
            painter: None,
            is_stuck: false,
            is_scene_refused: false,
            restarts: 0,
        }
    }

    fn start_configured_model(&mut self) {
        if let Some(choice) = self.config.model.clone() {
            self.load(choice);
        }
    }

    fn load(&mut self, choice: ModelChoice) {
        let place = Place {
            device: self.config.device,
            precision: self.config.precision,
        };
        self.choice = Some(choice.clone());
        if self.painter.is_none() {
            self.set_phase(Phase::Loading {
                what: "the model".to_owned(),
                fraction: 0.0,
            });
        }
        self.loader = Some(Loader::start(choice, place, &self.outlet, &self.mailbox));
    }

    /// Takes new strengths of the present model's LoRAs over, if that is all that changed.
    fn retune(&mut self, choice: &ModelChoice) -> bool {
        let (Some(painter), None) = (&mut self.painter, &self.loader) else {
            return false;
        };
        match painter.retune(choice, Arc::clone(&self.mailbox)) {
            Ok(true) => {
                self.choice = Some(choice.clone());
                self.is_stuck = false;
                self.outlet.report(Event::ModelLoaded(painter.summary().clone()));
                true
            }
            Ok(false) => false,
            Err(error) => {
                tracing::warn!("loading the model again, since its LoRAs could not be changed: {error}");
                false
            }
        }
    }

    /// Whether the next turn would compute something.
    fn has_work(&self) -> bool {
        let Some(painter) = &self.painter else {
            return false;
        };
        if self.is_stuck || self.scene.is_none() {
            return !self.renders.is_empty();
        }
        let wants_frames =
            (self.steps > 0 && painter.has_scene()) || (self.run == RunState::Running && painter.can_step());
        !self.renders.is_empty() || wants_frames
    }

    /// One turn, from which even a panic is survived.
    fn guarded_turn(&mut self, batch: CommandBatch) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.turn(batch))) {
            let text = panic_text(&*panic);
            match failure_of_card(&text, "computing") {
                Some(error) => self.give_up_turn(error),
                None => self.restart(&text),
            }
        }
    }

    /// The card failed where the bindings know of no other way to tell it than to panic.
    fn give_up_turn(&mut self, error: Error) {
        self.give_up_step(error.clone());
        if let Some(painter) = &mut self.painter {
            // It may have been about to take it over.
            painter.expect_scene();
        }
        // Unless starting over has answered it.
        if let Some(job) = self.rendering.take() {
            self.outlet.report(Event::RenderFailed { job, error });
        }
    }

    fn turn(&mut self, batch: CommandBatch) {
        let batch = self.wait_for_quiet(batch);
        self.take_orders(batch);
        self.take_model();
        self.apply_scene();
        // A render waits for its model, but not for one that will not come.
        if self.painter.is_none() && self.loader.is_none() {
            self.refuse_renders();
        }
        if self.painter.is_some()
            && let Some(job) = self.renders.pop_front()
        {
            self.render(job);
        } else if self.has_work() {
            self.step();
        }
        self.report_rest();
    }

    /// On slow devices a step would be outdated before it ends: lets a running stroke come to a pause first.
    fn wait_for_quiet(&self, mut batch: CommandBatch) -> CommandBatch {
        if batch.scene.is_none()
            || self
                .painter
                .as_ref()
                .is_none_or(|painter| painter.last_step() < SLOW_STEP)
        {
            return batch;
        }
        while let Some(more) = self.mailbox.wait(Some(QUIET_TIME)) {
            let is_quiet = more.scene.is_none();
            batch.merge(more);
            if is_quiet {
                break;
            }
        }
        batch
    }

    fn take_orders(&mut self, batch: CommandBatch) {
        // First of all, so that it is not lost if something else that was asked for ends unexpectedly.
        let is_scene_new = batch.scene.is_some();
        if is_scene_new {
            self.scene = batch.scene;
        }
        if let Some(state) = batch.run {
            self.run = state;
        }
        self.steps = self.steps.saturating_add(batch.steps);
        if let Some(ThreadLimit(threads)) = batch.threads {
            self.config.threads = threads;
            if let Some(painter) = &self.painter {
                painter.allow_threads(threads);
            }
        }
        self.renders.extend(batch.renders);
        for id in batch.cancelled {
            let before = self.renders.len();
            self.renders.retain(|job| job.id != id);
            if self.renders.len() < before {
                self.outlet.report(Event::RenderFailed {
                    job: id,
                    error: Error::Cancelled,
                });
            }
        }
        match batch.model {
            Some(ModelRequest::Load(choice)) => {
                self.restarts = 0;
                if !self.retune(&choice) {
                    self.load(choice);
                }
            }
            Some(ModelRequest::Cancel) if self.loader.take().is_some() => {
                self.return_to_present_model();
                if self.painter.is_none() {
                    self.choice = None;
                    self.set_phase(Phase::Empty);
                }
                self.outlet.report(Event::ModelFailed(Error::Cancelled));
            }
            Some(ModelRequest::Cancel) | None => {}
        }
        if is_scene_new {
            self.is_stuck = false;
            if self.painter.is_none() && self.loader.is_none() && self.restarts >= MAX_RESTARTS {
                // The user changed something after the engine had given up: that may have been the reason.
                self.restarts = 0;
                if let Some(choice) = self.choice.clone() {
                    self.load(choice);
                }
            }
            if let Some(painter) = &mut self.painter {
                painter.expect_scene();
            }
        }
    }

    fn take_model(&mut self) {
        let Some(result) = self.loader.as_ref().and_then(Loader::take) else {
            return;
        };
        self.loader = None;
        match result.and_then(|mut loaded| {
            let remark = loaded.remark.take();
            Painter::new(loaded, Arc::clone(&self.mailbox)).map(|painter| (painter, remark))
        }) {
            Ok((painter, remark)) => {
                painter.allow_threads(self.config.threads);
                let summary = painter.summary().clone();
                self.outlet
                    .set_status(|status| status.device.clone_from(&summary.device));
                self.painter = Some(painter);
                self.is_stuck = false;
                self.outlet.report(Event::ModelLoaded(summary));
                if let Some(text) = remark {
                    self.outlet.report(Event::Notice(Notice {
                        level: NoticeLevel::Warning,
                        text,
                    }));
                }
            }
            Err(error) => {
                self.return_to_present_model();
                if self.painter.is_none() {
                    self.set_phase(Phase::Failed);
                }
                self.outlet.report(Event::ModelFailed(error));
            }
        }
    }

    /// The model that paints is the one to load again if need be, not one that never came.
    fn return_to_present_model(&mut self) {
        if let Some(painter) = &self.painter {
            self.choice = Some(painter.summary().choice.clone());
        }
    }

    /// Answers renders that no model will come for.
    fn refuse_renders(&mut self) {
        for job in self.renders.drain(..) {
            let error = Error::NoModel;
            self.outlet.report(Event::RenderFailed { job: job.id, error });
        }
    }

    /// Gives the painter the newest scene, or again where prompts have been encoded since.
    fn apply_scene(&mut self) {
        let (Some(painter), Some((revision, scene))) = (&mut self.painter, &self.scene) else {
            return;
        };
        if let Some(error) = painter.take_prompt_failure() {
            if matches!(error, Error::DeviceLost { .. }) {
                return self.give_up_step(error);
            }
            if goes_on_smaller(&self.outlet, &error, || painter.take_less_memory()) {
                // The prompt is asked for again.
                painter.expect_scene();
            } else {
                self.is_scene_refused = true;
                self.outlet.report(Event::Failed(error));
            }
        }
        if !painter.wants_scene() {
            return;
        }
        let applied = loop {
            match painter.apply(*revision, scene) {
                Err(error) if goes_on_smaller(&self.outlet, &error, || painter.take_less_memory()) => {}
                applied => break applied,
            }
        };
        match applied {
            Ok(unchanged) => {
                self.is_stuck = false;
                self.is_scene_refused = false;
                if let Some(frame) = unchanged {
                    self.outlet.publish(frame);
                }
                let revision = *revision;
                let left = painter.steps_until_settled();
                self.outlet.set_status(|status| {
                    status.revision = revision;
                    status.steps_until_settled = left;
                });
            }
            Err(error) if matches!(error, Error::DeviceLost { .. }) => self.give_up_step(error),
            Err(error) => {
                self.is_scene_refused = true;
                self.outlet.report(Event::Failed(error));
            }
        }
    }

    fn step(&mut self) {
        let Some(painter) = &mut self.painter else { return };
        if self.loader.is_none() {
            self.outlet.set_status(|status| status.phase = Phase::Streaming);
        }
        match painter.step() {
            Ok(frame) => {
                let (rate, memory, peak, left) = (
                    painter.frames_per_second(),
                    painter.memory_bytes(),
                    painter.peak_bytes(),
                    painter.steps_until_settled(),
                );
                self.outlet.set_status(|status| {
                    status.frames_per_second = rate;
                    status.device_memory_bytes = memory;
                    status.device_peak_bytes = peak;
                    status.steps_until_settled = left;
                });
                if let Some(frame) = frame {
                    // A preview is no proof: the first pass gives one every time, and a later one may be what panics.
                    if frame.kind == FrameKind::Complete {
                        self.restarts = 0;
                    }
                    self.steps = self.steps.saturating_sub(1);
                    self.outlet.set_status(|status| status.timings = frame.timings);
                    self.outlet.publish(frame);
                }
            }
            Err(error) => self.give_up_step(error),
        }
    }

    /// A step failed. Out of memory, smaller pieces are tried; a device that was lost is left for the processor;
    /// otherwise the stream rests until something changes.
    fn give_up_step(&mut self, error: Error) {
        if let Some(painter) = &mut self.painter
            && goes_on_smaller(&self.outlet, &error, || painter.take_less_memory())
        {
            return;
        }
        self.steps = 0;
        let is_on_cpu = self.painter.as_ref().is_none_or(Painter::is_on_cpu);
        let stays = matches!(error, Error::OutOfMemory { .. } | Error::NotFinite);
        if matches!(error, Error::DeviceLost { .. }) || !(is_on_cpu || stays) {
            self.config.device = DeviceChoice::Cpu;
            self.config.precision = None;
            if matches!(error, Error::DeviceLost { .. }) {
                self.abandon_card();
            }
            self.restart(&format!("{error}; going on with the processor"));
        } else {
            self.is_stuck = true;
            self.outlet.report(Event::Failed(error));
        }
    }

    fn render(&mut self, job: RenderJob) {
        let Some(painter) = &mut self.painter else { return };
        self.rendering = Some(job.id);
        self.outlet
            .set_status(|status| status.phase = Phase::Rendering(job.id));
        let (outlet, mailbox) = (&self.outlet, &self.mailbox);
        let result = painter.render(
            &job,
            &mut |done, total| {
                outlet.mention(Event::RenderProgress {
                    job: job.id,
                    done,
                    total,
                });
            },
            &|| is_cancelled(mailbox, job.id),
        );
        self.rendering = None;
        match result {
            Ok(picture) => self.outlet.report(Event::RenderDone { job: job.id, picture }),
            Err(error) if matches!(error, Error::DeviceLost { .. }) => {
                // It waits for the processor.
                self.renders.push_front(job);
                self.give_up_step(error);
            }
            Err(error) => {
                if goes_on_smaller(&self.outlet, &error, || painter.take_less_memory_for(&job)) {
                    self.renders.push_front(job);
                } else {
                    self.outlet.report(Event::RenderFailed { job: job.id, error });
                }
            }
        }
    }

    /// Lets go of what is on a card that was lost.
    fn abandon_card(&mut self) {
        if let Some(painter) = self.painter.take() {
            painter.abandon();
        }
        if let Some(Ok(loaded)) = self.loader.take().and_then(|loader| loader.take()) {
            abandon(loaded);
        }
    }

    /// Starts over after a panic or a lost device, with everything the user made.
    fn restart(&mut self, reason: &str) {
        tracing::error!("the engine starts over: {reason}");
        self.painter = None;
        self.loader = None;
        self.restarts += 1;
        if let Some(job) = self.rendering.take() {
            let error = Error::Stopped;
            self.outlet.report(Event::RenderFailed { job, error });
        }
        self.outlet.report(Event::Restarted {
            reason: reason.to_owned(),
        });
        match self.choice.clone() {
            Some(choice) if self.restarts < MAX_RESTARTS => self.load(choice),
            _ => {
                self.refuse_renders();
                self.set_phase(Phase::Failed);
            }
        }
    }

    /// Says what the engine does when it has nothing left to do.
    fn report_rest(&self) {
        if self.has_work() || self.loader.is_some() {
            return;
        }
        let phase = match &self.painter {
            None => return,
            Some(_) if self.is_stuck || self.is_scene_refused => Phase::Failed,
            Some(painter) if painter.is_settled() => Phase::Settled,
            Some(_) if self.run == RunState::Paused => Phase::Paused,
            // A prompt is still being encoded.
            Some(_) => Phase::Streaming,
        };
        self.outlet.set_status(|status| {
            status.phase = phase;
            status.frames_per_second = 0.0;
        });
        self.outlet.wake();
    }

    fn set_phase(&self, phase: Phase) {
        self.outlet.set_status(|status| status.phase = phase);
        self.outlet.wake();
    }
}

/// Whether what failed is to be tried again in smaller pieces: it was for memory, and they do get smaller.
fn goes_on_smaller(outlet: &Outlet, error: &Error, take_less_memory: impl FnOnce() -> bool) -> bool {
    if !matches!(error, Error::OutOfMemory { .. }) || !take_less_memory() {
        return false;
    }
    tracing::warn!("{error}; going on in smaller pieces");
    outlet.report(Event::Notice(Notice {
        level: NoticeLevel::Warning,
        text: "The device has too little memory: going on in smaller pieces, which is slower".to_owned(),
    }));
    true
}

/// Whether the user gave a render up, or the app ends.
fn is_cancelled(mailbox: &Mailbox, job: JobId) -> bool {
    mailbox.is_closed() || mailbox.peek(|batch| batch.cancelled.contains(&job))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown reason".to_owned())
}
