//! What the example paints.

use anyhow::Result;
use wordbrush_engine::api::{
    Background, CanvasSize, Centring, Gaps, Mask, Picture, Region, RegionId, Scene, Seed, StreamSettings,
};

pub(crate) const SKY: RegionId = RegionId(1);
pub(crate) const GRASS: RegionId = RegionId(2);
pub(crate) const TREE: RegionId = RegionId(3);

/// Sky above, grass below, a tree in the middle; gaps and centring as in the reference, so that each figure shows one
/// deviation.
pub(crate) fn landscape(size: CanvasSize) -> Result<Scene> {
    let region = |id, prompt: &str, mask| Region {
        mask_std_px: 8.0,
        ..Region::new(id, prompt, mask)
    };
    Ok(Scene {
        size,
        background: Background::default(),
        regions: vec![
            region(SKY, "sky", painted(size, &|_, y| y < 0.6)?),
            region(GRASS, "grass", painted(size, &|_, y| y >= 0.6)?),
            region(
                TREE,
                "tree",
                painted(size, &|x, y| (x - 0.5).hypot(y - 0.48) < 0.28)?,
            ),
        ],
        seed: Seed(7),
        settings: StreamSettings {
            gaps: Gaps::Background,
            centring: Centring::Always,
            ..StreamSettings::default()
        },
    })
}

/// A soft gradient from blue to orange.
pub(crate) fn dusk(size: CanvasSize) -> Result<Picture> {
    let rgba: Vec<u8> = (0..size.height())
        .flat_map(|y| {
            let down = f64::from(y) / f64::from(size.height());
            let mix = |top: f64, bottom: f64| (top + (bottom - top) * down) as u8;
            [mix(60.0, 250.0), mix(80.0, 170.0), mix(170.0, 90.0), 255].repeat(size.width() as usize)
        })
        .collect();
    Ok(Picture::new(size, rgba)?)
}

/// The same with a round sun, which shows whether proportions are kept.
pub(crate) fn disc_at_dusk(size: CanvasSize) -> Result<Picture> {
    let mut rgba = dusk(size)?.rgba().to_vec();
    let (width, height) = (size.width() as usize, f64::from(size.height()));
    let (cx, cy, radius) = (f64::from(size.width()) / 2.0, height * 0.35, height * 0.22);
    for (i, pixel) in rgba.chunks_exact_mut(4).enumerate() {
        if ((i % width) as f64 - cx).hypot((i / width) as f64 - cy) < radius {
            pixel.copy_from_slice(&[255, 240, 200, 255]);
        }
    }
    Ok(Picture::new(size, rgba)?)
}

/// A mask of what is inside; the function is given places in shares of the canvas' sides.
pub(crate) fn painted(size: CanvasSize, is_inside: &dyn Fn(f64, f64) -> bool) -> Result<Mask> {
    let (width, height) = (f64::from(size.width()), f64::from(size.height()));
    let coverage: Vec<u8> = (0..size.area() as u32)
        .map(|i| {
            let (x, y) = (i % size.width(), i / size.width());
            if is_inside(f64::from(x) / width, f64::from(y) / height) {
                255
            } else {
                0
            }
        })
        .collect();
    Ok(Mask::from_coverage(size, &coverage)?)
}
