//! What a stroke costs before the denoiser sees it: masks of a 2048 x 2048 canvas after a stroke of 200 pixels.

use criterion::{Criterion, criterion_group, criterion_main};
use wordbrush_engine::{
    api::{CanvasSize, Mask, Region, RegionId},
    low_level::{
        models::toy,
        stream::{geometry::Geometry, mask_set::MaskSet},
    },
};

fn region(id: u64, mask: Mask, mask_std_px: f32) -> Region {
    Region {
        mask_std_px,
        ..Region::new(RegionId(id), "", mask)
    }
}

/// Paints a disc of 200 pixels across.
fn stroke(mask: &mut Mask, center: (u32, u32)) {
    let radius = 100_i64;
    for y in center.1 - 100..center.1 + 100 {
        for x in center.0 - 100..center.0 + 100 {
            let (dx, dy) = (
                i64::from(x) - i64::from(center.0),
                i64::from(y) - i64::from(center.1),
            );
            if dx * dx + dy * dy < radius * radius {
                mask.tile_mut(x / 64, y / 64)[((y % 64) * 64 + x % 64) as usize] = 255;
            }
        }
    }
}

fn masks(criterion: &mut Criterion) {
    let size = CanvasSize::new(2048, 2048).expect("a possible canvas");
    let mut spec = toy::spec();
    spec.largest_side = 2048;
    let geometry = Geometry::new(size, &spec);
    for std_px in [8.0, 32.0] {
        let mut painted = Mask::new(size);
        for center in [(400, 400), (900, 1400), (1500, 700)] {
            stroke(&mut painted, center);
        }
        let below = region(1, Mask::full(size), std_px);
        let before = region(2, painted.clone(), std_px);
        stroke(&mut painted, (1000, 1000));
        let after = region(2, painted, std_px);
        let set = MaskSet::new(None, &geometry, &[&below, &before], 0.3);
        criterion.bench_function(&format!("all masks, 2048 px, softness {std_px}"), |bencher| {
            bencher.iter(|| MaskSet::new(None, &geometry, &[&below, &after], 0.3));
        });
        criterion.bench_function(
            &format!("a stroke of 200 px, 2048 px, softness {std_px}"),
            |bencher| {
                bencher.iter(|| MaskSet::new(Some(&set), &geometry, &[&below, &after], 0.3));
            },
        );
    }
}

criterion_group!(benches, masks);
criterion_main!(benches);
