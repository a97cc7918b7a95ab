//! A loaded model with its stream: scenes in, frames out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    calibration,
    loader::Loaded,
    meter::{self, FrameMeter},
    prompts::PromptEncoder,
    stopwatch::{TimedDenoiser, WorkMeter},
};
use crate::{
    Error, Result,
    api::{
        Frame, FrameKind, ModelChoice, ModelSummary, PassOrder, Picture, RenderJob, Revision, Scene,
        StageTimings, StageWork,
    },
    device::{Moment, abandon, give_back_memory, keep_uploads, memory_bytes, peak_bytes},
    error::Doing as _,
    mailbox::Mailbox,
    models::{
        LoadedModel,
        traits::{Conditioning, ModelParts},
    },
    ops::{Workers, cuda::forget_refusals},
    pipeline,
    stream::{Session, StepOutcome, Throughput},
};

pub(super) struct Painter {
    parts: ModelParts,
    workers: Arc<Workers>,
    summary: ModelSummary,
    prompts: PromptEncoder,
    session: Session,
    /// The newest frame, to be stamped anew when an edit changes nothing.
    last_frame: Option<Frame>,
    sequence: u64,
    meter: FrameMeter,
    last_step: Duration,
    /// Time spent on masks, prompts and background since the last frame.
    preparation_ms: f32,
    /// Time spent in passes that gave no frame, and what they computed, since the last one.
    earlier_passes: (StageTimings, StageWork),
    /// Prompts that the scene waits for.
    missing: Vec<String>,
    /// The newest scene whose prompts were all there; frames claim to show no newer one.
    shown_revision: Option<Revision>,
    has_new_scene: bool,
    is_calibrated: bool,
    /// How long the first step took that computed something.
    first_step_ms: Option<f32>,
    /// A step whose picture could not be decoded, to be decoded again.
    undecoded: Option<StepOutcome>,
    /// How long all passes of the last finished picture took together, from its first level on.
    passes_ms: Option<f32>,
    /// How long the passes took that foretold a picture which is not finished yet.
    foretold_ms: f32,
}

/// Pictures that come sooner are not foretold: a rough one that flashes up before each of them is in the way.
const FORETOLD_FROM_MS: f32 = 250.0;

impl Painter {
    /// Takes a model into use.
    ///
    /// # Errors
    /// If the system gives no thread for the text encoder.
    pub(super) fn new(loaded: Loaded, mailbox: Arc<Mailbox>) -> Result<Self> {
        let Loaded {
            model: LoadedModel { parts, summary },
            workers,
            ..
        } = loaded;
        // The card may have been short of memory for two models at once.
        forget_refusals();
        let prompts = PromptEncoder::start(Arc::clone(&parts.text_encoder), &parts.device, mailbox)?;
        let session = Session::new(&parts);
        Ok(Self {
            parts,
            workers,
            summary,
            prompts,
            session,
            last_frame: None,
            sequence: 0,
            meter: FrameMeter::default(),
            last_step: Duration::ZERO,
            preparation_ms: 0.0,
            earlier_passes: Default::default(),
            missing: Vec::new(),
            shown_revision: None,
            has_new_scene: true,
            is_calibrated: false,
            first_step_ms: None,
            undecoded: None,
            passes_ms: None,
            foretold_ms: 0.0,
        })
    }

    /// Changes to `choice` without loading, if only the strengths of its LoRAs are new.
    ///
    /// # Errors
    /// If a file cannot be read any more, or the system gives no thread for the text encoder.
    pub(super) fn retune(&mut self, choice: &ModelChoice, mailbox: Arc<Mailbox>) -> Result<bool> {
        let present = &self.summary.choice;
        let is_same_model =
            present.source == choice.source && present.tiny_autoencoder == choice.tiny_autoencoder;
        if !is_same_model || choice.loras.is_empty() || !self.parts.retune(&choice.loras)? {
            return Ok(false);
        }
        // Every prompt means something else now.
        self.prompts =
            PromptEncoder::start(Arc::clone(&self.parts.text_encoder), &self.parts.device, mailbox)?;
        self.session = self.session.renewed(&self.parts);
        self.undecoded = None;
        self.missing.clear();
        self.shown_revision = None;
        self.has_new_scene = true;
        self.summary.choice = choice.clone();
        Ok(true)
    }

    /// How many threads the kernels may use; `None` for all.
    pub(super) fn allow_threads(&self, count: Option<usize>) {
        self.workers.allow(count);
    }

    pub(super) fn summary(&self) -> &ModelSummary {
        &self.summary
    }

    /// Bytes held on the device: of a card all that is in use there, else the main memory of this process.
    pub(super) fn memory_bytes(&self) -> u64 {
        memory_bytes(&self.parts.device).unwrap_or_else(meter::memory_bytes)
    }

    /// Most bytes of tensors on a card at once; 0 where that is not known.
    pub(super) fn peak_bytes(&self) -> u64 {
        peak_bytes(&self.parts.device).unwrap_or(0)
    }

    pub(super) fn is_on_cpu(&self) -> bool {
        self.parts.device.is_cpu()
    }

    /// How long the last step took.
    pub(super) fn last_step(&self) -> Duration {
        self.last_step
    }

    pub(super) fn frames_per_second(&self) -> f32 {
        self.meter.per_second()
    }

    pub(super) fn steps_until_settled(&self) -> u32 {
        self.session.steps_until_settled()
    }

    /// Whether nothing would come of another step.
    pub(super) fn is_settled(&self) -> bool {
        !self.has_new_scene && self.missing.is_empty() && self.session.is_settled()
    }

    /// Whether the next step would give a frame; false while all that is new waits for its prompts.
    pub(super) fn can_step(&self) -> bool {
        self.has_scene() && (self.has_new_scene || self.undecoded.is_some() || !self.session.is_settled())
    }

    /// Whether there is something to paint; the very first scene waits for its prompts.
    pub(super) fn has_scene(&self) -> bool {
        self.has_new_scene || self.shown_revision.is_some()
    }

    /// A newer scene waits.
    pub(super) fn expect_scene(&mut self) {
        self.has_new_scene = true;
    }

    /// Whether the scene is new, or waits for prompts that have been encoded since.
    pub(super) fn wants_scene(&self) -> bool {
        self.has_new_scene
            || self
                .missing
                .iter()
                .any(|prompt| self.prompts.find(prompt).is_some())
    }

    /// Why a prompt could not be encoded, once.
    pub(super) fn take_prompt_failure(&self) -> Option<Error> {
        self.prompts.take_failure()
    }

    /// Takes a scene over. Gives the last frame with the new revision if the picture stays as it is.
    ///
    /// # Errors
    /// If the scene contradicts itself or a tensor operation fails; the stream goes on with the scene it had.
    pub(super) fn apply(&mut self, revision: Revision, scene: &Scene) -> Result<Option<Frame>> {
        let start = Instant::now();
        self.has_new_scene = false;
        // What the scene before still waited for is of no interest, even if this one cannot be taken over.
        self.missing.clear();
        let prompts = &self.prompts;
        let find = |prompt: &str| -> Option<Arc<Conditioning>> { prompts.find(prompt) };
        let applied = self.session.apply(revision, scene, &find, &self.parts)?;
        if applied.has_changed {
            self.undecoded = None;
        } else if let Some(outcome) = &mut self.undecoded {
            // It is the picture of this scene, too.
            outcome.revision = revision;
        }
        self.missing = applied.missing_prompts;
        // A positive and a negative one each, the background's too.
        let scene_prompts = 2 * (scene.regions.len() + 1);
        self.prompts.want(&self.missing, scene_prompts);
        self.preparation_ms += millis(start.elapsed());
        if self.missing.is_empty() {
            self.shown_revision = Some(revision);
            if self.calibrate(scene) {
                // The measurement may choose another order of the passes; now is when nothing is lost by that.
                let prompts = &self.prompts;
                let find = |prompt: &str| -> Option<Arc<Conditioning>> { prompts.find(prompt) };
                self.session.apply(revision, scene, &find, &self.parts)?;
            }
        }
        let is_shown = self.session.is_settled() && self.undecoded.is_none();
        if applied.has_changed || !is_shown || !self.missing.is_empty() {
            return Ok(None);
        }
        Ok(self.last_frame.as_mut().map(|frame| {
            frame.revision = revision;
            frame.clone()
        }))
    }

    /// Measures the device once, when there is a scene to measure with. Whether it did.
    fn calibrate(&mut self, scene: &Scene) -> bool {
        if self.is_calibrated || scene.settings.pass_order != PassOrder::Auto || scene.regions.is_empty() {
            return false;
        }
        if self.parts.device.is_cpu() {
            // A processor begins with one level at a time: a slow one would be measured for seconds, in which it could
            // have shown the first of the picture.
            match self.first_step_ms {
                None => return false,
                Some(ms) if ms > calibration::TOO_SLOW.as_millis() as f32 => {
                    self.is_calibrated = true;
                    self.session.set_throughput(Throughput::TOO_SLOW_FOR_BATCHES);
                    return true;
                }
                Some(_) => {}
            }
        }
        self.is_calibrated = true;
        let (Some(geometry), Some(conditioning)) = (
            self.session.geometry().cloned(),
            self.prompts.find(&scene.regions[0].prompt),
        ) else {
            return false;
        };
        let levels = scene.settings.steps.count();
        let measured = calibration::measure(
            &mut self.parts,
            &conditioning,
            &geometry,
            scene.regions.len(),
            levels,
            self.session.most_rows(),
        );
        match measured.doing("measuring the device") {
            Ok(Some(throughput)) => {
                tracing::info!(
                    one_level = throughput.one_level,
                    all_levels = throughput.all_levels,
                    "rows per second"
                );
                self.session.set_throughput(throughput);
                true
            }
            Ok(None) => {
                self.session.set_throughput(Throughput::TOO_SLOW_FOR_BATCHES);
                true
            }
            // The stream meets the same failure at its first step and reports it there.
            Err(error) => {
                tracing::warn!("the device could not be measured: {error}");
                if matches!(error, Error::OutOfMemory { .. }) {
                    // The first step may need less, and is not to fail for what this one left behind.
                    give_back_memory(&self.parts.device);
                }
                false
            }
        }
    }

    /// One step of the stream; not every step gives a frame.
    ///
    /// # Errors
    /// If a tensor operation fails or gives no numbers; the stream keeps its last good state.
    pub(super) fn step(&mut self) -> Result<Option<Frame>> {
        let start = Instant::now();
        let takes_long = self
            .passes_ms
            .is_none_or(|passes_ms| passes_ms > FORETOLD_FROM_MS);
        self.session.foretell(takes_long);
        let mut denoiser = TimedDenoiser::new(&mut *self.parts.denoiser, &self.parts.device);
        let outcome = match self.undecoded.take() {
            Some(outcome) => outcome,
            None => self.session.step(&mut denoiser)?,
        };
        let denoised = Instant::now();
        let step_ms = millis(denoised - start);
        // The step ends with a number that the device sends back, so that all its work is in this time.
        let denoise_ms = denoiser.spent_ms().min(step_ms);
        if outcome.rows > 0 && self.first_step_ms.is_none() {
            self.first_step_ms = Some(step_ms);
            // It can be told now whether the device is to be measured, which goes with a scene.
            self.has_new_scene |= !self.is_calibrated;
        }
        let (timings, work) = &mut self.earlier_passes;
        timings.denoise_ms += denoise_ms;
        timings.blend_ms += step_ms - denoise_ms;
        timings.total_ms += step_ms;
        work.denoise_gflop += denoiser.gflop;
        work.denoise_rows += outcome.rows as u32;
        let Some(latent) = outcome.latent.clone() else {
            return Ok(None);
        };
        let decoding = (WorkMeter::start(), Moment::now(&self.parts.device));
        let decoded = {
            let _uploads = keep_uploads(&self.parts.device);
            self.parts.codec.decode(&latent).doing("decoding a picture")
        };
        let decoded_at = Moment::now(&self.parts.device);
        let decode_gflop = decoding.0.gflop();
        let picture = match decoded.and_then(|decoded| self.session.picture(&decoded)) {
            Ok(picture) => picture,
            Err(error) => {
                self.undecoded = Some(outcome);
                return Err(error);
            }
        };
        let end = Instant::now();
        // The picture is here, and so all work is done.
        let after_step_ms = millis(end - denoised);
        let decode_ms = decoding.1.ms_until(&decoded_at).min(after_step_ms);
        self.last_step = end - start;
        self.meter.count(end);
        self.sequence += 1;
        let masks_ms = std::mem::take(&mut self.preparation_ms);
        let (passes, work) = std::mem::take(&mut self.earlier_passes);
        match outcome.kind {
            FrameKind::Complete => {
                self.passes_ms = Some(passes.total_ms + self.foretold_ms);
                self.foretold_ms = 0.0;
            }
            FrameKind::Preview => self.foretold_ms += passes.total_ms,
        }
        let timings = StageTimings {
            encode_ms: self.prompts.take_encode_ms(),
            masks_ms,
            decode_ms,
            copy_ms: after_step_ms - decode_ms,
            total_ms: masks_ms + passes.total_ms + after_step_ms,
            ..passes
        };
        let frame = Frame {
            revision: self
                .shown_revision
                .map_or(outcome.revision, |shown| shown.min(outcome.revision)),
            sequence: self.sequence,
            picture,
            kind: outcome.kind,
            steps_until_settled: outcome
                .steps_until_settled
                .max(u32::from(!self.missing.is_empty())),
            timings,
            work: StageWork { decode_gflop, ..work },
        };
        self.last_frame = Some(frame.clone());
        Ok(Some(frame))
    }

    /// Works in smaller pieces from now on. `false` if they get no smaller.
    pub(super) fn take_less_memory(&mut self) -> bool {
        give_back_memory(&self.parts.device);
        let has_fewer_rows = self.session.halve_calls();
        let is_smaller = self.parts.codec.halve_pieces() || has_fewer_rows;
        if is_smaller {
            self.prompts.forget_failures();
        }
        is_smaller
    }

    /// As [`Self::take_less_memory`], where a render had too little.
    pub(super) fn take_less_memory_for(&mut self, job: &RenderJob) -> bool {
        give_back_memory(&self.parts.device);
        let has_fewer_rows = self.session.halve_calls_of_render(&job.scene);
        self.parts.codec.halve_pieces() || has_fewer_rows
    }

    /// Goes away without closing anything on the card, which was lost.
    pub(super) fn abandon(self) {
        self.prompts.close();
        abandon(self);
    }

    /// Renders a picture from scratch.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if `is_cancelled` says so; otherwise what failed.
    pub(super) fn render(
        &mut self,
        job: &RenderJob,
        progress: &mut dyn FnMut(u32, u32),
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Picture> {
        let prompts = &self.prompts;
        let encode = |prompt: &str| prompts.encode_now(prompt).doing("encoding a prompt");
        pipeline::render(
            &mut self.parts,
            &job.scene,
            job.size,
            self.session.cells_per_call(),
            &encode,
            progress,
            is_cancelled,
        )
    }
}

fn millis(duration: Duration) -> f32 {
    duration.as_secs_f32() * 1000.0
}
