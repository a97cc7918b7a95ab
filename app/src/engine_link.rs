//! The only file that talks to the engine: document changes go down, frames and events become app state.
//!
//! Nothing here waits. A scene is stamped with a [`Revision`]; a frame carries the newest one that had a part in
//! it, so that the freshness light can tell whether the last edit is in the picture.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use wordbrush_engine::{
    Engine, Error,
    api::{
        Command, EngineConfig, Event, Frame, FrameKind, ModelChoice, ModelSummary, Phase, Picture, Revision,
        RunState, StageTimings, StageWork, Status,
    },
};

use crate::document::Document;

/// Frames that the performance plot shows.
pub const PLOTTED_FRAMES: usize = 120;
/// Documents kept until a frame shows them; older ones were overtaken.
const DOCUMENTS_IN_FLIGHT: usize = 24;
/// Frames of so long make the rate that is shown.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// Whether the newest edit is in the picture.
#[derive(Clone, Debug, PartialEq)]
pub enum Freshness {
    /// There is no model.
    NoModel,
    /// A model is being read.
    Loading {
        /// What is being read.
        what: String,
        /// 0 to 1.
        fraction: f32,
    },
    /// The picture shows every edit and is finished.
    Fresh,
    /// Frames are coming; this many until the newest edit is finished.
    Streaming {
        /// Frames to go; `None` in dream mode, which never ends.
        steps_left: Option<u32>,
    },
    /// The newest edit is not in any frame yet.
    Behind,
    /// Stopped by the user.
    Paused {
        /// Whether edits were made since.
        is_stale: bool,
    },
    /// The device makes a picture beside the stream.
    Rendering,
    /// The engine gave up on this scene.
    Failed,
}

/// When a frame came and what it cost.
#[derive(Clone, Copy, Debug)]
pub struct FrameCost {
    /// When it came.
    pub at: Instant,
    /// Its stages.
    pub timings: StageTimings,
}

/// A frame with the document it shows, as far as that is still known.
#[derive(Clone, Debug)]
pub struct ShownFrame {
    /// The frame.
    pub frame: Frame,
    /// What was painted then.
    pub document: Option<Document>,
}

/// The app's end of the engine.
pub struct EngineLink {
    engine: Option<Engine>,
    config: EngineConfig,
    wake: Arc<dyn Fn() + Send + Sync>,
    revision: Revision,
    /// Frames up to this revision are of a canvas that was left.
    left_revision: Revision,
    run: RunState,
    in_flight: VecDeque<(Revision, Document)>,
    frame: Option<ShownFrame>,
    costs: VecDeque<FrameCost>,
    status: Status,
    summary: Option<ModelSummary>,
    loading: Option<ModelChoice>,
    model_error: Option<Error>,
}

impl EngineLink {
    /// Starts an engine. `wake` is called from its thread whenever there is something to take.
    ///
    /// # Errors
    /// If the system gives no thread; the link then stays empty and [`EngineLink::restart`] tries again.
    pub fn new(config: EngineConfig, wake: impl Fn() + Send + Sync + 'static) -> (Self, Result<(), Error>) {
        let mut link = Self {
            engine: None,
            loading: config.model.clone(),
            config,
            wake: Arc::new(wake),
            revision: Revision::default(),
            left_revision: Revision::default(),
            run: RunState::Running,
            in_flight: VecDeque::new(),
            frame: None,
            costs: VecDeque::new(),
            status: Status::default(),
            summary: None,
            model_error: None,
        };
        let started = link.restart();
        (link, started)
    }

    /// Starts the engine anew, after its thread ended or with another device.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn restart(&mut self) -> Result<(), Error> {
        let wake = self.wake.clone();
        self.engine = None;
        let engine = Engine::start(self.config.clone(), move || wake())?;
        engine.send(Command::Run(self.run));
        if let Some((revision, document)) = self.in_flight.back() {
            engine.send(Command::SetScene(*revision, Box::new(document.scene())));
        }
        self.engine = Some(engine);
        Ok(())
    }

    /// Hands a changed document over; returns the revision that its frames will carry.
    pub fn hand_over(&mut self, document: &Document) -> Revision {
        self.revision.0 += 1;
        if self.in_flight.len() == DOCUMENTS_IN_FLIGHT {
            self.in_flight.pop_front();
        }
        self.in_flight.push_back((self.revision, document.clone()));
        self.send(Command::SetScene(self.revision, Box::new(document.scene())));
        self.revision
    }

    /// Asks the engine for something.
    pub fn send(&mut self, command: Command) {
        match &command {
            Command::Run(state) => self.run = *state,
            Command::LoadModel(choice) => {
                self.loading = Some(choice.clone());
                self.model_error = None;
            }
            Command::CancelLoad => self.loading = None,
            // An engine that is started again must have it, too.
            Command::SetThreads(threads) => self.config.threads = *threads,
            _ => {}
        }
        if let Some(engine) = &self.engine {
            engine.send(command);
        }
    }

    /// Takes what the engine has made; returns the events that the app must act on.
    pub fn poll(&mut self) -> Polled {
        let mut polled = Polled::default();
        let Some(engine) = &self.engine else {
            return polled;
        };
        self.status = engine.status();
        polled.events.extend(engine.events());
        let frame = engine.take_frame();
        polled.has_stopped = !engine.is_alive();
        for event in &polled.events {
            self.note(event);
        }
        if let Some(frame) = frame {
            polled.has_frame = self.take(frame);
        }
        if polled.has_stopped {
            self.engine = None;
        }
        polled
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::ModelLoaded(summary) => {
                // An engine that is started again must have it, too.
                self.config.model = Some(summary.choice.clone());
                self.summary = Some(summary.clone());
                self.loading = None;
                self.model_error = None;
            }
            // The painter gave it up and knows; by now another one may be loading.
            Event::ModelFailed(Error::Cancelled) => {}
            Event::ModelFailed(error) => {
                self.loading = None;
                self.model_error = Some(error.clone());
            }
            _ => {}
        }
    }

    /// Answers whether there is another picture to be shown.
    fn take(&mut self, frame: Frame) -> bool {
        if self.costs.len() == PLOTTED_FRAMES {
            self.costs.pop_front();
        }
        self.costs.push_back(FrameCost {
            at: Instant::now(),
            timings: frame.timings,
        });
        if frame.revision <= self.left_revision {
            return false;
        }
        while self.in_flight.len() > 1 && self.in_flight[0].0 < frame.revision {
            self.in_flight.pop_front();
        }
        let shown = self
            .in_flight
            .iter()
            .find(|(revision, _)| *revision == frame.revision);
        let document = shown.map(|(_, document)| document.clone());
        self.frame = Some(ShownFrame { frame, document });
        true
    }

    /// The newest frame.
    pub fn frame(&self) -> Option<&ShownFrame> {
        self.frame.as_ref()
    }

    /// Forgets the picture on screen, and those on their way, as they are of another canvas than the one that is handed
    /// over next.
    pub fn begin_canvas(&mut self) {
        self.left_revision = self.revision;
        self.frame = None;
    }

    /// Shows a picture until the next frame comes: that of a document which was just brought back.
    pub fn show(&mut self, picture: Picture) {
        let frame = Frame {
            // Older than every revision that is handed over, so that it never counts as up to date.
            revision: Revision::default(),
            sequence: 0,
            picture,
            kind: FrameKind::Preview,
            steps_until_settled: 0,
            timings: StageTimings::default(),
            work: StageWork::default(),
        };
        self.frame = Some(ShownFrame {
            frame,
            document: None,
        });
    }

    /// The engine's last known state.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The model in use.
    pub fn summary(&self) -> Option<&ModelSummary> {
        self.summary.as_ref()
    }

    /// The model that was asked for and has not come yet.
    pub fn loading(&self) -> Option<&ModelChoice> {
        self.loading.as_ref()
    }

    /// Why the last model could not be loaded.
    pub fn model_error(&self) -> Option<&Error> {
        self.model_error.as_ref()
    }

    /// Whether the user lets frames be made.
    pub fn run_state(&self) -> RunState {
        self.run
    }

    /// How many threads models on the processor may use; all if there is no number.
    pub fn threads(&self) -> Option<usize> {
        self.config.threads
    }

    /// The newest revision handed over.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The last frames' costs, oldest first.
    pub fn costs(&self) -> &VecDeque<FrameCost> {
        &self.costs
    }

    /// Frames per second over the last two seconds in which frames came, however long ago that is; `None` before
    /// the first one.
    pub fn frames_per_second(&self) -> Option<f32> {
        let newest = self.costs.back()?;
        let recent = |cost: &&FrameCost| newest.at - cost.at < RATE_WINDOW;
        let (count, oldest) = (self.costs.iter().rev().take_while(recent))
            .fold((0, newest.at), |(count, _), cost| (count + 1, cost.at));
        let span = (newest.at - oldest).as_secs_f32();
        if count > 1 && span > 0.0 {
            return Some((count - 1) as f32 / span);
        }
        // A single frame: what it took itself.
        let seconds = newest.timings.total_ms / 1000.0;
        (seconds > 0.0).then(|| 1.0 / seconds)
    }

    /// Whether the newest edit is in the picture.
    pub fn freshness(&self) -> Freshness {
        let shown = self.frame.as_ref().map(|shown| &shown.frame);
        let shows_newest = shown.is_some_and(|frame| frame.revision == self.revision);
        match &self.status.phase {
            Phase::Loading { what, fraction } if self.summary.is_none() => Freshness::Loading {
                what: what.clone(),
                fraction: *fraction,
            },
            Phase::Empty => Freshness::NoModel,
            Phase::Failed => Freshness::Failed,
            Phase::Rendering(_) => Freshness::Rendering,
            Phase::Paused => Freshness::Paused {
                is_stale: !shows_newest,
            },
            _ if !shows_newest => Freshness::Behind,
            Phase::Settled => Freshness::Fresh,
            Phase::Streaming | Phase::Loading { .. } => {
                let left = shown.map_or(0, |frame| frame.steps_until_settled);
                let is_unfinished = left > 0 || shown.is_some_and(|frame| frame.kind == FrameKind::Preview);
                Freshness::Streaming {
                    // In a dream no step is the last one.
                    steps_left: (is_unfinished && left > 0).then_some(left),
                }
            }
        }
    }
}

/// What one look at the engine brought.
#[derive(Debug, Default)]
pub struct Polled {
    /// Events, oldest first.
    pub events: Vec<Event>,
    /// Whether there is a new frame.
    pub has_frame: bool,
    /// Whether the thread has ended unasked.
    pub has_stopped: bool,
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::CanvasSize;

    use super::*;

    fn frame(revision: u64, shade: u8) -> Frame {
        Frame {
            revision: Revision(revision),
            sequence: 0,
            picture: Picture::solid(CanvasSize::new(64, 64).unwrap(), [shade; 4]),
            kind: FrameKind::Complete,
            steps_until_settled: 0,
            timings: StageTimings::default(),
            work: StageWork::default(),
        }
    }

    fn shade(link: &EngineLink) -> Option<u8> {
        link.frame().map(|shown| shown.frame.picture.rgba()[0])
    }

    #[test]
    fn a_load_that_was_given_up_is_no_error() {
        let (mut link, _) = EngineLink::new(EngineConfig::default(), || {});
        let choice = ModelChoice::plain(wordbrush_engine::api::ModelSource::Toy);
        link.loading = Some(choice.clone());
        link.note(&Event::ModelFailed(Error::Cancelled));
        assert!(link.model_error().is_none());
        assert_eq!(
            link.loading(),
            Some(&choice),
            "one that was asked for since goes on"
        );
        link.note(&Event::ModelFailed(Error::NoModel));
        assert!(link.model_error().is_some() && link.loading().is_none());
    }

    #[test]
    fn a_frame_on_its_way_never_becomes_the_picture_of_another_canvas() {
        let (mut link, _) = EngineLink::new(EngineConfig::default(), || {});
        let document = Document::new(CanvasSize::new(64, 64).unwrap());
        link.hand_over(&document);
        assert!(link.take(frame(1, 10)));
        link.begin_canvas();
        assert_eq!(shade(&link), None);
        link.show(frame(0, 20).picture);
        assert!(!link.take(frame(1, 30)), "it was on its way");
        assert_eq!(shade(&link), Some(20));
        link.hand_over(&document);
        assert!(link.take(frame(2, 40)));
        assert_eq!(shade(&link), Some(40));
    }
}
