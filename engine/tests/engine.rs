//! The engine as an app sees it: commands down, frames and events up.
#![expect(
    clippy::unwrap_used,
    reason = "a scenario that cannot go on is a failed one, also in its helpers"
)]

use std::time::{Duration, Instant};

use wordbrush_engine::{
    Engine,
    api::{
        Background, CanvasSize, Command, DeviceChoice, EngineConfig, Event, Frame, FrameKind, JobId, Mask,
        ModelChoice, ModelSource, Phase, PictureMode, Region, RegionId, RenderJob, Revision, RunState, Scene,
        Seed, StreamSettings,
    },
};

/// Longer than anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_mins(1);

struct Harness {
    engine: Engine,
    wakes: crossbeam_channel::Receiver<()>,
    events: Vec<Event>,
}

impl Harness {
    fn start() -> Self {
        let (sender, wakes) = crossbeam_channel::bounded(1);
        let config = EngineConfig {
            model: Some(ModelChoice::plain(ModelSource::Toy)),
            device: DeviceChoice::Cpu,
            ..EngineConfig::default()
        };
        let wake = move || {
            // A wake-up that is still waiting serves as well.
            let _already_woken = sender.try_send(());
        };
        Self {
            engine: Engine::start(config, wake).unwrap(),
            wakes,
            events: Vec::new(),
        }
    }

    /// Waits for wake-ups until `look` finds something.
    fn wait_for<T>(&mut self, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let new: Vec<_> = self.engine.events().collect();
            self.events.extend(new);
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "events so far: {:?}", self.events);
            // The time limit covers a status that changed without a wake-up.
            let _woken = self.wakes.recv_timeout(Duration::from_millis(100));
        }
    }

    fn wait_for_event(&mut self, is_wanted: impl Fn(&Event) -> bool) {
        self.wait_for(|harness| harness.events.iter().any(&is_wanted).then_some(()));
    }

    fn settled_frame(&mut self, revision: u64) -> Frame {
        self.wait_for(|harness| {
            harness
                .engine
                .take_frame()
                .filter(|frame| frame.revision >= Revision(revision) && frame.steps_until_settled == 0)
        })
    }

    fn paint(&self, revision: u64, scene: &Scene) {
        self.engine
            .send(Command::SetScene(Revision(revision), Box::new(scene.clone())));
    }
}

fn size() -> CanvasSize {
    CanvasSize::new(64, 64).unwrap()
}

fn half_mask() -> Mask {
    let coverage: Vec<u8> = (0..64 * 64).map(|i| if i % 64 < 32 { 255 } else { 0 }).collect();
    Mask::from_coverage(size(), &coverage).unwrap()
}

fn region(id: u64, prompt: &str, mask: Mask) -> Region {
    Region::new(RegionId(id), prompt, mask)
}

fn scene() -> Scene {
    Scene {
        size: size(),
        background: Background {
            prompt: "white".to_owned(),
            ..Background::default()
        },
        regions: vec![
            region(1, "green", Mask::full(size())),
            region(2, "red", half_mask()),
        ],
        seed: Seed(7),
        settings: StreamSettings::default(),
    }
}

/// Mean colour of a column range.
fn mean(frame: &Frame, columns: std::ops::Range<usize>) -> [f32; 3] {
    let mut sum = [0.0; 3];
    let count = (columns.len() * 64) as f32;
    for y in 0..64 {
        for x in columns.clone() {
            for (channel, sum) in sum.iter_mut().enumerate() {
                *sum += f32::from(frame.picture.rgba()[(y * 64 + x) * 4 + channel]) / count;
            }
        }
    }
    sum
}

#[test]
fn a_scene_becomes_a_settled_picture_and_the_engine_rests() {
    let mut harness = Harness::start();
    harness.paint(1, &scene());
    let frame = harness.settled_frame(1);
    assert_eq!(frame.kind, FrameKind::Complete);
    assert_eq!(frame.picture.size(), size());
    let (left, right) = (mean(&frame, 4..28), mean(&frame, 36..60));
    assert!(left[0] > left[1] + 40.0, "red on the left: {left:?}");
    assert!(right[1] > right[0] + 40.0, "green on the right: {right:?}");
    harness.wait_for(|harness| (harness.engine.status().phase == Phase::Settled).then_some(()));
    assert!(
        harness
            .events
            .iter()
            .any(|event| matches!(event, Event::ModelLoaded(_)))
    );
    harness.engine.shutdown().unwrap();
}

#[test]
fn the_same_scene_gives_the_same_picture_and_another_seed_another() {
    let settled = |scene: &Scene| {
        let mut harness = Harness::start();
        harness.paint(1, scene);
        harness.settled_frame(1).picture
    };
    let first = settled(&scene());
    assert_eq!(first, settled(&scene()));
    assert_ne!(
        first,
        settled(&Scene {
            seed: Seed(8),
            ..scene()
        })
    );
}

#[test]
fn an_edit_that_changes_nothing_comes_back_with_its_revision() {
    let mut harness = Harness::start();
    harness.paint(1, &scene());
    let first = harness.settled_frame(1);
    harness.paint(2, &scene());
    let second = harness.settled_frame(2);
    assert_eq!(first.picture, second.picture);
    assert_eq!(first.sequence, second.sequence, "nothing was computed");
}

#[test]
fn an_edited_prompt_flows_into_the_picture() {
    let mut harness = Harness::start();
    harness.paint(1, &scene());
    harness.settled_frame(1);
    let mut edited = scene();
    edited.regions[1].prompt = "blue".to_owned();
    harness.paint(2, &edited);
    // The frame with the new prompt, not one that came before it was encoded.
    harness.wait_for(|harness| {
        let left = mean(&harness.settled_frame(2), 4..28);
        (left[2] > left[0] + 40.0).then_some(())
    });
}

#[test]
fn a_paused_engine_makes_exactly_the_frames_that_are_asked_for() {
    let mut harness = Harness::start();
    harness.engine.send(Command::Run(RunState::Paused));
    harness.paint(1, &scene());
    harness.wait_for(|harness| (harness.engine.status().revision == Revision(1)).then_some(()));
    assert!(harness.engine.take_frame().is_none());
    harness.engine.send(Command::Step);
    let frame = harness.wait_for(|harness| harness.engine.take_frame());
    assert_eq!(frame.sequence, 1);
    harness.wait_for(|harness| (harness.engine.status().phase == Phase::Paused).then_some(()));
    assert!(harness.engine.take_frame().is_none());
}

#[test]
fn a_dream_goes_on_and_on() {
    let mut harness = Harness::start();
    let mut dream = scene();
    dream.settings.picture = PictureMode::Dream;
    harness.paint(1, &dream);
    harness.wait_for(|harness| harness.engine.take_frame().filter(|frame| frame.sequence > 20));
}

#[test]
fn a_wrong_scene_is_refused_and_the_picture_before_goes_on() {
    let mut harness = Harness::start();
    harness.paint(1, &scene());
    harness.settled_frame(1);
    let mut wrong = scene();
    wrong.regions[0].mask = Mask::new(CanvasSize::new(32, 32).unwrap());
    harness.paint(2, &wrong);
    harness.wait_for_event(|event| matches!(event, Event::Failed(_)));
    harness.paint(
        3,
        &Scene {
            seed: Seed(99),
            ..scene()
        },
    );
    assert_eq!(harness.settled_frame(3).revision, Revision(3));
}

#[test]
fn a_model_that_is_not_there_is_reported_and_the_old_one_goes_on() {
    let mut harness = Harness::start();
    harness.paint(1, &scene());
    harness.settled_frame(1);
    let missing = ModelChoice::plain(ModelSource::Path("no/such/model.safetensors".into()));
    harness.engine.send(Command::LoadModel(missing));
    harness.wait_for_event(|event| matches!(event, Event::ModelFailed(_)));
    harness.paint(
        2,
        &Scene {
            seed: Seed(3),
            ..scene()
        },
    );
    harness.settled_frame(2);
}

#[test]
fn a_render_equals_the_settled_picture() {
    let mut harness = Harness::start();
    harness.paint(1, &scene());
    let frame = harness.settled_frame(1);
    harness.engine.send(Command::Render(Box::new(RenderJob {
        id: JobId(1),
        scene: scene(),
        size: size(),
    })));
    let picture = harness.wait_for(|harness| {
        harness.events.iter().find_map(|event| match event {
            Event::RenderDone {
                job: JobId(1),
                picture,
            } => Some(picture.clone()),
            _ => None,
        })
    });
    assert_eq!(picture, frame.picture);
}

#[test]
fn a_render_that_is_given_up_says_so() {
    let mut harness = Harness::start();
    let size = CanvasSize::new(512, 512).unwrap();
    let mut large = scene();
    large.settings.steps = wordbrush_engine::api::StepList::with_count(50);
    harness.engine.send(Command::Render(Box::new(RenderJob {
        id: JobId(2),
        scene: large,
        size,
    })));
    harness.engine.send(Command::CancelRender(JobId(2)));
    harness.wait_for_event(|event| {
        matches!(
            event,
            Event::RenderFailed {
                job: JobId(2),
                error: wordbrush_engine::Error::Cancelled
            }
        )
    });
}

#[test]
fn a_render_waits_for_its_model_and_fails_without_one() {
    let job = || {
        Command::Render(Box::new(RenderJob {
            id: JobId(1),
            scene: scene(),
            size: size(),
        }))
    };
    // Sent at once, while the model is still being loaded.
    let mut harness = Harness::start();
    harness.engine.send(job());
    harness.wait_for_event(|event| matches!(event, Event::RenderDone { .. }));

    let (sender, wakes) = crossbeam_channel::bounded(1);
    let wake = move || {
        let _already_woken = sender.try_send(());
    };
    let engine = Engine::start(EngineConfig::default(), wake).unwrap();
    let mut harness = Harness {
        engine,
        wakes,
        events: Vec::new(),
    };
    harness.engine.send(job());
    harness.wait_for_event(|event| {
        matches!(
            event,
            Event::RenderFailed {
                error: wordbrush_engine::Error::NoModel,
                ..
            }
        )
    });
}
