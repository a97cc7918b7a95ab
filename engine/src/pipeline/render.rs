//! The finished picture of a scene, at any size.
//!
//! At the size that the stream computes it with, the picture is the stream's own, bit for bit: what the painter saw. A
//! smaller one is that picture made smaller. A larger one must show the same picture with more detail; painted from
//! noise, windows of a large canvas would each invent a subject of their own. So the stream's picture is enlarged, at most
//! twofold at a time, noised half-way and denoised again through overlapping windows, each region under its own mask and
//! prompt: see [`enlarge`](super::enlarge).

use std::{collections::BTreeMap, sync::Arc};

use super::enlarge::Enlargement;
use crate::{
    Error, Result,
    api::{CanvasSize, PassOrder, Picture, PictureMode, Revision, Scene},
    error::Doing as _,
    image,
    models::traits::{Conditioning, ModelParts},
    stream::Session,
};

/// Each pass enlarges at most this much.
const MOST_PER_PASS: f64 = 2.0;
/// Pictures that grow by less are only interpolated; there is no detail to add.
const LEAST_GROWTH: f64 = 1.1;

/// Encoded prompts by their text.
pub(super) type Encoded = BTreeMap<String, Arc<Conditioning>>;

/// What a computation tells, and asks, between calls of the denoiser.
pub(super) struct Course<'a> {
    pub(super) progress: &'a mut dyn FnMut(u32, u32),
    pub(super) is_cancelled: &'a dyn Fn() -> bool,
    done: u32,
    total: u32,
}

impl Course<'_> {
    /// Ends the computation if it is not wanted any more.
    pub(super) fn check(&self) -> Result<()> {
        if (self.is_cancelled)() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Another call is done.
    pub(super) fn advance(&mut self) {
        self.done = (self.done + 1).min(self.total);
        (self.progress)(self.done, self.total);
    }
}

/// Renders a scene from scratch.
///
/// `size` is the picture's size; masks and background are scaled to it. `cells_per_call` is how many cells all latents of
/// one call of the denoiser have together, at most ([`Session::cells_per_call`]). `encode` encodes a prompt. `progress` is told how
/// many of how many steps are done; `is_cancelled` is asked between them. The same scene gives the same picture, with any
/// number of threads.
///
/// # Errors
/// [`Error::Cancelled`] if `is_cancelled` says so; [`Error::Scene`] if the scene contradicts itself;
/// [`Error::NotFinite`] if the denoiser gives what is not a number; otherwise what failed.
pub fn render(
    parts: &mut ModelParts,
    scene: &Scene,
    size: CanvasSize,
    cells_per_call: usize,
    encode: &dyn Fn(&str) -> Result<Arc<Conditioning>>,
    progress: &mut dyn FnMut(u32, u32),
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Picture> {
    let mut scene = scene.clone();
    scene.settings.pass_order = PassOrder::Sequential;
    scene.settings.picture = PictureMode::Held;
    let mut course = Course {
        progress,
        is_cancelled,
        done: 0,
        total: 0,
    };
    let prompts = encode_prompts(&scene, encode, &course)?;

    let mut session = Session::new(parts);
    session.limit_calls(cells_per_call);
    let find = |prompt: &str| prompts.get(prompt).cloned();
    session.apply(Revision(0), &scene, &find, parts)?;
    let working = session.geometry().ok_or(Error::NoModel)?.working;
    let mut enlargements = Vec::new();
    for size in sizes_between(working, size) {
        enlargements.push(Enlargement::new(&scene, size, cells_per_call, parts)?);
    }
    let calls: usize = enlargements.iter().map(Enlargement::calls).sum();
    course.total = (scene.settings.steps.count() + calls) as u32;

    let latent = settle(&mut session, parts, &mut course)?;
    course.check()?;
    let decoded = parts.codec.decode(&latent).doing("decoding a picture")?;
    let mut picture = image::picture_from_tensor(&decoded, working)?;
    for enlargement in &enlargements {
        picture = enlargement.paint(&picture, &prompts, parts, &mut course)?;
    }
    Ok(image::stretched(&picture, size))
}

fn encode_prompts(
    scene: &Scene,
    encode: &dyn Fn(&str) -> Result<Arc<Conditioning>>,
    course: &Course<'_>,
) -> Result<Encoded> {
    let mut texts = vec![&scene.background.prompt];
    texts.extend(scene.regions.iter().map(|region| &region.prompt));
    if scene.settings.guidance.takes_negative_prompts() {
        texts.push(&scene.background.negative_prompt);
        texts.extend(scene.regions.iter().map(|region| &region.negative_prompt));
    }
    let mut encoded = Encoded::new();
    for text in texts {
        course.check()?;
        if !encoded.contains_key(text) {
            encoded.insert(text.clone(), encode(text)?);
        }
    }
    Ok(encoded)
}

/// Runs the stream until its picture is finished: `[1, c, h, w]`.
fn settle(
    session: &mut Session,
    parts: &mut ModelParts,
    course: &mut Course<'_>,
) -> Result<candle_core::Tensor> {
    loop {
        course.check()?;
        let outcome = session.step(parts.denoiser.as_mut())?;
        course.advance();
        if session.is_settled() {
            return outcome.latent.ok_or(Error::NoModel);
        }
    }
}

/// The sizes of the passes that lead from one size to a larger one; none if it is hardly larger.
fn sizes_between(from: CanvasSize, to: CanvasSize) -> Vec<CanvasSize> {
    let growth = |from: u32, to: u32| f64::from(to) / f64::from(from);
    let factors = (
        growth(from.width(), to.width()),
        growth(from.height(), to.height()),
    );
    let factor = factors.0.max(factors.1);
    if factor < LEAST_GROWTH {
        return Vec::new();
    }
    let passes = (factor.ln() / MOST_PER_PASS.ln() - 1e-9).ceil().max(1.0);
    let side = |from: u32, factor: f64, to: u32, pass: f64| {
        let side = f64::from(from) * factor.powf(pass / passes);
        if pass == passes { to } else { side.round() as u32 }
    };
    (1..=passes as u32)
        .filter_map(|pass| {
            let pass = f64::from(pass);
            CanvasSize::new(
                side(from.width(), factors.0, to.width(), pass),
                side(from.height(), factors.1, to.height(), pass),
            )
            .ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use candle_core::{Device, Tensor};

    use super::*;
    use crate::{
        api::{
            Background, Guidance, Mask, ModelChoice, ModelSource, PixelRect, Region, RegionId, Seed,
            StepList, StreamSettings,
        },
        device::Compute,
        models::{
            toy,
            traits::{Denoiser, PreparedPrompt, Row},
        },
        stream::live::MAX_CELLS_PER_CALL,
    };

    fn parts() -> ModelParts {
        let choice = ModelChoice::plain(ModelSource::Toy);
        toy::load(&choice, &Compute::cpu()).unwrap().parts
    }

    fn size(width: u32, height: u32) -> CanvasSize {
        CanvasSize::new(width, height).unwrap()
    }

    fn encoded(prompt: &str) -> Arc<Conditioning> {
        Arc::new(Conditioning {
            context: Tensor::new(&[toy::colour_of_prompt(prompt)], &Device::Cpu).unwrap(),
            pooled: None,
            time_ids: None,
        })
    }

    fn mask(canvas: CanvasSize, rect: PixelRect) -> Mask {
        let coverage: Vec<u8> = (0..canvas.height())
            .flat_map(|y| (0..canvas.width()).map(move |x| (x, y)))
            .map(|(x, y)| {
                let is_inside = (rect.x0..rect.x1).contains(&x) && (rect.y0..rect.y1).contains(&y);
                if is_inside { 255 } else { 0 }
            })
            .collect();
        Mask::from_coverage(canvas, &coverage).unwrap()
    }

    fn region(id: u64, prompt: &str, mask: Mask) -> Region {
        Region::new(RegionId(id), prompt, mask)
    }

    /// Red on the left half, blue in a corner, white elsewhere.
    fn scene(canvas: CanvasSize) -> Scene {
        let (width, height) = (canvas.width(), canvas.height());
        let left = PixelRect {
            x0: 0,
            y0: 0,
            x1: width.div_ceil(2),
            y1: height,
        };
        let corner = PixelRect {
            x0: width * 3 / 4,
            y0: height * 3 / 4,
            x1: width,
            y1: height,
        };
        Scene {
            size: canvas,
            background: Background::default(),
            regions: vec![
                region(1, "red", mask(canvas, left)),
                region(2, "blue", mask(canvas, corner)),
            ],
            seed: Seed(5),
            settings: StreamSettings::default(),
        }
    }

    fn render_with(parts: &mut ModelParts, scene: &Scene, to: CanvasSize) -> Result<Picture> {
        render(
            parts,
            scene,
            to,
            MAX_CELLS_PER_CALL,
            &|prompt| Ok(encoded(prompt)),
            &mut |_, _| {},
            &|| false,
        )
    }

    fn rendered(scene: &Scene, to: CanvasSize) -> Picture {
        render_with(&mut parts(), scene, to).unwrap()
    }

    fn pixel(picture: &Picture, x: u32, y: u32) -> [u8; 3] {
        let start = (y as usize * picture.size().width() as usize + x as usize) * 4;
        picture.rgba()[start..start + 3].try_into().unwrap()
    }

    fn is_near(pixel: [u8; 3], colour: [u8; 3]) -> bool {
        pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 60)
    }

    /// The picture that the stream of a scene settles at.
    fn streamed(scene: &Scene) -> Picture {
        let mut parts = parts();
        let mut session = Session::new(&parts);
        let find = |prompt: &str| Some(encoded(prompt));
        session.apply(Revision(1), scene, &find, &parts).unwrap();
        loop {
            let outcome = session.step(parts.denoiser.as_mut()).unwrap();
            if session.is_settled() {
                let decoded = parts.codec.decode(&outcome.latent.unwrap()).unwrap();
                return session.picture(&decoded).unwrap();
            }
        }
    }

    #[test]
    fn at_its_own_size_the_picture_is_the_streams() {
        for canvas in [size(64, 64), size(100, 37), size(1, 1)] {
            let mut scene = scene(canvas);
            for pass_order in [PassOrder::Sequential, PassOrder::StreamBatch] {
                scene.settings.pass_order = pass_order;
                assert_eq!(
                    rendered(&scene, canvas),
                    streamed(&scene),
                    "{canvas:?} {pass_order:?}"
                );
            }
        }
    }

    #[test]
    fn a_larger_picture_shows_the_same_regions() {
        let scene = scene(size(64, 48));
        for to in [size(128, 96), size(200, 150), size(300, 101)] {
            let picture = rendered(&scene, to);
            assert_eq!(picture.size(), to);
            let (width, height) = (to.width(), to.height());
            assert!(is_near(pixel(&picture, width / 4, height / 2), [230, 25, 25]));
            assert!(is_near(
                pixel(&picture, width * 15 / 16, height * 15 / 16),
                [25, 25, 230]
            ));
            // What no region covers is the background itself.
            assert_eq!(pixel(&picture, width * 3 / 4, height / 4), [255; 3]);
        }
    }

    #[test]
    fn a_smaller_picture_is_the_streams_made_smaller() {
        let scene = scene(size(64, 64));
        let expected = image::stretched(&streamed(&scene), size(30, 20));
        assert_eq!(rendered(&scene, size(30, 20)), expected);
    }

    #[test]
    fn without_regions_the_background_is_all_there_is() {
        let mut scene = scene(size(64, 64));
        scene.regions.clear();
        scene.background.image = Some(Picture::solid(size(8, 8), [10, 200, 30, 255]));
        let picture = rendered(&scene, size(130, 70));
        assert_eq!(picture, Picture::solid(size(130, 70), [10, 200, 30, 255]));
        assert!(is_near(
            pixel(&rendered(&scene, size(64, 64)), 9, 9),
            [10, 200, 30]
        ));
    }

    #[test]
    fn a_background_that_is_not_kept_is_painted_at_every_size() {
        let mut scene = scene(size(64, 64));
        scene.background.prompt = "green".to_owned();
        scene.background.image = Some(Picture::solid(size(8, 8), [255, 255, 255, 255]));
        let corner = |scene: &Scene, to| pixel(&rendered(scene, to), to.width() - 3, 2);
        for keep_strength in [0.0, 0.5, 0.8] {
            scene.background.keep_strength = keep_strength;
            assert_eq!(rendered(&scene, size(64, 64)), streamed(&scene));
            for to in [size(64, 64), size(130, 130), size(300, 200)] {
                let found = corner(&scene, to);
                assert!(is_near(found, [25, 230, 25]), "{keep_strength} {to:?}: {found:?}");
            }
        }
        // Half of it stays at the last level.
        scene.background.keep_strength = 0.9;
        for to in [size(64, 64), size(130, 130)] {
            let found = corner(&scene, to);
            assert!(is_near(found, [140, 242, 140]), "{to:?}: {found:?}");
        }
        scene.regions.clear();
        scene.background.keep_strength = 0.0;
        assert!(is_near(corner(&scene, size(130, 130)), [25, 230, 25]));
    }

    #[test]
    fn what_is_transparent_behind_everything_is_white_at_every_size() {
        let mut scene = scene(size(64, 64));
        scene.background.image = Some(Picture::solid(size(64, 64), [0; 4]));
        for is_painted in [true, false] {
            if !is_painted {
                scene.regions.clear();
            }
            for to in [size(64, 64), size(128, 128)] {
                let picture = rendered(&scene, to);
                let corner = (to.width() - 2) as usize * 4;
                assert_eq!(picture.rgba()[corner..corner + 4], [255; 4], "{to:?}");
            }
        }
    }

    #[test]
    fn progress_rises_by_one_to_its_end() {
        let mut steps = Vec::new();
        let mut note = |done, total| steps.push((done, total));
        let scene = scene(size(64, 64));
        render(
            &mut parts(),
            &scene,
            size(128, 128),
            MAX_CELLS_PER_CALL,
            &|prompt| Ok(encoded(prompt)),
            &mut note,
            &|| false,
        )
        .unwrap();
        // Five steps of the stream, and two in each of nine windows.
        let expected: Vec<(u32, u32)> = (1..=5 + 2 * 9).map(|done| (done, 5 + 2 * 9)).collect();
        assert_eq!(steps, expected);
    }

    #[test]
    fn a_render_can_be_cancelled_between_any_two_steps() {
        let scene = scene(size(64, 64));
        for last in 0..8 {
            let asked = Cell::new(0);
            let is_cancelled = || {
                asked.set(asked.get() + 1);
                asked.get() > last
            };
            let result = render(
                &mut parts(),
                &scene,
                size(128, 64),
                MAX_CELLS_PER_CALL,
                &|prompt| Ok(encoded(prompt)),
                &mut |_, _| {},
                &is_cancelled,
            );
            assert!(matches!(result, Err(Error::Cancelled)), "{last}");
            assert_eq!(asked.get(), last + 1, "nothing is asked or done afterwards");
        }
    }

    /// Gives good numbers for some calls and then none.
    struct Breaking(Box<dyn Denoiser>, usize);

    impl Denoiser for Breaking {
        fn prepare(&self, conditioning: &Conditioning) -> candle_core::Result<PreparedPrompt> {
            self.0.prepare(conditioning)
        }

        fn predict(&mut self, latents: &Tensor, rows: &[Row<'_>]) -> candle_core::Result<Tensor> {
            let good = self.0.predict(latents, rows)?;
            let Some(left) = self.1.checked_sub(1) else {
                return good * f64::NAN;
            };
            self.1 = left;
            Ok(good)
        }
    }

    #[test]
    fn what_is_no_number_is_an_error_in_every_stage() {
        for good_calls in [0, 4, 5, 9] {
            let mut parts = parts();
            let denoiser = std::mem::replace(&mut parts.denoiser, toy_denoiser());
            parts.denoiser = Box::new(Breaking(denoiser, good_calls));
            let result = render_with(&mut parts, &scene(size(64, 64)), size(128, 128));
            assert!(
                matches!(result, Err(Error::NotFinite)),
                "{good_calls}: {result:?}"
            );
        }
    }

    fn toy_denoiser() -> Box<dyn Denoiser> {
        parts().denoiser
    }

    #[test]
    fn sixty_four_regions_and_odd_sizes_are_painted() {
        let canvas = size(61, 67);
        let mut scene = scene(canvas);
        scene.regions = (0..64)
            .map(|n| {
                let (x0, y0) = (n % 8 * 7, n / 8 * 8);
                let rect = PixelRect {
                    x0,
                    y0,
                    x1: x0 + 8,
                    y1: y0 + 9,
                };
                region(
                    u64::from(n),
                    if n % 2 == 0 { "red" } else { "green" },
                    mask(canvas, rect),
                )
            })
            .collect();
        scene.settings.steps = StepList::with_count(1);
        for guidance in [
            Guidance::None,
            Guidance::Full { scale: 1.5 },
            Guidance::Initialize {
                scale: 1.2,
                delta: 1.0,
            },
        ] {
            scene.settings.guidance = guidance;
            assert_eq!(rendered(&scene, size(123, 133)).size(), size(123, 133));
        }
    }

    #[test]
    fn a_region_with_a_seed_of_its_own_changes_alone() {
        let canvas = size(64, 64);
        let before = scene(canvas);
        let mut after = before.clone();
        after.regions[0].seed = Some(Seed(99));
        let (before, after) = (
            rendered(&before, size(128, 128)),
            rendered(&after, size(128, 128)),
        );
        assert_ne!(pixel(&before, 20, 64), pixel(&after, 20, 64));
        assert_eq!(pixel(&before, 120, 120), pixel(&after, 120, 120));
        assert_eq!(pixel(&before, 100, 20), pixel(&after, 100, 20));
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let scene = scene(size(96, 64));
        let with_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| rendered(&scene, size(192, 128)))
        };
        assert_eq!(with_threads(1), with_threads(3));
    }

    #[test]
    fn a_mask_of_another_canvas_is_refused() {
        let mut scene = scene(size(64, 64));
        // As many pixels as the canvas has, but not in its rows.
        scene.regions[1].mask = Mask::full(size(32, 128));
        let error = render_with(&mut parts(), &scene, size(64, 64)).unwrap_err();
        assert!(matches!(error, Error::Scene { .. }), "{error}");
        assert!(error.to_string().contains("32 x 128"), "{error}");
    }

    #[test]
    fn passes_at_most_double_and_end_at_the_target() {
        let sizes =
            |from, to| -> Vec<(u32, u32)> { sizes_between(from, to).into_iter().map(Into::into).collect() };
        assert_eq!(sizes(size(512, 512), size(1024, 1024)), [(1024, 1024)]);
        assert_eq!(
            sizes(size(512, 512), size(2048, 1536)),
            [(1024, 887), (2048, 1536)]
        );
        assert!(sizes(size(512, 512), size(540, 400)).is_empty());
        assert_eq!(sizes(size(1, 1), size(8192, 8192)).len(), 13);
    }
}
