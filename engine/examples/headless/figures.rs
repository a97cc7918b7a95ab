//! The pictures of docs/ALGORITHM.md: each deviation from the reference, ours first, and what ours adds.

use std::path::Path;

use anyhow::Result;
use candle_core::DType;
use wordbrush_engine::{
    api::{
        BackgroundNoise, CanvasSize, Centring, EditPolicy, Gaps, Mask, PassOrder, Picture, RegionId, Scene,
        StreamSettings,
    },
    low_level::{
        image::stretched,
        stream::{
            geometry::Geometry,
            mask_set::MaskSet,
            masks::{MaskRequest, prepare},
            reference::{BackgroundUpdate, LayerUpdate},
        },
    },
};

use crate::{
    as_reference::{self, Entering, Unwatched, plane},
    scenes::{GRASS, SKY, TREE, disc_at_dusk, dusk, landscape, painted},
    sheet::{difference, grey_cells, sheet, write_png},
    stream::Stream,
};

type Figure = fn(&mut Stream, CanvasSize) -> Result<Picture>;

const FIGURES: [(&str, Figure); 14] = [
    ("background-noise", background_noise),
    ("stock-noise", stock_noise),
    ("entering-noise", entering_noise),
    ("queued-edits", queued_edits),
    ("cover", cover),
    ("gaps-and-centring", gaps_and_centring),
    ("patches", patches),
    ("blur-window", blur_window),
    ("mask-defaults", mask_defaults),
    ("background-prompt", background_prompt),
    ("bytes", bytes),
    ("background-picture", background_picture),
    ("canvas-size", canvas_size),
    ("keep-strength", keep_strength),
];

/// Writes all figures into a folder.
pub(crate) fn write_all(stream: &mut Stream, size: CanvasSize, out: &Path) -> Result<()> {
    for (name, figure) in FIGURES {
        let picture = figure(stream, size)?;
        let path = out.join(format!("{name}.png"));
        write_png(&path, &picture)?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Our picture of a scene, from the start.
fn ours(stream: &mut Stream, scene: &Scene) -> Result<Picture> {
    stream.restart();
    stream.apply(scene)?;
    stream.settle()
}

fn index_of(scene: &Scene, id: RegionId) -> usize {
    scene
        .regions
        .iter()
        .position(|region| region.id == id)
        .expect("the landscape has all regions")
}

/// A background picture under grass and tree, whose noise is put back rightly or wrongly.
fn background_noise(stream: &mut Stream, size: CanvasSize) -> Result<Picture> {
    let mut scene = landscape(size)?;
    scene.background.image = Some(dusk(size)?);
    scene.regions.retain(|region| region.id != SKY);
    let corrected = ours(stream, &scene)?;
    scene.settings.background_noise = BackgroundNoise::Reference;
    let as_reference = ours(stream, &scene)?;
    let apart = difference(&corrected, &as_reference, 8)?;
    sheet(&[vec![corrected, as_reference, apart]])
}

/// Three bootstrapping steps, in which a region's surroundings are noised with its slot's noise, or the first slot's.
fn stock_noise(stream: &mut Stream, size: CanvasSize) -> Result<Picture> {
    let mut scene = landscape(size)?;
    scene.settings.bootstrap_steps = 3;
    let own = ours(stream, &scene)?;
    let first_slots = as_reference::settled(stream, &scene, |_| {})?;
    let apart = difference(&own, &first_slots, 8)?;
    sheet(&[vec![own, first_slots, apart]])
}

/// Soft edges that meet, and sceneries that are rolled: ours, with the reference's gaps, with its centring, with both.
fn gaps_and_centring(stream: &mut Stream, size: CanvasSize) -> Result<Picture> {
    let ways = [
        (Gaps::Closed, Centring::Objects),
        (Gaps::Background, Centring::Objects),
        (Gaps::Closed, Centring::Always),
        (Gaps::Background, Centring::Always),
    ];
    let rows = [
        ["sky", "grass", "tree"],
        ["sunset", "sea", "boat"],
        ["sky", "desert", "cactus"],
    ]
    .map(|prompts| {
        ways.iter()
            .map(|&(gaps, centring)| {
                let mut scene = landscape(size)?;
                for (region, prompt) in scene.regions.iter_mut().zip(prompts) {
                    prompt.clone_into(&mut region.prompt);
                }
                scene.settings.gaps = gaps;
                scene.settings.centring = centring;
                ours(stream, &scene)
            })
            .collect::<Result<Vec<_>>>()
    });
    sheet(&rows.into_iter().collect::<Result<Vec<_>>>()?)
}

/// One region in two places: an object in each, one object in both, and the same with the reference's gaps and centring.
fn patches(stream: &mut Stream, size: CanvasSize) -> Result<Picture> {
    let ways = [
        (Gaps::Closed, Centring::Patches),
        (Gaps::Closed, Centring::Objects),
        (Gaps::Background, Centring::Always),
    ];
    let rows = ["tree", "house", "flower"].map(|prompt| {
        let mut scene = landscape(size)?;
        let tree = index_of(&scene, TREE);
        prompt.clone_into(&mut scene.regions[tree].prompt);
        scene.regions[tree].mask = painted(size, &|x, y| {
            let is_near = ((x - 0.27) / 0.2).hypot((y - 0.54) / 0.32) < 1.0;
            let is_far = ((x - 0.75) / 0.17).hypot((y - 0.66) / 0.2) < 1.0;
            is_near || is_far
        })?;
        ways.iter()
            .map(|&(gaps, centring)| {
                scene.settings.gaps = gaps;
                scene.settings.centring = centring;
                ours(stream, &scene)
            })
            .collect::<Result<Vec<_>>>()
    });
    sheet(&rows.into_iter().collect::<Result<Vec<_>>>()?)
}

/// Four frames in a row of a canvas that nobody touches.
fn entering_noise(stream: &mut Stream, size: CanvasSize) -> Result<Picture> {
    const FRAMES: usize = 4;
    let scene = landscape(size)?;
    let held = vec![ours(stream, &scene)?; FRAMES];
    let drawn = as_reference::pictures(stream, &scene, Entering::Drawn(scene.seed), |stream| {
        let mut frames = Vec::new();
        for _ in 0..FRAMES {
            frames.extend(stream.call(&mut Unwatched)?);
        }
        Ok(frames)
    })?;
    sheet(&[held, drawn])
}

/// The frames after grass became sea: flowing through, and flushed.
fn queued_edits(stream: &mut Stream, size: CanvasSize) -> Result<Picture> {
    let mut rows = Vec::new();
    for edits in [EditPolicy::FlowThrough, EditPolicy::Flush] {
        let mut scene = landscape(size)?;
        scene.settings.pass_order = PassOrder::StreamBatch;
        scene.settings.edits = edits;
        let mut pictures = vec![ours(stream, &scene)?];
        let grass = index_of(&scene, GRASS);
        "sea".clone_into(&mut scene.regions[grass].prompt);
        stream.apply(&scene)?;
        while !stream.session.is_settled() {
            pictures.extend(stream.step()?.map(|(picture, _)| picture));
        }
        rows.push(pictures);
    }
    sheet(&rows)
}

/// Grass that is painted higher, under the tree that was there before.
fn cover(stream: &mut Stream, size: CanvasSize) -> Result<Picture> {
    let before = landscape(size)?;
    let grass = index_of(&before, GRASS);
    let higher = painted(size, &|_, y| y >= 0.35)?;
    let mut after = before.clone();
    after.regions[grass].mask = higher.clone();
    let own = ours(stream, &after)?;
    let theirs = as_reference::settled(stream, &before, |stream| {
        stream.update(BackgroundUpdate::default(), mask_edit(&before, grass, &higher));
    })?;
    sheet(&[vec![own, theirs]])
}

/// What happens to the tree's mask when the sky's edge is softened, two hundred times enlarged.
fn blur_window(stream: &mut Stream, size: CanvasSize) -> Result<Picture> {
    const FACTOR: f32 = 200.0;
    const SOFT_STD_PX: f32 = 40.0;
    let mut scene = landscape(size)?;
    let tree = index_of(&scene, TREE);
    for region in &mut scene.regions {
        region.mask_std_px = 4.0;
    }
    let mut softened = scene.clone();
    let sky = index_of(&scene, SKY);
    softened.regions[sky].mask_std_px = SOFT_STD_PX;

    let geometry = Geometry::new(size, &stream.parts.spec);
    let own = [&scene, &softened].map(|scene| {
        let regions: Vec<_> = scene.regions.iter().collect();
        let masks = MaskSet::new(None, &geometry, &regions, scene.settings.cover_alpha);
        masks.layers()[tree].coverage.to_vec()
    });
    let theirs = [&scene, &softened].map(|scene| {
        let planes: Vec<_> = scene.regions.iter().map(|region| plane(&region.mask)).collect();
        let request = MaskRequest {
            cover_alpha: scene.settings.cover_alpha,
            stds_px: scene.regions.iter().map(|region| region.mask_std_px).collect(),
            strengths: vec![1.0; scene.regions.len()],
        };
        let mut masks = prepare(&planes, size.width() as usize, &request, geometry.downscale);
        masks.swap_remove(tree)
    });
    let change = |[before, after]: &[Vec<f32>; 2]| {
        let values: Vec<f32> = before
            .iter()
            .zip(after)
            .map(|(a, b)| (a - b).abs() * FACTOR)
            .collect();
        grey_cells(&values, geometry.latent.width, geometry.downscale)
    };
    sheet(&[vec![
        grey_cells(&own[0], geometry.latent.width, geometry.downscale)?,
        change(&own)?,
        change(&theirs)?,
    ]])
}

/// A very soft tree whose mask is painted a little larger.
fn mask_defaults(stream: &mut Stream, size: CanvasSize) -> Result<Picture> {
    let mut before = landscape(size)?;
    let tree = index_of(&before, TREE);
    before.regions[tree].mask_std_px = 32.0;
    let larger = painted(size, &|x, y| (x - 0.5).hypot(y - 0.48) < 0.3)?;
    let mut after = before.clone();
    after.regions[tree].mask = larger.clone();
    let own = ours(stream, &after)?;
    let theirs = as_reference::settled(stream, &before, |stream| {
        let edit = LayerUpdate {
            index: Some(tree as i64),
            mask: Some(plane(&larger)),
            ..LayerUpdate::default()
        };
        stream.update(BackgroundUpdate::default(), edit);
    })?;
    sheet(&[vec![own, theirs]])
}

/// A sky that takes two thirds of the background's prompt, which becomes another one.
fn background_prompt(stream: &mut Stream, size: CanvasSize) -> Result<Picture> {
    let mut before = landscape(size)?;
    let sky = index_of(&before, SKY);
    before.regions[sky].prompt_strength = 0.34;
    "sky".clone_into(&mut before.background.prompt);
    let mut after = before.clone();
    "sunset".clone_into(&mut after.background.prompt);
    let own = ours(stream, &after)?;
    let theirs = as_reference::settled(stream, &before, |stream| {
        let edit = BackgroundUpdate {
            prompt: Some("sunset".to_owned()),
            ..BackgroundUpdate::default()
        };
        stream.update(edit, LayerUpdate::default());
    })?;
    sheet(&[vec![own, theirs]])
}

/// What halving the latents' bits and cutting instead of rounding does to bytes, 64 times enlarged.
fn bytes(stream: &mut Stream, size: CanvasSize) -> Result<Picture> {
    const FACTOR: u32 = 64;
    let own = ours(stream, &landscape(size)?)?;
    let latent = stream.settled_latent()?;
    let decoded = stream.decode(&latent)?;
    let from_half = stream.decode(&latent.to_dtype(DType::F16)?.to_dtype(DType::F32)?)?;
    let from_half = stream.session.picture(&from_half)?;
    // Rounding half a byte less is cutting.
    let cut = stream.session.picture(&decoded.affine(1.0, -1.0 / 255.0)?)?;
    sheet(&[vec![
        own.clone(),
        difference(&own, &from_half, FACTOR)?,
        difference(&own, &cut, FACTOR)?,
    ]])
}

/// A background picture that is twice as wide as the canvas.
fn background_picture(stream: &mut Stream, size: CanvasSize) -> Result<Picture> {
    let mut scene = landscape(size)?;
    scene.regions.retain(|region| region.id == GRASS);
    let wide = CanvasSize::new(size.width() * 2, size.height())?;
    let wide = disc_at_dusk(wide)?;
    scene.background.image = Some(wide.clone());
    let own = ours(stream, &scene)?;
    scene.background.image = Some(stretched(&wide, size));
    sheet(&[vec![own, ours(stream, &scene)?]])
}

/// A canvas of which no side is a multiple of eight.
fn canvas_size(stream: &mut Stream, size: CanvasSize) -> Result<Picture> {
    let odd = CanvasSize::new(size.width() * 3 / 2 + 5, size.height() * 3 / 4 + 3)?;
    ours(stream, &landscape(odd)?)
}

/// A drawing of a dusk, of which less and less is kept, behind a tree.
fn keep_strength(stream: &mut Stream, size: CanvasSize) -> Result<Picture> {
    let mut scene = landscape(size)?;
    scene.settings = StreamSettings::default();
    scene.regions.retain(|region| region.id == TREE);
    "sea".clone_into(&mut scene.background.prompt);
    scene.background.image = Some(disc_at_dusk(size)?);
    let pictures = [1.0, 0.8, 0.6, 0.4, 0.0].map(|strength| {
        scene.background.keep_strength = strength;
        ours(stream, &scene)
    });
    sheet(&[pictures.into_iter().collect::<Result<_>>()?])
}

/// A new mask for a region, its softness and strength kept.
fn mask_edit(scene: &Scene, index: usize, mask: &Mask) -> LayerUpdate {
    let region = &scene.regions[index];
    LayerUpdate {
        index: Some(index as i64),
        mask: Some(plane(mask)),
        mask_std: Some(region.mask_std_px),
        mask_strength: Some(region.mask_strength),
        ..LayerUpdate::default()
    }
}
