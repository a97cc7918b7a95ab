//! The soft masks of a canvas at latent size, kept up to date edit by edit.
//!
//! An edit is found by comparing shared tiles with those of the last scene, and only the cells whose value can have
//! changed are computed again: where the stroke was, grown by the blur, in the edited region and in regions below it that
//! it covers. The result is identical to computing everything.

use std::{ops::Range, sync::Arc};

use super::{
    blur::{CoverageRows, Kernel, blur_at},
    geometry::Geometry,
};
use crate::api::{Mask, PixelRect, Region, RegionId, TILE_SIDE};

/// The largest deviation of a blur; beyond it a mask is grey all over.
const MAX_STD_PX: f32 = 512.0;

/// The covered, blurred masks of all regions before strength and quantisation.
#[derive(Clone, Debug)]
pub struct MaskSet {
    geometry: Geometry,
    cover_alpha: f32,
    layers: Vec<Layer>,
}

/// One region's mask.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Whose mask it is.
    pub id: RegionId,
    mask: Mask,
    std_px: f32,
    /// What is painted of the mask, in pixels.
    bounds: Option<PixelRect>,
    /// `[h, w]`, 0 to 1; shared as long as nothing changes, so that it tells what did.
    pub coverage: Arc<Vec<f32>>,
}

impl Layer {
    /// The mask as it is painted.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }
}

impl MaskSet {
    /// Masks for a scene's regions. What `before` has is taken over where it still holds.
    ///
    /// All masks have the canvas' size.
    pub fn new(before: Option<&Self>, geometry: &Geometry, regions: &[&Region], cover_alpha: f32) -> Self {
        let before = before.filter(|set| set.geometry == *geometry && set.cover_alpha == cover_alpha);
        let bounds: Vec<Option<PixelRect>> = regions
            .iter()
            .map(|region| match before.and_then(|set| set.layer(region.id)) {
                Some((_, layer)) if layer.mask.difference(&region.mask).is_none() => layer.bounds,
                _ => region.mask.bounds(),
            })
            .collect();
        let layers = (0..regions.len())
            .map(|index| {
                let region = regions[index];
                let above = if cover_alpha > 0.0 {
                    &regions[index + 1..]
                } else {
                    &[]
                };
                let std_px = valid_std(region.mask_std_px);
                let known = before.and_then(|set| {
                    let (place, layer) = set.layer(region.id)?;
                    (layer.std_px == std_px).then_some((set, place, layer))
                });
                let (mut coverage, changed) = match known {
                    Some((set, place, layer)) => {
                        let own = layer.mask.difference(&region.mask);
                        let cover = set
                            .cover_difference(place, above, &bounds[index + 1..])
                            .and_then(|rect| rect.intersect(bounds[index]?));
                        (Arc::clone(&layer.coverage), union(own, cover))
                    }
                    None => (Arc::new(vec![0.0; geometry.latent.area()]), bounds[index]),
                };
                if let Some(changed) = changed {
                    let source = TileRows {
                        mask: &region.mask,
                        above,
                        cover_alpha,
                    };
                    let coverage: &mut Vec<f32> = Arc::make_mut(&mut coverage);
                    recompute(geometry, &source, std_px, changed, coverage);
                }
                Layer {
                    id: region.id,
                    mask: region.mask.clone(),
                    std_px,
                    bounds: bounds[index],
                    coverage,
                }
            })
            .collect();
        Self {
            geometry: geometry.clone(),
            cover_alpha,
            layers,
        }
    }

    /// One layer per region, in their order.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    fn layer(&self, id: RegionId) -> Option<(usize, &Layer)> {
        self.layers.iter().enumerate().find(|(_, layer)| layer.id == id)
    }

    /// Where the regions above a layer may cover it differently than those that are above it now.
    fn cover_difference(
        &self,
        place: usize,
        above: &[&Region],
        bounds: &[Option<PixelRect>],
    ) -> Option<PixelRect> {
        if self.cover_alpha <= 0.0 {
            return None;
        }
        let above_before = &self.layers[place + 1..];
        let mut changed = None;
        for (region, bounds) in above.iter().zip(bounds) {
            let difference = match above_before.iter().find(|layer| layer.id == region.id) {
                Some(layer) => layer.mask.difference(&region.mask),
                None => *bounds,
            };
            changed = union(changed, difference);
        }
        for layer in above_before {
            if !above.iter().any(|region| region.id == layer.id) {
                changed = union(changed, layer.bounds);
            }
        }
        changed
    }
}

fn valid_std(std_px: f32) -> f32 {
    if std_px.is_nan() {
        0.0
    } else {
        std_px.clamp(0.0, MAX_STD_PX)
    }
}

fn union(a: Option<PixelRect>, b: Option<PixelRect>) -> Option<PixelRect> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.union(b)),
        (one, other) => one.or(other),
    }
}

/// Computes the cells anew that pixels in `changed` have a part in.
fn recompute(
    geometry: &Geometry,
    source: &TileRows<'_>,
    std_px: f32,
    changed: PixelRect,
    coverage: &mut [f32],
) {
    let radius = Kernel::radius_for(std_px);
    let kernel = Kernel::gaussian(std_px, radius);
    let reach = changed.grown(radius as u32, geometry.canvas);
    let cells = |samples: &[usize], pixels: Range<u32>| {
        samples.partition_point(|&pixel| pixel < pixels.start as usize)
            ..samples.partition_point(|&pixel| pixel < pixels.end as usize)
    };
    let columns = cells(&geometry.columns, reach.x0..reach.x1);
    let rows = cells(&geometry.rows, reach.y0..reach.y1);
    if columns.is_empty() || rows.is_empty() {
        return;
    }
    let patch = blur_at(
        source,
        &kernel,
        &geometry.columns[columns.clone()],
        &geometry.rows[rows.clone()],
    );
    let width = geometry.latent.width;
    for (line, row) in patch.chunks_exact(columns.len()).zip(rows) {
        coverage[row * width..][columns.clone()].copy_from_slice(line);
    }
}

/// A mask read from its tiles, weakened where any mask above it has paint.
struct TileRows<'a> {
    mask: &'a Mask,
    above: &'a [&'a Region],
    cover_alpha: f32,
}

impl CoverageRows for TileRows<'_> {
    fn width(&self) -> usize {
        self.mask.size().width() as usize
    }

    fn height(&self) -> usize {
        self.mask.size().height() as usize
    }

    fn read_row(&self, y: usize, x0: usize, out: &mut [f32]) -> bool {
        const SIDE: usize = TILE_SIDE as usize;
        let (tile_row, line) = (y / SIDE, y % SIDE);
        let mut has_paint = false;
        let mut done = 0;
        while done < out.len() {
            let x = x0 + done;
            let (tile_column, first) = (x / SIDE, x % SIDE);
            let count = (SIDE - first).min(out.len() - done);
            let part = &mut out[done..done + count];
            done += count;
            has_paint |= self.read_tile_line(tile_column as u32, tile_row as u32, line * SIDE + first, part);
        }
        has_paint
    }
}

impl TileRows<'_> {
    /// Writes a part of one line of one tile, from `offset` in the tile's data on.
    fn read_tile_line(&self, column: u32, row: u32, offset: usize, out: &mut [f32]) -> bool {
        let Some(tile) = self.mask.tile(column, row) else {
            out.fill(0.0);
            return false;
        };
        let own = &tile[offset..offset + out.len()];
        let mut has_paint = 0;
        for (out, &value) in out.iter_mut().zip(own) {
            *out = f32::from(value) / 255.0;
            has_paint |= value;
        }
        if has_paint == 0 {
            return false;
        }
        let mut covered = [0_u8; TILE_SIDE as usize];
        let covered = &mut covered[..out.len()];
        let mut is_covered = false;
        for region in self.above {
            if let Some(tile) = region.mask.tile(column, row) {
                is_covered = true;
                for (covered, &value) in covered.iter_mut().zip(&tile[offset..]) {
                    *covered |= value;
                }
            }
        }
        if is_covered {
            for (out, &covered) in out.iter_mut().zip(covered.iter()) {
                *out *= if covered > 0 { self.cover_alpha } else { 1.0 };
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{api::CanvasSize, models::toy};

    fn region(id: u64, mask: Mask, mask_std_px: f32) -> Region {
        Region {
            mask_std_px,
            ..Region::new(RegionId(id), "", mask)
        }
    }

    fn paint(mask: &mut Mask, (x0, y0): (u32, u32), (width, height): (u32, u32), value: u8) {
        let size = mask.size();
        for y in y0..(y0 + height).min(size.height()) {
            for x in x0..(x0 + width).min(size.width()) {
                let place = (y % TILE_SIDE) * TILE_SIDE + x % TILE_SIDE;
                mask.tile_mut(x / TILE_SIDE, y / TILE_SIDE)[place as usize] = value;
            }
        }
    }

    /// An edit of a canvas with regions.
    #[derive(Clone, Debug)]
    enum Edit {
        Paint(usize, (u32, u32), (u32, u32), u8),
        Soften(usize, f32),
        Add((u32, u32), (u32, u32)),
        Remove(usize),
        Swap(usize, usize),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        let place = || (0..200_u32, 0..150_u32);
        let extent = || (1..90_u32, 1..90_u32);
        prop_oneof![
            4 => (0..4_usize, place(), extent(), prop_oneof![Just(0_u8), Just(255), any::<u8>()])
                .prop_map(|(region, place, extent, value)| Edit::Paint(region, place, extent, value)),
            1 => (0..4_usize, prop_oneof![Just(0.0_f32), 0.5..12.0_f32])
                .prop_map(|(region, std)| Edit::Soften(region, std)),
            1 => (place(), extent()).prop_map(|(place, extent)| Edit::Add(place, extent)),
            1 => (0..4_usize).prop_map(Edit::Remove),
            1 => (0..4_usize, 0..4_usize).prop_map(|(a, b)| Edit::Swap(a, b)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn patched_masks_are_identical_to_masks_computed_from_nothing(
            edits in prop::collection::vec(edit(), 1..12),
            cover_alpha in prop_oneof![Just(0.0_f32), Just(0.3)],
        ) {
            let size = CanvasSize::new(203, 150).unwrap();
            let geometry = Geometry::new(size, &toy::spec());
            let mut regions: Vec<Region> = (0..3)
                .map(|id| {
                    let mut mask = Mask::new(size);
                    paint(&mut mask, (30 * id, 20 * id), (100, 80), 200);
                    region(u64::from(id), mask, 4.0)
                })
                .collect();
            let mut next_id = 3;
            let mut set: Option<MaskSet> = None;
            for edit in edits {
                let count = regions.len();
                match edit {
                    Edit::Paint(index, place, extent, value) if count > 0 => {
                        paint(&mut regions[index % count].mask, place, extent, value);
                    }
                    Edit::Soften(index, std_px) if count > 0 => regions[index % count].mask_std_px = std_px,
                    Edit::Remove(index) if count > 0 => drop(regions.remove(index % count)),
                    Edit::Swap(a, b) if count > 0 => regions.swap(a % count, b % count),
                    Edit::Add(place, extent) => {
                        let mut mask = Mask::new(size);
                        paint(&mut mask, place, extent, 255);
                        regions.push(region(next_id, mask, 3.0));
                        next_id += 1;
                    }
                    _ => {}
                }
                let shown: Vec<&Region> = regions.iter().collect();
                let patched = MaskSet::new(set.as_ref(), &geometry, &shown, cover_alpha);
                let whole = MaskSet::new(None, &geometry, &shown, cover_alpha);
                for (patched, whole) in patched.layers().iter().zip(whole.layers()) {
                    prop_assert_eq!(&patched.coverage, &whole.coverage);
                }
                set = Some(patched);
            }
        }
    }

    #[test]
    fn a_stroke_leaves_other_regions_alone() {
        let size = CanvasSize::new(200, 150).unwrap();
        let geometry = Geometry::new(size, &toy::spec());
        let mut lower = region(1, Mask::new(size), 4.0);
        paint(&mut lower.mask, (0, 0), (50, 50), 255);
        let mut upper = region(2, Mask::new(size), 4.0);
        let before = MaskSet::new(None, &geometry, &[&lower, &upper], 0.3);
        paint(&mut upper.mask, (140, 80), (20, 20), 255);
        let after = MaskSet::new(Some(&before), &geometry, &[&lower, &upper], 0.3);
        assert!(Arc::ptr_eq(
            &before.layers()[0].coverage,
            &after.layers()[0].coverage
        ));
        assert!(!Arc::ptr_eq(
            &before.layers()[1].coverage,
            &after.layers()[1].coverage
        ));
    }
}
