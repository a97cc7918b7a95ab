use std::sync::Arc;

use super::*;
use crate::{
    api::{
        Background, CanvasSize, Guidance, Mask, MaskMode, ModelChoice, ModelSource, Picture, PixelRect,
        Region, RegionId, Seed, StepList,
    },
    device::Compute,
    models::{
        toy,
        traits::{Conditioning, PreparedPrompt, Row},
    },
    ops::cuda,
};

fn parts() -> ModelParts {
    let choice = ModelChoice::plain(ModelSource::Toy);
    toy::load(&choice, &Compute::cpu()).unwrap().parts
}

/// Encodes every prompt but those that begin with "unknown".
#[derive(Default)]
struct Encoded(parking_lot::Mutex<std::collections::BTreeMap<String, Arc<Conditioning>>>);

impl PromptLookup for Encoded {
    fn conditioning(&self, prompt: &str) -> Option<Arc<Conditioning>> {
        if prompt.starts_with("unknown") {
            return None;
        }
        let encode = || {
            Arc::new(Conditioning {
                context: Tensor::new(&[toy::colour_of_prompt(prompt)], &Device::Cpu).unwrap(),
                pooled: None,
                time_ids: None,
            })
        };
        Some(Arc::clone(
            self.0.lock().entry(prompt.to_owned()).or_insert_with(encode),
        ))
    }
}

/// A stream with its model.
struct Bench {
    parts: ModelParts,
    prompts: Encoded,
    session: Session,
    revision: u64,
}

impl Bench {
    fn new(scene: &Scene) -> Self {
        let parts = parts();
        let session = Session::new(&parts);
        let mut bench = Self {
            parts,
            prompts: Encoded::default(),
            session,
            revision: 0,
        };
        bench.apply(scene);
        bench
    }

    fn apply(&mut self, scene: &Scene) -> Applied {
        self.revision += 1;
        self.session
            .apply(Revision(self.revision), scene, &self.prompts, &self.parts)
            .unwrap()
    }

    fn step(&mut self) -> StepOutcome {
        self.session.step(self.parts.denoiser.as_mut()).unwrap()
    }

    /// Steps until nothing changes any more and gives the picture's latent.
    fn settle(&mut self) -> (Vec<f32>, usize) {
        let mut steps = 0;
        loop {
            let outcome = self.step();
            steps += 1;
            assert!(steps < 100, "the picture never settles");
            if self.session.is_settled() {
                assert_eq!(outcome.kind, FrameKind::Complete);
                return (values(&outcome.latent.unwrap()), steps);
            }
        }
    }

    fn pixel(&mut self, x: usize, y: usize) -> [u8; 3] {
        self.settle();
        let (latent, _) = self.session.latest.clone().unwrap();
        let decoded = self.parts.codec.decode(&latent).unwrap();
        let picture = self.session.picture(&decoded).unwrap();
        let start = (y * picture.size().width() as usize + x) * 4;
        picture.rgba()[start..start + 3].try_into().unwrap()
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn painted(size: CanvasSize, rect: PixelRect) -> Mask {
    let mut coverage = vec![0; size.area()];
    for y in rect.y0..rect.y1 {
        for x in rect.x0..rect.x1 {
            coverage[(y * size.width() + x) as usize] = 255;
        }
    }
    Mask::from_coverage(size, &coverage).unwrap()
}

fn region(id: u64, prompt: &str, mask: Mask) -> Region {
    Region::new(RegionId(id), prompt, mask)
}

/// A red left and a green right half of a 64 x 64 canvas, with a white rim.
fn scene() -> Scene {
    let size = CanvasSize::new(64, 64).unwrap();
    Scene {
        size,
        background: Background::default(),
        regions: vec![
            region(1, "red", painted(size, PixelRect::new(8, 8, 32, 56).unwrap())),
            region(2, "green", painted(size, PixelRect::new(32, 8, 56, 56).unwrap())),
        ],
        seed: Seed(5),
        settings: StreamSettings {
            pass_order: PassOrder::StreamBatch,
            ..StreamSettings::default()
        },
    }
}

#[test]
fn an_unchanged_canvas_settles_after_as_many_steps_as_there_are_slots() {
    for count in [1, 3, 5] {
        for order in [PassOrder::StreamBatch, PassOrder::Sequential] {
            let mut scene = scene();
            scene.settings.steps = StepList::with_count(count);
            scene.settings.pass_order = order;
            let mut bench = Bench::new(&scene);
            let (latent, steps) = bench.settle();
            assert_eq!(steps, count, "{order:?}");
            let again = bench.step();
            assert_eq!((again.rows, values(&again.latent.unwrap())), (0, latent));
        }
    }
}

#[test]
fn both_orders_arrive_at_the_same_picture() {
    let mut scene = scene();
    let (batch, _) = Bench::new(&scene).settle();
    scene.settings.pass_order = PassOrder::Sequential;
    let (sequential, _) = Bench::new(&scene).settle();
    assert!(largest_difference(&batch, &sequential) < 1e-5);
}

#[test]
fn regions_show_their_prompts_and_the_rest_is_background() {
    let mut bench = Bench::new(&scene());
    let red = bench.pixel(20, 30);
    let green = bench.pixel(45, 30);
    assert!(red[0] > 180 && red[1] < 80, "{red:?}");
    assert!(green[1] > 180 && green[0] < 80, "{green:?}");
    assert_eq!(bench.pixel(2, 2), [255; 3]);
}

/// The red and green halves before a background that is painted, with a yellow picture behind it.
fn scene_with_ground(keep_strength: f32) -> Scene {
    let mut scene = scene();
    scene.background = Background {
        prompt: "blue".to_owned(),
        image: Some(Picture::solid(scene.size, [255, 255, 0, 255])),
        keep_strength,
        ..Background::default()
    };
    scene
}

#[test]
fn a_background_is_painted_as_far_as_it_is_not_kept() {
    let corner = |keep| Bench::new(&scene_with_ground(keep)).pixel(2, 2);
    let blue_of = |keep: f32| i32::from(corner(keep)[2]);
    assert!(corner(1.0)[0] > 220 && blue_of(1.0) < 40, "{:?}", corner(1.0));
    assert!(corner(0.0)[0] < 80 && blue_of(0.0) > 180, "{:?}", corner(0.0));
    // The toy forgets what it started from: only what is kept at the last level shows.
    let half = blue_of(0.9);
    assert!((blue_of(1.0) + 60..blue_of(0.0) - 60).contains(&half), "{half}");
    // Regions show on it as before.
    let red = Bench::new(&scene_with_ground(0.0)).pixel(20, 30);
    assert!(red[0] > 180 && red[2] < 80, "{red:?}");
}

#[test]
fn keeping_the_background_leaves_out_its_rows() {
    let rows_of = |keep: f32| {
        let mut scene = scene_with_ground(keep);
        scene.settings.pass_order = PassOrder::Sequential;
        let mut bench = Bench::new(&scene);
        [(); 5].map(|()| bench.step().rows)
    };
    assert_eq!(rows_of(1.0), [2; 5]);
    assert_eq!(rows_of(0.6), [2, 2, 2, 3, 3]);
    assert_eq!(rows_of(0.5), [2, 2, 3, 3, 3]);
    assert_eq!(rows_of(0.0), [3; 5]);
}

#[test]
fn edits_of_a_painted_background_arrive_where_a_new_stream_would() {
    let first = scene_with_ground(0.3);
    let mut other_prompt = first.clone();
    other_prompt.background.prompt = "cyan".to_owned();
    let mut moved = first.clone();
    moved.regions[0].mask = painted(first.size, PixelRect::new(0, 16, 32, 40).unwrap());
    let mut soft = first.clone();
    soft.settings.mask_mode = MaskMode::Continuous;
    soft.regions[1].mask_std_px = 6.0;
    let mut gaps = soft.clone();
    gaps.settings.gaps = crate::api::Gaps::Background;
    let scenes = [
        first.clone(),
        scene_with_ground(1.0),
        scene_with_ground(0.7),
        other_prompt,
        moved,
        soft,
        gaps,
    ];
    for order in [PassOrder::StreamBatch, PassOrder::Sequential] {
        for before in &scenes {
            for after in &scenes {
                let [mut before, mut after] = [before.clone(), after.clone()];
                before.settings.pass_order = order;
                after.settings.pass_order = order;
                let mut bench = Bench::new(&before);
                bench.settle();
                assert_eq!(bench.apply(&after).has_changed, before != after);
                let (edited, _) = bench.settle();
                let (fresh, _) = Bench::new(&after).settle();
                assert!(largest_difference(&edited, &fresh) < 1e-5, "{order:?}");
            }
        }
    }
}

#[test]
fn a_background_whose_prompt_is_not_encoded_stays_as_it_is() {
    let mut scene = scene_with_ground(0.0);
    scene.background.prompt = "unknown".to_owned();
    let mut bench = Bench::new(&scene);
    let (kept, _) = Bench::new(&scene_with_ground(1.0)).settle();
    assert_eq!(bench.settle().0, kept);
    assert_eq!(bench.apply(&scene).missing_prompts, ["unknown"]);
    bench.apply(&scene_with_ground(0.0));
    assert!(bench.pixel(2, 2)[0] < 80);
}

#[test]
fn an_edit_flows_in_and_arrives_where_a_new_stream_would() {
    for order in [PassOrder::StreamBatch, PassOrder::Sequential] {
        for edits in [EditPolicy::FlowThrough, EditPolicy::Flush] {
            let mut before = scene();
            before.settings.pass_order = order;
            before.settings.edits = edits;
            let mut after = before.clone();
            after.regions[1].prompt = "blue".to_owned();
            after.regions[0].mask = painted(after.size, PixelRect::new(0, 16, 32, 40).unwrap());
            for steps_before in [0, 2, 5, 9] {
                let mut bench = Bench::new(&before);
                for _ in 0..steps_before {
                    bench.step();
                }
                assert!(bench.apply(&after).has_changed);
                let outcome = bench.step();
                assert_eq!(outcome.revision, Revision(2));
                let (edited, _) = bench.settle();
                let (fresh, _) = Bench::new(&after).settle();
                let difference = largest_difference(&edited, &fresh);
                assert!(
                    difference < 1e-5,
                    "{order:?} {edits:?} {steps_before}: {difference}"
                );
            }
        }
    }
}

#[test]
fn edits_flow_through_without_a_gap_and_flushing_starts_with_previews() {
    let mut scene = scene();
    for (edits, expected) in [
        (EditPolicy::FlowThrough, FrameKind::Complete),
        (EditPolicy::Flush, FrameKind::Preview),
    ] {
        scene.settings.edits = edits;
        let mut bench = Bench::new(&scene);
        bench.settle();
        let mut edited = scene.clone();
        edited.regions[0].prompt = "blue".to_owned();
        bench.apply(&edited);
        let outcome = bench.step();
        assert_eq!((outcome.kind, outcome.steps_until_settled), (expected, 4));
    }
}

#[test]
fn the_same_scene_again_changes_nothing() {
    let scene = scene();
    let mut bench = Bench::new(&scene);
    bench.settle();
    assert!(!bench.apply(&scene).has_changed);
    assert!(bench.session.is_settled());
    assert_eq!(bench.session.revision(), Revision(2));
    let mut other_policy = scene;
    other_policy.settings.edits = EditPolicy::Flush;
    assert!(!bench.apply(&other_policy).has_changed);
}

#[test]
fn a_prompt_that_is_not_encoded_keeps_what_was_there() {
    let mut scene = scene();
    let mut bench = Bench::new(&scene);
    let before = bench.settle();
    scene.regions[0].prompt = "unknown colour".to_owned();
    let applied = bench.apply(&scene);
    assert_eq!(applied.missing_prompts, ["unknown colour"]);
    assert!(!applied.has_changed);
    scene.regions.push(region(3, "unknown", Mask::full(scene.size)));
    bench.apply(&scene);
    assert_eq!(
        bench.settle().0,
        before.0,
        "a new region stays away until its prompt is known"
    );
}

#[test]
fn sequential_passes_answer_with_a_preview_first() {
    let mut scene = scene();
    scene.settings.pass_order = PassOrder::Sequential;
    let mut bench = Bench::new(&scene);
    let first = bench.step();
    assert_eq!(
        (first.kind, first.latent.is_some(), first.steps_until_settled),
        (FrameKind::Preview, true, 4)
    );
    assert_eq!(first.rows, 2);
    assert!(bench.step().latent.is_none());
}

#[test]
fn a_quick_device_foretells_only_the_first_picture_and_after_edits_that_start_over() {
    for edits in [EditPolicy::FlowThrough, EditPolicy::Flush] {
        let mut scene = scene();
        scene.settings.pass_order = PassOrder::Sequential;
        scene.settings.edits = edits;
        let mut bench = Bench::new(&scene);
        bench.session.foretell(false);
        assert!(bench.step().latent.is_some());
        bench.settle();
        for prompt in ["blue", "yellow"] {
            // Before the passes are through, so that flushing them would show nothing otherwise.
            scene.regions[0].prompt = prompt.to_owned();
            bench.apply(&scene);
            assert_eq!(bench.step().latent.is_some(), edits == EditPolicy::Flush);
        }
    }
}

#[test]
fn a_quick_dream_shows_finished_pictures_only() {
    let mut scene = scene();
    scene.settings.pass_order = PassOrder::Sequential;
    scene.settings.picture = PictureMode::Dream;
    let mut bench = Bench::new(&scene);
    bench.session.foretell(false);
    let kinds: Vec<FrameKind> = (0..12)
        .map(|_| bench.step())
        .filter_map(|outcome| outcome.latent.map(|_| outcome.kind))
        .collect();
    assert_eq!(
        kinds,
        [FrameKind::Preview, FrameKind::Complete, FrameKind::Complete]
    );
}

#[test]
fn guidance_waits_for_no_negative_prompt() {
    let mut scene = scene();
    for region in &mut scene.regions {
        region.negative_prompt = "unknown".to_owned();
    }
    let mut bench = Bench::new(&scene);
    let (before, _) = bench.settle();
    scene.settings.guidance = Guidance::Full { scale: 2.0 };
    let applied = bench.apply(&scene);
    assert_eq!(applied.missing_prompts, ["unknown"]);
    let (unguided, _) = bench.settle();
    assert!(largest_difference(&before, &unguided) < 1e-5);
    for region in &mut scene.regions {
        region.negative_prompt = "black".to_owned();
    }
    scene.background.keep_strength = 0.0;
    bench.apply(&scene);
    let (guided, _) = bench.settle();
    let (fresh, _) = Bench::new(&scene).settle();
    assert!(largest_difference(&guided, &fresh) < 1e-5);
    assert!(largest_difference(&guided, &unguided) > 0.1);
}

#[test]
fn patches_are_rows_of_their_own_only_where_that_tells_them_apart() {
    let mut scene = scene();
    let coverage: Vec<u8> = (0..64 * 64)
        .map(|i| if (24..40).contains(&(i % 64)) { 0 } else { 255 })
        .collect();
    let mask = Mask::from_coverage(scene.size, &coverage).unwrap();
    scene.regions = vec![region(1, "red", mask)];
    scene.settings.pass_order = PassOrder::Sequential;
    let mut bench = Bench::new(&scene);
    assert_eq!(bench.step().rows, 2);
    bench.settle();
    scene.settings.bootstrap_steps = 0;
    bench.apply(&scene);
    let (edited, _) = bench.settle();
    let mut bench = Bench::new(&scene);
    assert_eq!(bench.step().rows, 1);
    assert!(largest_difference(&edited, &bench.settle().0) < 1e-5);
}

#[test]
fn there_is_nothing_to_dream_of_where_nothing_is_painted() {
    let mut scene = scene();
    scene.settings.picture = PictureMode::Dream;
    scene.regions.clear();
    let mut bench = Bench::new(&scene);
    assert_eq!(bench.step().kind, FrameKind::Complete);
    assert!(bench.session.is_settled());
    scene.background.keep_strength = 0.5;
    bench.apply(&scene);
    for _ in 0..8 {
        bench.step();
        assert!(!bench.session.is_settled());
    }
}

#[test]
fn a_foretold_picture_is_the_finished_one_where_nothing_changed() {
    let size = CanvasSize::new(256, 64).unwrap();
    let rect = |x0, x1| painted(size, PixelRect::new(x0, 8, x1, 56).unwrap());
    let mut scene = scene();
    scene.size = size;
    // Two objects far from each other.
    scene.regions = vec![region(1, "red", rect(8, 56)), region(2, "green", rect(200, 248))];
    scene.settings.pass_order = PassOrder::Sequential;
    let mut bench = Bench::new(&scene);
    let (before, _) = bench.settle();
    let column = |cell: usize| cell % 32;
    let preview_of = |bench: &mut Bench, scene: &Scene| {
        bench.apply(scene);
        let outcome = bench.step();
        assert_eq!(outcome.kind, FrameKind::Preview);
        values(&outcome.latent.unwrap())
    };
    let mut edits = Vec::new();
    for edit in 0..4 {
        let mut edited = scene.clone();
        match edit {
            0 => edited.regions[0].mask = rect(8, 64),
            1 => edited.regions[0].prompt = "blue".to_owned(),
            2 => edited.regions[0].seed = Some(Seed(4)),
            _ => edited.regions.push(region(3, "yellow", rect(64, 72))),
        }
        edits.push(edited);
    }
    for edited in edits {
        let preview = preview_of(&mut bench, &edited);
        for (cell, (a, b)) in before.iter().zip(&preview).enumerate() {
            assert!(column(cell) < 13 || a == b, "cell {cell}");
        }
        assert!(before.iter().zip(&preview).any(|(a, b)| a != b));
        // Back again: the finished picture is the same as before.
        bench.apply(&scene);
        assert!(largest_difference(&bench.settle().0, &before) < 1e-6);
    }
    // What decides about all of the canvas shows everywhere.
    let mut reseeded = scene.clone();
    reseeded.seed = Seed(6);
    let preview = preview_of(&mut bench, &reseeded);
    assert!((200..248).any(|x| before[x / 8 + 32] != preview[x / 8 + 32]));
    // An edit that comes while passes are made counts until it has gone through all of them.
    bench.settle();
    let (_, _) = (bench.apply(&scene), bench.settle());
    let mut edited = scene.clone();
    edited.regions[0].prompt = "blue".to_owned();
    bench.apply(&edited);
    bench.step();
    bench.step();
    edited.regions[1].prompt = "yellow".to_owned();
    bench.apply(&edited);
    let outdated = (0..10)
        .map(|_| bench.step())
        .find(|outcome| outcome.kind == FrameKind::Complete);
    assert!(outdated.is_some() && !bench.session.is_settled());
    let preview = values(&bench.step().latent.unwrap());
    let complete = values(&outdated.unwrap().latent.unwrap());
    assert!((200..248).any(|x| complete[x / 8 + 32] != preview[x / 8 + 32]));
}

#[test]
fn a_foretold_picture_keeps_other_patches_and_shows_no_background_through_soft_edges() {
    let size = CanvasSize::new(256, 64).unwrap();
    let mut scene = scene();
    scene.size = size;
    scene.settings.pass_order = PassOrder::Sequential;
    let patches = |end: u32| {
        let coverage: Vec<u8> = (0..256 * 64)
            .map(|i| (i % 256, i / 256))
            .map(|(x, y)| ((8..56).contains(&x) || (160..end).contains(&x)) && (8..56).contains(&y))
            .map(|is_inside| if is_inside { 255 } else { 0 })
            .collect();
        Mask::from_coverage(size, &coverage).unwrap()
    };
    scene.regions = vec![Region {
        mask_std_px: 6.0,
        ..region(1, "red", patches(208))
    }];
    let mut bench = Bench::new(&scene);
    let (before, _) = bench.settle();
    scene.regions[0].mask = patches(216);
    bench.apply(&scene);
    let preview = values(&bench.step().latent.unwrap());
    let (after, _) = bench.settle();
    assert_ne!(before, preview);
    for cell in 0..32 * 8 {
        // The first three channels are red, green and blue.
        let green = 32 * 8 + cell;
        if cell % 32 < 10 {
            assert_eq!(before[green], preview[green], "cell {cell} of the other patch");
        }
        let was_red = before[green] < 0.0 && after[green] < 0.0;
        assert!(
            !was_red || preview[green] < 0.0,
            "cell {cell} is white for a moment"
        );
    }
}

#[test]
fn a_dream_never_settles_and_never_repeats() {
    let mut scene = scene();
    scene.settings.picture = PictureMode::Dream;
    let mut bench = Bench::new(&scene);
    let mut seen: Vec<Vec<f32>> = Vec::new();
    for step in 0..12 {
        let outcome = bench.step();
        assert!(!bench.session.is_settled());
        if outcome.kind == FrameKind::Complete {
            assert_eq!(outcome.steps_until_settled, 0, "step {step}");
            let latent = values(&outcome.latent.unwrap());
            assert!(seen.iter().all(|other| *other != latent));
            seen.push(latent);
        }
    }
    assert_eq!(seen.len(), 8);
}

#[test]
fn a_region_with_its_own_seed_changes_alone() {
    let mut scene = scene();
    let mut bench = Bench::new(&scene);
    let (before, _) = bench.settle();
    scene.regions[0].seed = Some(Seed(99));
    bench.apply(&scene);
    let (after, _) = bench.settle();
    for (cell, (a, b)) in before.iter().zip(&after).enumerate() {
        let (x, y) = (cell % 8, cell / 8 % 8);
        let is_inside = (1..4).contains(&x) && (1..7).contains(&y);
        assert_eq!(a != b, is_inside, "cell {x},{y}");
    }
}

#[test]
fn canvases_of_any_size_and_number_of_regions_give_a_picture() {
    for (width, height) in [(1, 1), (8192, 8192), (65, 3), (8192, 1)] {
        let size = CanvasSize::new(width, height).unwrap();
        let mut scene = scene();
        scene.size = size;
        scene.regions = vec![region(1, "red", Mask::full(size))];
        let mut bench = Bench::new(&scene);
        bench.settle();
        let (latent, _) = bench.session.latest.clone().unwrap();
        let decoded = bench.parts.codec.decode(&latent).unwrap();
        let picture = bench.session.picture(&decoded).unwrap();
        assert_eq!(picture.size(), size);
        assert!(picture.rgba()[0] > 180 && picture.rgba()[1] < 80);
    }
    let mut many = scene();
    many.regions = (0..64)
        .map(|id| region(id, &format!("prompt {id}"), Mask::full(many.size)))
        .collect();
    Bench::new(&many).settle();
    many.regions.clear();
    let mut bench = Bench::new(&many);
    let outcome = bench.step();
    assert_eq!((outcome.kind, outcome.rows), (FrameKind::Complete, 0));
    assert!(bench.session.is_settled());
}

#[test]
fn a_canvas_can_change_its_size_and_steps_while_running() {
    let mut bench = Bench::new(&scene());
    bench.step();
    bench.step();
    let mut larger = scene();
    larger.size = CanvasSize::new(96, 72).unwrap();
    larger.regions = vec![region(1, "blue", Mask::full(larger.size))];
    assert!(bench.apply(&larger).has_changed);
    assert_eq!(bench.settle().1, 5);
    larger.settings.steps = StepList::with_count(3);
    bench.apply(&larger);
    assert_eq!(bench.settle().1, 3);
}

#[test]
fn contradictory_scenes_are_refused_and_the_stream_goes_on() {
    let mut bench = Bench::new(&scene());
    let before = bench.settle();
    let mut wrong_mask = scene();
    wrong_mask.regions[0].mask = Mask::new(CanvasSize::new(8, 8).unwrap());
    let mut doubled = scene();
    doubled.regions[1].id = RegionId(1);
    for (bad, words) in [
        (wrong_mask, "the mask of region 1 is 8 x 8 pixels"),
        (doubled, "two regions have the number 1"),
    ] {
        let error = bench
            .session
            .apply(Revision(7), &bad, &bench.prompts, &bench.parts)
            .unwrap_err();
        assert!(matches!(error, Error::Scene { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(values(&bench.step().latent.unwrap()), before.0);
}

/// A denoiser that fails in one way or another.
struct Broken(bool);

impl Denoiser for Broken {
    fn prepare(&self, _conditioning: &Conditioning) -> candle_core::Result<PreparedPrompt> {
        Ok(PreparedPrompt(Arc::new(())))
    }

    fn predict(&mut self, latents: &Tensor, _rows: &[Row<'_>]) -> candle_core::Result<Tensor> {
        if self.0 {
            latents.affine(f64::NAN, 0.0)
        } else {
            candle_core::bail!("the device is gone")
        }
    }
}

#[test]
fn a_failing_denoiser_is_an_error_and_the_latents_stay() {
    let mut scene = scene();
    let mut bench = Bench::new(&scene);
    bench.settle();
    scene.regions[0].prompt = "blue".to_owned();
    bench.apply(&scene);
    assert!(matches!(
        bench.session.step(&mut Broken(true)),
        Err(Error::NotFinite)
    ));
    assert!(matches!(
        bench.session.step(&mut Broken(false)),
        Err(Error::Compute { .. })
    ));
    let (after, steps) = bench.settle();
    assert_eq!(steps, 5);
    assert_eq!(after, Bench::new(&scene).settle().0);
}

#[test]
fn numbers_that_are_none_do_no_harm() {
    let mut scene = scene();
    scene.settings.cover_alpha = f32::NAN;
    scene.settings.bootstrap_mix_steps = f32::NAN;
    for region in &mut scene.regions {
        region.mask_std_px = f32::NAN;
        region.mask_strength = f32::NAN;
        region.prompt_strength = f32::NAN;
    }
    let red = Bench::new(&scene).pixel(20, 30);
    assert!(red[0] > 180 && red[1] < 80, "{red:?}");
}

#[test]
fn the_order_follows_the_measurement() {
    let fast_batch = Throughput {
        one_level: 10.0,
        all_levels: 40.0,
    };
    let full_device = Throughput {
        one_level: 10.0,
        all_levels: 12.0,
    };
    assert!(fast_batch.favours_batch(5));
    assert!(!full_device.favours_batch(5));
}

#[test]
fn a_stream_renewed_knows_what_the_one_before_had_learnt() {
    let mut scene = scene();
    scene.settings.pass_order = PassOrder::Auto;
    let mut bench = Bench::new(&scene);
    bench.session.set_throughput(Throughput {
        one_level: 10.0,
        all_levels: 40.0,
    });
    assert!(bench.session.halve_calls());
    let cells = bench.session.cells_per_call();
    bench.session = bench.session.renewed(&bench.parts);
    assert!(bench.session.geometry().is_none());
    assert_eq!(bench.session.cells_per_call(), cells);
    bench.apply(&scene);
    // The measured order, which is not the processor's when nothing is measured.
    assert!(bench.session.flight.is_in(Order::Batch));
}

#[test]
fn a_background_picture_shows_where_nothing_is_painted() {
    let mut scene = scene();
    let size = scene.size;
    scene.background.image = Some(Picture::solid(size, [0, 0, 255, 255]));
    let mut bench = Bench::new(&scene);
    assert_eq!(bench.pixel(2, 2), [0, 0, 255]);
    scene.background.image = None;
    bench.apply(&scene);
    assert_eq!(bench.pixel(2, 2), [255; 3]);
}

#[test]
fn prompt_strength_mixes_with_the_background_prompt() {
    let mut scene = scene();
    scene.background.prompt = "blue".to_owned();
    scene.regions[0].prompt_strength = 0.5;
    let mut bench = Bench::new(&scene);
    let mixed = bench.pixel(20, 30);
    assert!(
        (90..170).contains(&mixed[0]) && (90..170).contains(&mixed[2]),
        "{mixed:?}"
    );
    scene.background.prompt = "red".to_owned();
    assert!(bench.apply(&scene).has_changed);
    let red = bench.pixel(20, 30);
    assert!(red[0] > 180 && red[2] < 80, "{red:?}");
}

#[test]
fn a_card_paints_what_the_processor_does() {
    let guidances = [
        Guidance::None,
        Guidance::Full { scale: 1.5 },
        Guidance::SelfNegative {
            scale: 1.4,
            delta: 0.7,
        },
        Guidance::Initialize {
            scale: 1.6,
            delta: 0.9,
        },
    ];
    for (number, guidance) in guidances.into_iter().enumerate() {
        for pass_order in [PassOrder::StreamBatch, PassOrder::Sequential] {
            let mut scene = scene();
            // The background shows through.
            scene.regions[1].mask_strength = 0.6;
            scene.settings.guidance = guidance;
            scene.settings.pass_order = pass_order;
            scene.settings.mask_mode =
                [MaskMode::Discrete, MaskMode::SemiContinuous, MaskMode::Continuous][number % 3];
            scene.settings.bootstrap_steps = number as u8;
            scene.settings.bootstrap_mix_steps = 1.5;
            let paint = |rows_per_call: Option<usize>| {
                let mut bench = Bench::new(&scene);
                if let Some(rows) = rows_per_call {
                    bench.session.cells_per_call = rows * 64;
                }
                bench.settle()
            };
            let (expected, steps) = paint(None);
            for (rows_per_call, with_kernels) in [(None, false), (Some(3), false), (Some(2), number == 1)] {
                let (found, steps_found) = cuda::as_on_a_card(with_kernels, || paint(rows_per_call));
                assert_eq!(steps_found, steps);
                let difference = largest_difference(&found, &expected);
                assert!(
                    difference < 1e-4,
                    "{guidance:?}, {pass_order:?}, {rows_per_call:?} rows a call: {difference}"
                );
            }
        }
    }
}
