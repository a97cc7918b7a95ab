//! Dabs to coverage, tile by tile.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use wordbrush_engine::api::{Mask, RegionId, TILE_SIDE, TileData};

use super::Point;
use crate::document::{MaskTile, MaskTiles};

const SIDE: usize = TILE_SIDE as usize;
const PIXELS: usize = SIDE * SIDE;
/// Pixels that are lifted together.
const LANE: usize = 8;

/// What a stroke does with the mask below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ink {
    /// Adds coverage.
    #[default]
    Paint,
    /// Takes coverage away.
    Erase,
}

/// One touch of the brush.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dab {
    /// Middle, in canvas pixels.
    pub centre: Point,
    /// Radius in pixels.
    pub radius_px: f32,
    /// How much of the radius is solid, 0 to 1.
    pub hardness: f32,
    /// How much of the way to full coverage it goes, 0 to 1.
    pub flow: f32,
}

/// The coverage of one stroke before opacity, in tiles that exist only where it went.
///
/// Tiles at the canvas edge are painted beyond it; that is cut off when they are laid over the mask.
///
/// A dab lifts each pixel towards the brush's own profile and never beyond it. So a soft edge stays as soft as
/// the brush, however densely the dabs lie, and flow decides only how soon the profile is reached.
#[derive(Debug)]
pub struct StrokeBuffer {
    base: Mask,
    columns: usize,
    tiles: Vec<Option<Box<[f32; PIXELS]>>>,
    is_dirty: Vec<bool>,
    dirty: Vec<usize>,
    /// Tiles that no dab can change any more; a wide brush spends most of its dabs on these.
    is_full: Vec<bool>,
    /// What was handed out last for each tile the stroke went over.
    handed_out: BTreeMap<usize, Option<Arc<TileData>>>,
}

impl StrokeBuffer {
    /// An empty stroke above a mask.
    pub fn new(base: Mask) -> Self {
        let (columns, rows) = base.tile_grid();
        let count = columns as usize * rows as usize;
        Self {
            base,
            columns: columns as usize,
            tiles: vec![None; count],
            is_dirty: vec![false; count],
            dirty: Vec::new(),
            is_full: vec![false; count],
            handed_out: BTreeMap::new(),
        }
    }

    /// Adds a dab; parts beyond the canvas are cut off.
    pub fn add(&mut self, dab: &Dab) {
        let Some(profile) = Profile::new(dab) else { return };
        let [cx, cy] = dab.centre;
        let (width, height) = (self.base.size().width() as f32, self.base.size().height() as f32);
        // Pixel centres lie half a pixel inside; `as` cuts at 0.
        let x0 = (cx - profile.outer).max(0.0) as usize;
        let y0 = (cy - profile.outer).max(0.0) as usize;
        let x1 = (cx + profile.outer).ceil().clamp(0.0, width) as usize;
        let y1 = (cy + profile.outer).ceil().clamp(0.0, height) as usize;
        if x0 >= x1 || y0 >= y1 {
            return;
        }
        for row in y0 / SIDE..=(y1 - 1) / SIDE {
            let rows = y0.max(row * SIDE)..y1.min((row + 1) * SIDE);
            for column in x0 / SIDE..=(x1 - 1) / SIDE {
                if profile.misses_tile(dab.centre, column, row) {
                    continue;
                }
                let index = row * self.columns + column;
                if self.is_full[index] {
                    continue;
                }
                if !self.is_dirty[index] {
                    self.is_dirty[index] = true;
                    self.dirty.push(index);
                }
                let tile = self.tiles[index].get_or_insert_with(|| Box::new([0.0; PIXELS]));
                if profile.fills_tile(dab.centre, column, row) {
                    tile.fill(1.0);
                    self.is_full[index] = true;
                    continue;
                }
                let (lines, _) = tile.as_chunks_mut::<SIDE>();
                let dx = (column * SIDE) as f32 + 0.5 - cx;
                for y in rows.clone() {
                    profile.lift_line(&mut lines[y - row * SIDE], dx, y as f32 + 0.5 - cy);
                }
            }
        }
    }

    /// The tiles that changed since the last call, as they look with the stroke laid over the mask.
    ///
    /// Tiles that look as before, because a brush went over what it had painted already, are not among them.
    pub fn take_changes(&mut self, region: RegionId, ink: Ink, opacity: f32) -> Option<MaskTiles> {
        if self.dirty.is_empty() {
            return None;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        let mut tiles = Vec::with_capacity(dirty.len());
        for index in dirty {
            self.is_dirty[index] = false;
            let Some(stroke) = self.tiles[index].as_deref() else {
                continue;
            };
            // What is missing to 1 is less than rounding to a byte takes away.
            self.is_full[index] |=
                stroke.iter().fold(1.0, |low: f32, value| low.min(*value)) > 1.0 - 1.0 / 1024.0;
            let (column, row) = ((index % self.columns) as u32, (index / self.columns) as u32);
            let base = self.base.tile(column, row);
            let rect = self.base.tile_rect(column, row);
            let inside = (rect.width() as usize, rect.height() as usize);
            let data = laid_over(base, stroke, ink, opacity, inside);
            let before = self.handed_out.get(&index).map_or(base, Option::as_ref);
            if before != data.as_ref() {
                self.handed_out.insert(index, data.clone());
                tiles.push(MaskTile { column, row, data });
            }
        }
        if tiles.is_empty() {
            return None;
        }
        Some(MaskTiles { region, tiles })
    }

    /// The whole stroke, without the mask below it.
    pub fn into_ink(self, ink: Ink, opacity: f32) -> StrokeInk {
        let columns = self.columns;
        let place = |index: usize| ((index % columns) as u32, (index / columns) as u32);
        let tiles = self.tiles.into_iter().enumerate();
        StrokeInk {
            ink,
            opacity,
            tiles: tiles
                .filter_map(|(index, tile)| tile.map(|tile| (place(index).0, place(index).1, tile)))
                .collect(),
        }
    }
}

/// The ink of a finished stroke, which can be laid over another mask than the one that it was painted on.
#[derive(Clone, PartialEq)]
pub struct StrokeInk {
    ink: Ink,
    opacity: f32,
    /// Column and row of each tile that the stroke touched, and its coverage there.
    tiles: Vec<(u32, u32, Box<[f32; PIXELS]>)>,
}

impl std::fmt::Debug for StrokeInk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("StrokeInk")
            .field("ink", &self.ink)
            .field("tiles", &self.tiles.len())
            .finish_non_exhaustive()
    }
}

impl StrokeInk {
    /// A mask with the stroke laid over it; tiles beyond it are left out.
    #[must_use]
    pub fn over(&self, mask: &Mask) -> Mask {
        let mut laid = mask.clone();
        let (columns, rows) = mask.tile_grid();
        let inside = |(column, row, _): &&(u32, u32, _)| *column < columns && *row < rows;
        for (column, row, stroke) in self.tiles.iter().filter(inside) {
            let rect = mask.tile_rect(*column, *row);
            let size = (rect.width() as usize, rect.height() as usize);
            let data = laid_over(mask.tile(*column, *row), stroke, self.ink, self.opacity, size);
            laid.set_tile(*column, *row, data);
        }
        laid
    }
}

/// The fall-off of one dab, as a function of the squared distance so that no pixel needs a square root.
struct Profile {
    /// Where coverage ends, in pixels.
    outer: f32,
    outer_squared: f32,
    /// Up to where it is full.
    inner_squared: f32,
    inverse_outer_squared: f32,
    inverse_softness: f32,
    flow: f32,
    peak: f32,
}

impl Profile {
    /// `None` for a dab that would leave no trace.
    fn new(dab: &Dab) -> Option<Self> {
        let is_sane = dab.centre.iter().all(|value| value.is_finite()) && dab.radius_px.is_finite();
        if !(is_sane && dab.radius_px > 0.0 && dab.flow > 0.0) {
            return None;
        }
        let (radius, hardness) = (dab.radius_px, dab.hardness.clamp(0.0, 1.0));
        // The rim is smoothed over about a pixel. Coverage falls evenly with the squared distance, so that its
        // area is that of a circle halfway between the two squares: `radius * radius` for a crisp brush.
        let outer_squared = (radius * radius + radius * hardness).max(1.0);
        let crisp_inner_squared = radius * radius - radius;
        let inner_squared = (radius * hardness).powi(2).min(crisp_inner_squared).max(0.0);
        Some(Self {
            outer: outer_squared.sqrt(),
            outer_squared,
            inner_squared,
            inverse_outer_squared: 1.0 / outer_squared,
            inverse_softness: outer_squared / (outer_squared - inner_squared),
            flow: dab.flow.min(1.0),
            // Thinner than a pixel: fainter instead of smaller.
            peak: (4.0 * radius * radius).min(1.0),
        })
    }

    /// Whether a tile inside the dab's bounding box lies outside its circle.
    fn misses_tile(&self, [cx, cy]: Point, column: usize, row: usize) -> bool {
        let gap = |centre: f32, index: usize| {
            let start = (index * SIDE) as f32;
            (start - centre).max(centre - (start + SIDE as f32)).max(0.0)
        };
        let (dx, dy) = (gap(cx, column), gap(cy, row));
        dx * dx + dy * dy >= self.outer * self.outer
    }

    /// Whether the dab alone covers a tile fully.
    fn fills_tile(&self, [cx, cy]: Point, column: usize, row: usize) -> bool {
        let reach = |centre: f32, index: usize| {
            let start = (index * SIDE) as f32;
            (centre - start).abs().max((start + SIDE as f32 - centre).abs())
        };
        let (dx, dy) = (reach(cx, column), reach(cy, row));
        self.flow >= 1.0 && self.peak >= 1.0 && dx * dx + dy * dy <= self.inner_squared
    }

    /// Lifts a tile's line whose first pixel lies `dx`, `dy` from the middle.
    ///
    /// Goes by whole lanes, so that the compiler turns it into vector code without ragged ends; it is where a
    /// stroke's time goes. Pixels of a lane that lie outside the circle are not lifted, as coverage is 0 there.
    fn lift_line(&self, line: &mut [f32; SIDE], dx: f32, dy: f32) {
        let dy_squared = dy * dy;
        let (lanes, _) = line.as_chunks_mut::<LANE>();
        let lane_at = |x: f32| x / LANE as f32;
        let half = (self.outer_squared - dy_squared).max(0.0).sqrt();
        let first = (lane_at((-half - dx).max(0.0)) as usize).min(lanes.len());
        let last = (lane_at((half - dx).max(0.0) + 1.0).ceil() as usize).clamp(first, lanes.len());
        // Lanes that are certainly solid; where there are none, both ends meet.
        let half_core = (self.inner_squared - dy_squared).max(0.0).sqrt();
        let core_first = (lane_at((-half_core - dx).max(0.0)).ceil() as usize).clamp(first, last);
        let core_last = (lane_at((half_core - dx).max(0.0)) as usize).clamp(core_first, last);

        let distance_to = |lane: usize| dx + (lane * LANE) as f32;
        self.lift_slope(&mut lanes[first..core_first], distance_to(first), dy_squared);
        for lane in &mut lanes[core_first..core_last] {
            for value in lane {
                *value += self.flow * (self.peak - *value).max(0.0);
            }
        }
        self.lift_slope(&mut lanes[core_last..last], distance_to(core_last), dy_squared);
    }

    /// Lifts lanes where coverage falls; the first pixel lies `dx` to the right of the middle.
    fn lift_slope(&self, lanes: &mut [[f32; LANE]], dx: f32, dy_squared: f32) {
        let mut dx: [f32; LANE] = std::array::from_fn(|i| dx + i as f32);
        for lane in lanes {
            for (value, dx) in lane.iter_mut().zip(&mut dx) {
                let distance = (*dx * *dx + dy_squared) * self.inverse_outer_squared;
                let t = ((1.0 - distance) * self.inverse_softness).clamp(0.0, 1.0);
                let coverage = self.peak * (t * t * (3.0 - 2.0 * t));
                *value += self.flow * (coverage - *value).max(0.0);
                *dx += LANE as f32;
            }
        }
    }
}

/// A stroke's tile over the mask's, which has `inside` columns and rows on the canvas; `None` where nothing is left.
fn laid_over(
    base: Option<&Arc<TileData>>,
    stroke: &[f32; PIXELS],
    ink: Ink,
    opacity: f32,
    inside: (usize, usize),
) -> Option<Arc<TileData>> {
    let mut out = [0; PIXELS];
    match (ink, base) {
        (Ink::Paint, None) => {
            for (out, &stroke) in out.iter_mut().zip(stroke) {
                *out = rounded(255.0 * opacity * stroke);
            }
        }
        (Ink::Paint, Some(base)) => {
            for ((out, &stroke), &base) in out.iter_mut().zip(stroke).zip(base.iter()) {
                let base = f32::from(base);
                *out = rounded(base + (255.0 - base) * (opacity * stroke));
            }
        }
        (Ink::Erase, None) => return None,
        (Ink::Erase, Some(base)) => {
            for ((out, &stroke), &base) in out.iter_mut().zip(stroke).zip(base.iter()) {
                *out = rounded(f32::from(base) * (1.0 - opacity * stroke));
            }
        }
    }
    if inside != (SIDE, SIDE) {
        for (y, line) in out.chunks_exact_mut(SIDE).enumerate() {
            let kept = if y < inside.1 { inside.0 } else { 0 };
            line[kept..].fill(0);
        }
    }
    out.iter().any(|&value| value > 0).then(|| Arc::new(out))
}

/// Nearest integer of a number from 0 to 255; adding 2^23 leaves it in the lowest bits, which vectorises.
#[inline]
fn rounded(value: f32) -> u8 {
    (value + 8_388_608.0).to_bits() as u8
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::CanvasSize;

    use super::*;

    const REGION: RegionId = RegionId(1);

    fn mask(width: u32, height: u32) -> Mask {
        Mask::new(CanvasSize::new(width, height).unwrap())
    }

    fn dab(x: f32, y: f32, radius_px: f32, hardness: f32) -> Dab {
        Dab {
            centre: [x, y],
            radius_px,
            hardness,
            flow: 1.0,
        }
    }

    fn painted(base: &Mask, dabs: &[Dab], ink: Ink, opacity: f32) -> Mask {
        let mut buffer = StrokeBuffer::new(base.clone());
        for dab in dabs {
            buffer.add(dab);
        }
        let mut mask = base.clone();
        if let Some(change) = buffer.take_changes(REGION, ink, opacity) {
            for tile in change.tiles {
                mask.set_tile(tile.column, tile.row, tile.data);
            }
        }
        mask
    }

    #[test]
    fn the_ink_of_a_stroke_lies_over_any_mask() {
        let base = Mask::full(CanvasSize::new(150, 100).unwrap());
        let empty = mask(150, 100);
        let dabs = [dab(70.0, 50.0, 20.0, 0.5), dab(148.0, 98.0, 20.0, 0.5)];
        for ink in [Ink::Paint, Ink::Erase] {
            let mut buffer = StrokeBuffer::new(base.clone());
            for dab in &dabs {
                buffer.add(dab);
            }
            let stroke = buffer.into_ink(ink, 0.7);
            for below in [&base, &empty] {
                assert_eq!(stroke.over(below), painted(below, &dabs, ink, 0.7), "{ink:?}");
            }
            assert!(stroke.over(&mask(10, 10)).is_empty() || ink == Ink::Paint);
        }
    }

    fn area(mask: &Mask) -> f32 {
        mask.to_coverage()
            .iter()
            .map(|&value| f32::from(value) / 255.0)
            .sum()
    }

    #[test]
    fn rounding_is_exact() {
        for value in 0..=255u8 {
            assert_eq!(rounded(f32::from(value)), value);
            assert_eq!(rounded(f32::from(value) + 0.49), value);
        }
        assert_eq!(rounded(254.6), 255);
    }

    #[test]
    fn full_tiles_are_left_alone_and_look_as_if_they_were_not() {
        let base = mask(300, 300);
        for (flow, hardness) in [(1.0, 0.9), (0.4, 1.0), (0.9, 0.0)] {
            let mut buffer = StrokeBuffer::new(base.clone());
            let touch = |x: f32| Dab {
                flow,
                ..dab(x, 150.0, 140.0, hardness)
            };
            for _ in 0..60 {
                buffer.add(&touch(150.0));
                buffer.add(&touch(160.0));
            }
            let middle = 2 * buffer.columns + 2;
            let change = buffer.take_changes(REGION, Ink::Paint, 1.0).unwrap();
            let tile = change
                .tiles
                .iter()
                .find(|tile| (tile.column, tile.row) == (2, 2))
                .unwrap();
            let expected = buffer.tiles[middle]
                .as_ref()
                .unwrap()
                .map(|value| rounded(255.0 * value));
            assert_eq!(**tile.data.as_ref().unwrap(), expected);
            if hardness > 0.5 {
                assert!(buffer.is_full[middle], "{flow} {hardness}");
                assert_eq!(expected, [255; PIXELS]);
            }
            assert!(!buffer.is_full[0], "the corner lies beyond the rim");
            buffer.add(&touch(150.0));
            assert!(!buffer.dirty.contains(&middle) || !buffer.is_full[middle]);
        }
    }

    #[test]
    fn a_hard_dab_has_the_area_of_its_circle() {
        for radius in [1.0, 2.5, 10.0, 60.0, 100.0] {
            let mask = painted(
                &mask(260, 260),
                &[dab(130.3, 129.6, radius, 1.0)],
                Ink::Paint,
                1.0,
            );
            let circle = std::f32::consts::PI * radius * radius;
            let error = (area(&mask) / circle - 1.0).abs();
            assert!(error < 0.03 / radius, "radius {radius}: {error}");
        }
    }

    #[test]
    fn a_soft_dab_falls_off_evenly_to_all_sides() {
        let mask = painted(&mask(200, 200), &[dab(100.0, 100.0, 80.0, 0.2)], Ink::Paint, 1.0);
        let coverage = |x: u32, y: u32| mask.coverage(x, y);
        assert_eq!(coverage(100, 100), 255);
        for offset in 0..99 {
            assert_eq!(coverage(100 + offset, 100), coverage(99 - offset, 99));
            assert_eq!(coverage(100 + offset, 100), coverage(100, 100 + offset));
            assert!(coverage(100 + offset, 100) >= coverage(101 + offset, 100));
        }
        assert_eq!(coverage(181, 100), 0);
    }

    #[test]
    fn many_dabs_at_one_place_keep_the_soft_edge() {
        let one = painted(&mask(128, 128), &[dab(64.0, 64.0, 40.0, 0.0)], Ink::Paint, 1.0);
        let many = painted(
            &mask(128, 128),
            &[dab(64.0, 64.0, 40.0, 0.0); 50],
            Ink::Paint,
            1.0,
        );
        assert_eq!(one, many);
    }

    #[test]
    fn flow_builds_up_to_the_same_profile() {
        let faint = Dab {
            flow: 0.2,
            ..dab(64.0, 64.0, 40.0, 0.5)
        };
        let once = painted(&mask(128, 128), &[faint], Ink::Paint, 1.0);
        assert_eq!(once.coverage(64, 64), 51);
        let often = painted(&mask(128, 128), &[faint; 100], Ink::Paint, 1.0);
        let full = painted(&mask(128, 128), &[dab(64.0, 64.0, 40.0, 0.5)], Ink::Paint, 1.0);
        assert_eq!(often, full);
    }

    #[test]
    fn tiles_that_look_as_before_are_not_handed_out_again() {
        let mut buffer = StrokeBuffer::new(mask(200, 64));
        let fetch = |buffer: &mut StrokeBuffer| {
            let change = buffer.take_changes(REGION, Ink::Paint, 1.0)?;
            Some(change.tiles.iter().map(|tile| tile.column).collect::<Vec<_>>())
        };
        buffer.add(&dab(60.0, 30.0, 20.0, 0.5));
        assert_eq!(fetch(&mut buffer), Some(vec![0, 1]));
        buffer.add(&dab(60.0, 30.0, 20.0, 0.5));
        assert_eq!(fetch(&mut buffer), None);
        buffer.add(&dab(110.0, 30.0, 25.0, 0.5));
        assert_eq!(fetch(&mut buffer), Some(vec![1, 2]));

        let mut eraser = StrokeBuffer::new(mask(200, 64));
        eraser.add(&dab(60.0, 30.0, 20.0, 0.5));
        assert!(eraser.take_changes(REGION, Ink::Erase, 1.0).is_none());
    }

    #[test]
    fn opacity_caps_the_stroke_but_not_the_mask_below() {
        let first = painted(&mask(64, 64), &[dab(32.0, 32.0, 20.0, 1.0); 9], Ink::Paint, 0.5);
        assert_eq!(first.coverage(32, 32), 128);
        let second = painted(&first, &[dab(32.0, 32.0, 20.0, 1.0); 9], Ink::Paint, 0.5);
        assert_eq!(second.coverage(32, 32), 192);
    }

    #[test]
    fn the_eraser_frees_what_it_empties() {
        let full = Mask::full(CanvasSize::new(128, 64).unwrap());
        let mask = painted(&full, &[dab(32.0, 32.0, 60.0, 1.0)], Ink::Erase, 1.0);
        assert!(mask.tile(0, 0).is_none());
        assert_eq!(mask.coverage(127, 0), 255);
        assert!(painted(&self::mask(64, 64), &[dab(9.0, 9.0, 5.0, 1.0)], Ink::Erase, 1.0).is_empty());
    }

    #[test]
    fn dabs_beyond_the_canvas_or_without_sense_leave_no_trace() {
        let wild = [
            dab(-50.0, 20.0, 30.0, 1.0),
            dab(1e30, 1e30, 2000.0, 1.0),
            dab(f32::NAN, 3.0, 10.0, 1.0),
            dab(3.0, 3.0, f32::INFINITY, 1.0),
            dab(3.0, 3.0, -4.0, 1.0),
            dab(3.0, 3.0, f32::NAN, 1.0),
        ];
        assert!(painted(&mask(100, 70), &wild, Ink::Paint, 1.0).is_empty());
    }

    #[test]
    fn nothing_is_painted_beyond_the_edge_inside_an_edge_tile() {
        let mask = painted(&mask(70, 66), &[dab(70.0, 66.0, 30.0, 1.0)], Ink::Paint, 1.0);
        let tile = mask.tile(1, 1).unwrap();
        for (i, &value) in tile.iter().enumerate() {
            let on_canvas = i % SIDE < 6 && i / SIDE < 2;
            assert_eq!(value > 0, on_canvas, "pixel {i}");
        }
    }
}
