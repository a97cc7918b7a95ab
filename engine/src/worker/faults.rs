//! What happens when a device has too little memory, or is lost, or a model panics: a worker with a model that fails on
//! purpose.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use candle_core::{Result, Tensor};
use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;

use super::{Outlet, Worker, loader::Loaded, painter::Painter};
use crate::{
    Error,
    api::{
        CanvasSize, Command, DeviceChoice, EngineConfig, Event, Frame, FrameKind, JobId, Mask, ModelChoice,
        ModelSource, NoticeLevel, Phase, Region, RegionId, RenderJob, Revision, RunState, Scene, Status,
    },
    device::Compute,
    mailbox::Mailbox,
    models::{
        toy,
        traits::{Conditioning, Denoiser, ImageCodec, PreparedPrompt, Row, TextEncoder},
    },
    tokenizer::PromptTokenizer,
};

/// Fails with a message where there are more rows than it takes.
struct Narrow {
    denoiser: Box<dyn Denoiser>,
    most_rows: usize,
    message: &'static str,
    /// How it tells.
    fail: fn(&str) -> Result<Tensor>,
}

/// As most operations tell of a failure.
fn by_an_error(message: &str) -> Result<Tensor> {
    candle_core::bail!("{message}")
}

/// As some places in the bindings do.
fn by_a_panic(message: &str) -> Result<Tensor> {
    panic!("called `Result::unwrap()` on an `Err` value: {message}")
}

impl Denoiser for Narrow {
    fn prepare(&self, conditioning: &Conditioning) -> Result<PreparedPrompt> {
        self.denoiser.prepare(conditioning)
    }

    fn predict(&mut self, latents: &Tensor, rows: &[Row<'_>]) -> Result<Tensor> {
        if rows.len() > self.most_rows {
            return (self.fail)(self.message);
        }
        self.denoiser.predict(latents, rows)
    }
}

/// Notes that it was closed, which libraries of a lost card cannot be.
struct Closing {
    denoiser: Box<dyn Denoiser>,
    is_closed: Arc<AtomicBool>,
}

impl Denoiser for Closing {
    fn prepare(&self, conditioning: &Conditioning) -> Result<PreparedPrompt> {
        self.denoiser.prepare(conditioning)
    }

    fn predict(&mut self, latents: &Tensor, rows: &[Row<'_>]) -> Result<Tensor> {
        self.denoiser.predict(latents, rows)
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }
}

/// Panics at every call.
struct Broken(toy::ToyDenoiser);

impl Denoiser for Broken {
    fn prepare(&self, conditioning: &Conditioning) -> Result<PreparedPrompt> {
        self.0.prepare(conditioning)
    }

    fn predict(&mut self, _: &Tensor, _: &[Row<'_>]) -> Result<Tensor> {
        panic!("the denoiser is broken");
    }
}

/// Decodes only in the smallest pieces.
struct Small {
    codec: Box<dyn ImageCodec>,
    halvings_left: u32,
}

impl ImageCodec for Small {
    fn encode(&self, pictures: &Tensor, noise: Option<&Tensor>) -> Result<Tensor> {
        self.codec.encode(pictures, noise)
    }

    fn decode(&mut self, latents: &Tensor) -> Result<Tensor> {
        if self.halvings_left > 0 {
            candle_core::bail!("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")");
        }
        self.codec.decode(latents)
    }

    fn halve_pieces(&mut self) -> bool {
        let could = self.halvings_left > 0;
        self.halvings_left = self.halvings_left.saturating_sub(1);
        could
    }
}

/// Encodes only when it has got small pieces, or a new model: until then it fails with a message.
struct SmallEncoder {
    halvings_left: u32,
    message: &'static str,
}

impl ImageCodec for SmallEncoder {
    fn encode(&self, pictures: &Tensor, noise: Option<&Tensor>) -> Result<Tensor> {
        if self.halvings_left > 0 {
            candle_core::bail!("{}", self.message);
        }
        toy::ToyCodec.encode(pictures, noise)
    }

    fn decode(&mut self, latents: &Tensor) -> Result<Tensor> {
        toy::ToyCodec.decode(latents)
    }

    fn halve_pieces(&mut self) -> bool {
        let could = self.halvings_left > 0;
        self.halvings_left = self.halvings_left.saturating_sub(1);
        could
    }
}

/// Fails with a message for some prompts, one after the other.
struct Forgetful {
    encoder: Arc<dyn TextEncoder>,
    failures_left: AtomicU32,
    message: &'static str,
}

impl TextEncoder for Forgetful {
    fn encode(&self, prompt: &str) -> Result<Conditioning> {
        let fails = self
            .failures_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if fails.is_ok() {
            candle_core::bail!("{}", self.message);
        }
        self.encoder.encode(prompt)
    }

    fn tokenizer(&self) -> Arc<PromptTokenizer> {
        self.encoder.tokenizer()
    }
}

/// Decodes when it has failed often enough.
struct Failing(Arc<AtomicU32>);

impl ImageCodec for Failing {
    fn encode(&self, pictures: &Tensor, noise: Option<&Tensor>) -> Result<Tensor> {
        toy::ToyCodec.encode(pictures, noise)
    }

    fn decode(&mut self, latents: &Tensor) -> Result<Tensor> {
        let left = self.0.load(Ordering::Relaxed);
        if left > 0 {
            self.0.store(left - 1, Ordering::Relaxed);
            candle_core::bail!("the decoder has no time");
        }
        toy::ToyCodec.decode(latents)
    }
}

struct Bench {
    worker: Worker,
    mailbox: Arc<Mailbox>,
    frames: Receiver<Frame>,
    events: Receiver<Event>,
    status: Arc<Mutex<Status>>,
}

impl Bench {
    /// A worker in the middle of its work, with parts of its model replaced.
    fn new(change: impl FnOnce(&mut Loaded)) -> Self {
        Self::waking(|| (), change)
    }

    /// As [`Self::new`], for an app that is woken so.
    fn waking(wake: impl Fn() + Send + Sync + 'static, change: impl FnOnce(&mut Loaded)) -> Self {
        let (mailbox, status) = (
            Arc::new(Mailbox::default()),
            Arc::new(Mutex::new(Status::default())),
        );
        let ((frame_sender, frames), (event_sender, events)) = (bounded(1), bounded(64));
        let outlet = Outlet::new(
            frame_sender,
            frames.clone(),
            event_sender,
            Arc::clone(&status),
            wake,
        );
        let choice = ModelChoice::plain(ModelSource::Toy);
        let compute = Compute::cpu();
        let mut loaded = Loaded {
            model: toy::load(&choice, &compute).unwrap(),
            remark: None,
            workers: Arc::clone(&compute.workers),
        };
        change(&mut loaded);
        let config = EngineConfig {
            device: DeviceChoice::Auto,
            ..EngineConfig::default()
        };
        let mut worker = Worker::new(config, Arc::clone(&mailbox), Arc::new(outlet));
        worker.choice = Some(choice);
        worker.painter = Some(Painter::new(loaded, Arc::clone(&mailbox)).unwrap());
        Self {
            worker,
            mailbox,
            frames,
            events,
            status,
        }
    }

    /// Works until a frame is settled, or nothing is left to do.
    fn run(&mut self) -> Option<Frame> {
        self.mailbox.push(Command::Run(RunState::Running));
        self.mailbox
            .push(Command::SetScene(Revision(1), Box::new(scene())));
        for _ in 0..1000 {
            let batch = if self.worker.has_work() {
                self.mailbox.take().unwrap()
            } else {
                // Prompts are encoded and models loaded on other threads, which poke the mailbox.
                self.mailbox
                    .wait(Some(Duration::from_millis(100)))
                    .unwrap_or_default()
            };
            self.worker.guarded_turn(batch);
            if let Ok(frame) = self.frames.try_recv()
                && frame.steps_until_settled == 0
            {
                return Some(frame);
            }
            if self.worker.is_stuck || self.status.lock().phase == Phase::Failed {
                return None;
            }
        }
        None
    }

    /// One turn with what has been asked for.
    fn turn(&mut self) {
        let batch = self.mailbox.wait(Some(Duration::from_millis(50)));
        self.worker.guarded_turn(batch.unwrap_or_default());
    }

    /// Works until a render is answered: all events until then.
    fn render(&mut self, job: RenderJob) -> Vec<Event> {
        self.mailbox.push(Command::Render(Box::new(job)));
        let mut events = Vec::new();
        for _ in 0..1000 {
            let batch = if self.worker.has_work() {
                self.mailbox.take().unwrap()
            } else {
                self.mailbox
                    .wait(Some(Duration::from_millis(100)))
                    .unwrap_or_default()
            };
            self.worker.guarded_turn(batch);
            events.extend(self.events.try_iter());
            if let Some(Event::RenderDone { .. } | Event::RenderFailed { .. }) = events.last() {
                break;
            }
        }
        events
    }

    fn restarts(&self) -> usize {
        let events = self.events.try_iter();
        events
            .filter(|event| matches!(event, Event::Restarted { .. }))
            .count()
    }
}

fn scene() -> Scene {
    let size = CanvasSize::new(64, 64).unwrap();
    let region = |id: u64, prompt: &str| Region::new(RegionId(id), prompt, Mask::full(size));
    let mut scene = Scene {
        size,
        background: Default::default(),
        regions: vec![region(1, "red"), region(2, "red"), region(3, "red")],
        seed: Default::default(),
        settings: Default::default(),
    };
    scene.settings.pass_order = crate::api::PassOrder::StreamBatch;
    scene
}

const OUT_OF_MEMORY: &str = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
const LOST: &str = "DriverError(CUDA_ERROR_LAUNCH_FAILED, \"unspecified launch failure\")";

fn narrow(loaded: &mut Loaded, most_rows: usize, message: &'static str) {
    narrow_failing(loaded, most_rows, message, by_an_error);
}

fn narrow_failing(
    loaded: &mut Loaded,
    most_rows: usize,
    message: &'static str,
    fail: fn(&str) -> Result<Tensor>,
) {
    let parts = &mut loaded.model.parts;
    let denoiser = std::mem::replace(&mut parts.denoiser, Box::new(toy::ToyDenoiser::default()));
    parts.denoiser = Box::new(Narrow {
        denoiser,
        most_rows,
        message,
        fail,
    });
}

#[test]
fn out_of_memory_shrinks_the_work_and_the_picture_is_the_same() {
    let expected = Bench::new(|_| ()).run().unwrap();
    let mut bench = Bench::new(|loaded| {
        narrow(loaded, 2, OUT_OF_MEMORY);
        let parts = &mut loaded.model.parts;
        let codec = std::mem::replace(&mut parts.codec, Box::new(toy::ToyCodec));
        parts.codec = Box::new(Small {
            codec,
            halvings_left: 5,
        });
    });
    let found = bench.run().unwrap();
    assert_eq!(expected.picture, found.picture);
    let is_told = bench
        .events
        .try_iter()
        .any(|event| matches!(event, Event::Notice(notice) if notice.level == NoticeLevel::Warning));
    assert!(is_told);
}

#[test]
fn what_does_not_fit_in_the_smallest_pieces_is_a_failure() {
    let mut bench = Bench::new(|loaded| narrow(loaded, 0, OUT_OF_MEMORY));
    assert!(bench.run().is_none());
    let events: Vec<Event> = bench.events.try_iter().collect();
    assert!(matches!(events.last(), Some(Event::Failed(_))), "{events:?}");
    assert!(bench.worker.is_stuck);
}

#[test]
fn a_lost_card_is_left_for_the_processor_with_everything_kept() {
    let mut bench = Bench::new(|loaded| {
        narrow(loaded, 0, LOST);
    });
    let frame = bench.run().unwrap();
    assert_eq!(frame.revision, Revision(1));
    assert_eq!(frame.picture, Bench::new(|_| ()).run().unwrap().picture);
    assert_eq!(bench.worker.config.device, DeviceChoice::Cpu);
    assert_eq!(bench.restarts(), 1);
}

#[test]
fn what_is_on_a_lost_card_is_never_closed() {
    for (message, fail, is_expected) in [
        (LOST, by_an_error as fn(&str) -> Result<Tensor>, false),
        (LOST, by_a_panic, false),
        ("the denoiser is broken", by_a_panic, true),
    ] {
        let is_closed = Arc::new(AtomicBool::new(false));
        let mut bench = Bench::new(|loaded| {
            narrow_failing(loaded, 0, message, fail);
            let parts = &mut loaded.model.parts;
            let denoiser = std::mem::replace(&mut parts.denoiser, Box::new(toy::ToyDenoiser::default()));
            parts.denoiser = Box::new(Closing {
                denoiser,
                is_closed: Arc::clone(&is_closed),
            });
        });
        assert!(bench.run().is_some(), "{message}");
        assert_eq!(is_closed.load(Ordering::Relaxed), is_expected, "{message}");
    }
}

#[test]
fn a_panic_about_a_lost_card_leaves_it_for_the_processor() {
    let mut bench = Bench::new(|loaded| narrow_failing(loaded, 0, LOST, by_a_panic));
    let frame = bench.run().unwrap();
    assert_eq!(frame.picture, Bench::new(|_| ()).run().unwrap().picture);
    assert_eq!(bench.worker.config.device, DeviceChoice::Cpu);
    assert_eq!(bench.restarts(), 1);
}

#[test]
fn a_panic_about_memory_shrinks_the_work_and_the_picture_is_the_same() {
    let mut bench = Bench::new(|loaded| narrow_failing(loaded, 2, OUT_OF_MEMORY, by_a_panic));
    let frame = bench.run().unwrap();
    assert_eq!(frame.picture, Bench::new(|_| ()).run().unwrap().picture);
    assert_eq!(bench.restarts(), 0);
    // In vain, a render is answered all the same.
    let mut bench = Bench::new(|loaded| narrow_failing(loaded, 0, OUT_OF_MEMORY, by_a_panic));
    let events = bench.render(RenderJob {
        id: JobId(1),
        scene: scene(),
        size: CanvasSize::new(128, 128).unwrap(),
    });
    assert!(matches!(
        events.last(),
        Some(Event::RenderFailed {
            error: Error::OutOfMemory { .. },
            ..
        })
    ));
}

fn encoding_fails(loaded: &mut Loaded, halvings_left: u32, message: &'static str) {
    loaded.model.parts.codec = Box::new(SmallEncoder {
        halvings_left,
        message,
    });
}

fn prompts_fail(loaded: &mut Loaded, failures: u32, message: &'static str) {
    let encoder = &mut loaded.model.parts.text_encoder;
    *encoder = Arc::new(Forgetful {
        encoder: Arc::clone(encoder),
        failures_left: AtomicU32::new(failures),
        message,
    });
}

#[test]
fn a_scene_that_does_not_fit_is_prepared_in_smaller_pieces() {
    let mut bench = Bench::new(|loaded| encoding_fails(loaded, 3, OUT_OF_MEMORY));
    let frame = bench.run().unwrap();
    assert_eq!(frame.revision, Revision(1));
    assert_eq!(frame.picture, Bench::new(|_| ()).run().unwrap().picture);
}

#[test]
fn a_card_that_is_lost_while_a_scene_is_prepared_is_left_for_the_processor() {
    let mut bench = Bench::new(|loaded| encoding_fails(loaded, 1, LOST));
    let frame = bench.run().unwrap();
    assert_eq!(frame.revision, Revision(1));
    assert_eq!(frame.picture, Bench::new(|_| ()).run().unwrap().picture);
    assert_eq!(bench.worker.config.device, DeviceChoice::Cpu);
    assert_eq!(bench.restarts(), 1);
}

#[test]
fn a_prompt_that_does_not_fit_is_asked_for_again() {
    let mut bench = Bench::new(|loaded| {
        prompts_fail(loaded, 2, OUT_OF_MEMORY);
        loaded.model.parts.codec = Box::new(Small {
            codec: Box::new(toy::ToyCodec),
            halvings_left: 5,
        });
    });
    let frame = bench.run().unwrap();
    assert_eq!(frame.revision, Revision(1));
}

#[test]
fn a_card_that_is_lost_while_a_prompt_is_encoded_is_left_for_the_processor() {
    let mut bench = Bench::new(|loaded| prompts_fail(loaded, 1, LOST));
    let frame = bench.run().unwrap();
    assert_eq!(frame.revision, Revision(1));
    assert_eq!(bench.worker.config.device, DeviceChoice::Cpu);
    assert_eq!(bench.restarts(), 1);
}

#[test]
fn a_render_is_made_in_smaller_calls_or_by_the_processor_where_the_card_has_failed() {
    let size = CanvasSize::new(128, 128).unwrap();
    let job = || RenderJob {
        id: JobId(1),
        scene: scene(),
        size,
    };
    let picture = |events: &[Event]| match events.last() {
        Some(Event::RenderDone { picture, .. }) => picture.clone(),
        other => panic!("{other:?}"),
    };
    let expected = picture(&Bench::new(|_| ()).render(job()));
    let events = Bench::new(|loaded| narrow(loaded, 1, OUT_OF_MEMORY)).render(job());
    assert_eq!(picture(&events), expected);
    let mut bench = Bench::new(|loaded| narrow(loaded, 0, LOST));
    let events = bench.render(job());
    assert_eq!(picture(&events), expected);
    assert_eq!(bench.worker.config.device, DeviceChoice::Cpu);
    // In vain, it is answered all the same.
    let events = Bench::new(|loaded| narrow(loaded, 0, OUT_OF_MEMORY)).render(job());
    assert!(matches!(
        events.last(),
        Some(Event::RenderFailed {
            error: Error::OutOfMemory { .. },
            ..
        })
    ));
}

#[test]
fn a_render_takes_no_larger_calls_than_the_stream_has_learnt() {
    let mut bench = Bench::new(|loaded| narrow(loaded, 1, OUT_OF_MEMORY));
    bench.run().unwrap();
    while bench.events.try_recv().is_ok() {}
    let events = bench.render(RenderJob {
        id: JobId(1),
        scene: scene(),
        size: CanvasSize::new(128, 128).unwrap(),
    });
    let is_done = matches!(events.last(), Some(Event::RenderDone { .. }));
    let is_told_again = events.iter().any(|event| matches!(event, Event::Notice(_)));
    assert!(is_done && !is_told_again, "{events:?}");
}

#[test]
fn a_scene_is_kept_when_something_else_that_came_with_it_ends_unexpectedly() {
    let is_armed = Arc::new(AtomicBool::new(false));
    let mut bench = Bench::waking(
        {
            let is_armed = Arc::clone(&is_armed);
            move || assert!(!is_armed.swap(false, Ordering::Relaxed), "the app broke")
        },
        |_| (),
    );
    bench.mailbox.push(Command::Render(Box::new(RenderJob {
        id: JobId(1),
        scene: scene(),
        size: scene().size,
    })));
    bench.mailbox.push(Command::CancelRender(JobId(1)));
    bench
        .mailbox
        .push(Command::SetScene(Revision(7), Box::new(scene())));
    is_armed.store(true, Ordering::Relaxed);
    let batch = bench.mailbox.take().unwrap();
    bench.worker.guarded_turn(batch);
    assert_eq!(bench.restarts(), 1);
    let kept = bench.worker.scene.as_ref().map(|(revision, _)| *revision);
    assert_eq!(kept, Some(Revision(7)));
}

fn broken(loaded: &mut Loaded) {
    loaded.model.parts.denoiser = Box::new(Broken(toy::ToyDenoiser::default()));
}

#[test]
fn after_a_panic_in_a_step_the_same_picture_is_painted_by_the_model_loaded_anew() {
    let mut bench = Bench::new(broken);
    let frame = bench.run().unwrap();
    assert_eq!(frame.revision, Revision(1));
    assert_eq!(frame.picture, Bench::new(|_| ()).run().unwrap().picture);
    let reasons: Vec<String> = bench
        .events
        .try_iter()
        .filter_map(|event| match event {
            Event::Restarted { reason } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, ["the denoiser is broken"]);
}

#[test]
fn a_render_that_panics_is_answered_and_the_next_one_succeeds() {
    let job = |id| RenderJob {
        id: JobId(id),
        scene: scene(),
        size: scene().size,
    };
    let mut bench = Bench::new(broken);
    bench.mailbox.push(Command::Render(Box::new(job(1))));
    let batch = bench.mailbox.take().unwrap();
    bench.worker.guarded_turn(batch);
    bench.mailbox.push(Command::Render(Box::new(job(2))));
    let mut events = Vec::new();
    for _ in 0..200 {
        let batch = bench
            .mailbox
            .wait(Some(Duration::from_millis(100)))
            .unwrap_or_default();
        bench.worker.guarded_turn(batch);
        events.extend(bench.events.try_iter());
        if matches!(events.last(), Some(Event::RenderDone { .. })) {
            break;
        }
    }
    let place = |wanted: fn(&Event) -> bool| events.iter().position(wanted).unwrap();
    let failed = place(|event| {
        matches!(
            event,
            Event::RenderFailed {
                job: JobId(1),
                error: Error::Stopped
            }
        )
    });
    let restarted = place(|event| matches!(event, Event::Restarted { .. }));
    let done = place(|event| matches!(event, Event::RenderDone { job: JobId(2), .. }));
    assert!(failed < restarted && restarted < done, "{events:?}");
}

#[test]
fn a_model_that_never_came_is_not_the_one_to_start_over_with() {
    let mut bench = Bench::new(|_| ());
    bench.run().unwrap();
    let present = bench.worker.choice.clone();
    let missing = ModelChoice::plain(ModelSource::Path("no such model".into()));
    bench.mailbox.push(Command::LoadModel(missing.clone()));
    let has_failed = (0..200).any(|_| {
        let batch = bench.mailbox.wait(Some(Duration::from_millis(100)));
        bench.worker.guarded_turn(batch.unwrap_or_default());
        let mut events = bench.events.try_iter();
        events.any(|event| matches!(event, Event::ModelFailed(_)))
    });
    assert!(has_failed);
    assert_eq!(bench.worker.choice, present);
    bench.mailbox.push(Command::LoadModel(missing));
    bench.mailbox.push(Command::CancelLoad);
    bench.turn();
    assert_eq!(bench.worker.choice, present);
}

#[test]
fn pictures_that_come_at_once_are_not_foretold() {
    let mut sequential = scene();
    sequential.settings.pass_order = crate::api::PassOrder::Sequential;
    let mut bench = Bench::new(|_| ());
    let mut kinds = Vec::new();
    for revision in 1..=3 {
        for region in &mut sequential.regions {
            region.prompt = ["red", "green", "blue"][revision as usize - 1].to_owned();
        }
        let scene = Box::new(sequential.clone());
        bench.mailbox.push(Command::SetScene(Revision(revision), scene));
        for _ in 0..200 {
            bench.turn();
            let frame = bench.frames.try_recv().ok();
            kinds.extend(frame.as_ref().map(|frame| frame.kind));
            if frame.is_some_and(|frame| frame.steps_until_settled == 0) {
                break;
            }
        }
    }
    let previews = kinds.iter().filter(|kind| **kind == FrameKind::Preview).count();
    assert_eq!(previews, 1, "{kinds:?}: only the very first one");
    assert_eq!(kinds.last(), Some(&FrameKind::Complete));
}

#[test]
fn a_first_load_that_is_cancelled_leaves_the_engine_empty() {
    let mut bench = Bench::new(|_| ());
    bench.worker.painter = None;
    bench
        .mailbox
        .push(Command::LoadModel(ModelChoice::plain(ModelSource::Toy)));
    bench.turn();
    bench.worker.loader = None;
    bench.worker.load(ModelChoice::plain(ModelSource::Toy));
    assert!(matches!(bench.status.lock().phase, Phase::Loading { .. }));
    bench.mailbox.push(Command::CancelLoad);
    bench.turn();
    assert_eq!(bench.status.lock().phase, Phase::Empty);
    assert_eq!(bench.worker.choice, None);
}

#[test]
fn a_scene_that_cannot_be_taken_over_is_told_once_and_the_next_one_is_painted() {
    let mut bench = Bench::new(|_| ());
    bench.run().unwrap();
    let mut twice = scene();
    twice.regions[1].id = RegionId(1);
    bench
        .mailbox
        .push(Command::SetScene(Revision(2), Box::new(twice)));
    for _ in 0..3 {
        bench.turn();
    }
    let events: Vec<Event> = bench.events.try_iter().collect();
    assert!(matches!(events[..], [Event::Failed(_)]), "{events:?}");
    assert_eq!(bench.status.lock().phase, Phase::Failed);
    bench
        .mailbox
        .push(Command::SetScene(Revision(3), Box::new(scene())));
    bench.turn();
    assert_ne!(bench.status.lock().phase, Phase::Failed);
}

#[test]
fn a_picture_that_waits_to_be_decoded_survives_an_edit_that_changes_nothing() {
    let failures = Arc::new(AtomicU32::new(0));
    let mut bench = Bench::new(|loaded| {
        loaded.model.parts.codec = Box::new(Failing(Arc::clone(&failures)));
    });
    bench.run().unwrap();
    let mut edited = scene();
    for region in &mut edited.regions {
        region.prompt = "blue".to_owned();
    }
    let revise = |bench: &mut Bench, revision| {
        let scene = Box::new(edited.clone());
        bench.mailbox.push(Command::SetScene(Revision(revision), scene));
    };
    revise(&mut bench, 2);
    let steps_left = |bench: &Bench| bench.worker.painter.as_ref().unwrap().steps_until_settled();
    // Until the prompt is encoded and all but the last step are made.
    for _ in 0..200 {
        bench.turn();
        if steps_left(&bench) == 1 {
            break;
        }
    }
    failures.store(1, Ordering::Relaxed);
    bench.turn();
    assert!(bench.worker.is_stuck && steps_left(&bench) == 0);
    while bench.frames.try_recv().is_ok() {}
    revise(&mut bench, 3);
    bench.turn();
    let frame = bench.frames.try_recv().expect("the picture is decoded");
    assert_eq!(frame.revision, Revision(3));
    assert!(frame.picture.rgba()[2] > 150, "it is blue");
}

#[test]
fn a_model_that_cannot_be_loaded_anew_is_given_up() {
    let mut bench = Bench::new(broken);
    bench.worker.choice = None;
    assert!(bench.run().is_none());
    assert!(bench.worker.painter.is_none());
    assert!(bench.worker.scene.is_some(), "what was painted is kept");
}
