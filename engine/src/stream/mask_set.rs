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
