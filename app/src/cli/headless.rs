//! The engine without a window: send a canvas down, wait for pictures.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use crossbeam_channel::{Receiver, bounded};
use wordbrush_engine::{
    Engine,
    api::{Command, EngineConfig, Event, Frame, ModelSummary, Notice, Phase, Picture, RenderJob, Status},
};

/// How often the engine is looked at when it says nothing.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A running engine and what it has said so far.
pub(crate) struct Headless {
    engine: Engine,
    wakes: Receiver<()>,
    model: Option<ModelSummary>,
    notices: Vec<Notice>,
    /// How far a render is.
    steps: Steps,
    /// A finished render that nobody has taken.
    rendered: Option<Picture>,
}

/// How far a render is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Steps {
    pub(crate) done: u32,
    pub(crate) total: u32,
}

impl Headless {
    pub(crate) fn start(config: EngineConfig) -> anyhow::Result<Self> {
        let (wake, wakes) = bounded(1);
        let engine = Engine::start(config, move || {
            // One pending wake-up is enough: everything that is there is taken at once.
            wake.try_send(()).ok();
        })
        .context("cannot start the engine")?;
        Ok(Self {
            engine,
            wakes,
            model: None,
            notices: Vec::new(),
            steps: Steps::default(),
            rendered: None,
        })
    }

    pub(crate) fn send(&self, command: Command) {
        self.engine.send(command);
    }

    /// What was loaded, once it is.
    pub(crate) fn model(&self) -> Option<&ModelSummary> {
        self.model.as_ref()
    }

    /// What the user should be told, once.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    pub(crate) fn status(&self) -> Status {
        self.engine.status()
    }

    /// Waits until the model is there, or cannot be.
    pub(crate) fn wait_for_model(&mut self) -> anyhow::Result<()> {
        while self.model.is_none() {
            self.look()?;
        }
        Ok(())
    }

    /// Has a picture rendered from scratch.
    pub(crate) fn render(
        &mut self,
        job: RenderJob,
        mut progress: impl FnMut(&Status, Steps),
    ) -> anyhow::Result<Picture> {
        while self.model.is_none() {
            self.look()?;
            progress(&self.engine.status(), self.steps);
        }
        self.send(Command::Render(Box::new(job)));
        loop {
            if let Some(picture) = self.rendered.take() {
                return Ok(picture);
            }
            self.look()?;
            progress(&self.engine.status(), self.steps);
        }
    }

    /// Waits for a frame that `is_wanted`; others are dropped.
    pub(crate) fn wait_for_frame(
        &mut self,
        progress: &mut impl FnMut(&Status),
        is_wanted: impl Fn(&Frame) -> bool,
    ) -> anyhow::Result<Frame> {
        loop {
            if let Some(frame) = self.engine.take_frame().filter(|frame| is_wanted(frame)) {
                return Ok(frame);
            }
            self.look()?;
            progress(&self.engine.status());
        }
    }

    /// Waits for the engine to say something, and takes it.
    fn look(&mut self) -> anyhow::Result<()> {
        // A wake-up that was missed only costs one interval.
        self.wakes.recv_timeout(LOOK_INTERVAL).ok();
        let is_alive = self.engine.is_alive();
        self.take_events()?;
        ensure!(is_alive, "the engine has stopped");
        Ok(())
    }

    fn take_events(&mut self) -> anyhow::Result<()> {
        let events: Vec<Event> = self.engine.events().collect();
        for event in events {
            match event {
                Event::ModelLoaded(summary) => self.model = Some(summary),
                Event::ModelFailed(error) => return Err(error).context("cannot load the model"),
                Event::Failed(error) => return Err(error).context("cannot paint"),
                Event::RenderFailed { error, .. } => return Err(error).context("cannot render"),
                Event::Notice(notice) => self.notices.push(notice),
                Event::Restarted { reason } => bail!("the engine had to start again: {reason}"),
                Event::RenderProgress { done, total, .. } => self.steps = Steps { done, total },
                Event::RenderDone { picture, .. } => self.rendered = Some(picture),
            }
        }
        Ok(())
    }
}

/// What the engine does, in a few words for a progress line.
pub(crate) fn phase_text(phase: &Phase) -> String {
    match phase {
        Phase::Empty => "starting".to_owned(),
        Phase::Loading { what, .. } => format!("loading {what}"),
        Phase::Paused | Phase::Streaming | Phase::Settled => "painting".to_owned(),
        Phase::Rendering(_) => "rendering".to_owned(),
        Phase::Failed => "failed".to_owned(),
    }
}
