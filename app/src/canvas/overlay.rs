//! The picture of all regions' masks, composed on the processor and brought up to date tile by tile.
//!
//! [`Overlay::update`] compares what is to be shown with what was shown and notes the tiles that differ; shared
//! tiles are recognised by their address, so this costs next to nothing. [`Overlay::take_patches`] composes only
//! those, and of a change too large for one frame a part: the rest follows in the next frames, while what is painted
//! meanwhile comes first. Whoever uploads them (the graphics card or egui's own textures) need not know what changed.

use std::sync::Arc;

use wordbrush_engine::api::{CanvasSize, Mask, PixelRect, RegionId, TILE_SIDE, TileData};

const SIDE: usize = TILE_SIDE as usize;
/// What is composed and uploaded in one frame at most, so that a fill of a huge canvas does not hold up the window: two
/// million pixels, every tile of a canvas of 1448x1448.
const TILES_A_FRAME: usize = 512;

/// One region in the overlay.
#[derive(Clone, Debug)]
pub(super) struct OverlayLayer {
    pub(super) region: RegionId,
    pub(super) colour: [u8; 3],
    pub(super) mask: Mask,
}

/// What the overlay shows now, and which tiles of it nobody has fetched yet.
#[derive(Debug)]
pub(super) struct Overlay {
    size: CanvasSize,
    /// From the bottom to the top.
    layers: Vec<OverlayLayer>,
    active: Option<RegionId>,
    tiles: Vec<TileState>,
}

/// How a tile stands to what was fetched last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TileState {
    Shown,
    /// Changed before the last fetch, which was full.
    Waiting,
    /// Changed since the last fetch.
    Changed,
}

/// A rectangle of new overlay pixels, row-major.
#[derive(Clone, Debug)]
pub(super) struct Patch {
    pub(super) rect: PixelRect,
    /// Region colours one over the other, alpha is coverage; premultiplied.
    pub(super) rgba: Vec<u8>,
    /// Four bytes a pixel: which region is in front (0 for none), how much the active region covers, how much the
    /// one in front covers (128 and more), and the most that any above it covers (less than that). The last two are
    /// what a smooth line between regions is drawn from.
    pub(super) marks: Vec<u8>,
}

impl Overlay {
    pub(super) fn new(size: CanvasSize) -> Self {
        let (columns, rows) = Mask::new(size).tile_grid();
        Self {
            size,
            layers: Vec::new(),
            active: None,
            tiles: vec![TileState::Changed; columns as usize * rows as usize],
        }
    }

    pub(super) fn size(&self) -> CanvasSize {
        self.size
    }

    /// Shows other layers; all masks must have the overlay's size.
    pub(super) fn update(&mut self, layers: Vec<OverlayLayer>, active: Option<RegionId>) {
        let is_same_order = layers.len() == self.layers.len()
            && layers
                .iter()
                .zip(&self.layers)
                .all(|(new, old)| new.region == old.region && new.colour == old.colour);
        let old = std::mem::replace(&mut self.layers, layers);
        if is_same_order {
            for (index, old) in old.iter().enumerate() {
                self.mark_difference(index, &old.mask);
            }
        } else {
            for layer in &old {
                self.mark_painted(&layer.mask);
            }
            for layer in self.layers.clone() {
                self.mark_painted(&layer.mask);
            }
        }
        if self.active != active {
            for region in [std::mem::replace(&mut self.active, active), active] {
                let layer = self.layers.iter().find(|layer| Some(layer.region) == region);
                if let Some(mask) = layer.map(|layer| layer.mask.clone()) {
                    self.mark_painted(&mask);
                }
            }
        }
    }

    /// Notes every tile, as for a new texture.
    pub(super) fn mark_all(&mut self) {
        self.tiles.fill(TileState::Changed);
    }

    fn mark_difference(&mut self, index: usize, old: &Mask) {
        let new = &self.layers[index].mask;
        let (columns, rows) = new.tile_grid();
        for row in 0..rows {
            for column in 0..columns {
                let is_same = match (new.tile(column, row), old.tile(column, row)) {
                    (Some(new), Some(old)) => Arc::ptr_eq(new, old),
                    (None, None) => true,
                    _ => false,
                };
                if !is_same {
                    self.tiles[(row * columns + column) as usize] = TileState::Changed;
                }
            }
        }
    }

    fn mark_painted(&mut self, mask: &Mask) {
        let (columns, rows) = mask.tile_grid();
        for row in 0..rows {
            for column in 0..columns {
                if mask.tile(column, row).is_some() {
                    self.tiles[(row * columns + column) as usize] = TileState::Changed;
                }
            }
        }
    }

    /// Whether the next fetch will leave something for the one after it.
    pub(super) fn needs_more_frames(&self) -> bool {
        self.tiles
            .iter()
            .filter(|&&state| state != TileState::Shown)
            .count()
            > TILES_A_FRAME
    }

    /// The pixels of the tiles noted so far, newest changes first, as many as fit into a frame; neighbours in a row
    /// come as one patch.
    pub(super) fn take_patches(&mut self) -> Vec<Patch> {
        let columns = self.size.width().div_ceil(TILE_SIDE) as usize;
        let is_taken = self.take_tiles(TILES_A_FRAME);
        let mut patches = Vec::new();
        for (row, line) in is_taken.chunks_exact(columns).enumerate() {
            let mut column = 0;
            while column < columns {
                let count = line[column..].iter().take_while(|&&taken| taken).count();
                if count > 0 {
                    patches.push(self.compose(row, column, count));
                }
                column += count + 1;
            }
        }
        patches
    }

    /// Which tiles belong to this frame, at most `most`; the others wait.
    fn take_tiles(&mut self, most: usize) -> Vec<bool> {
        let changed = self
            .tiles
            .iter()
            .filter(|&&state| state == TileState::Changed)
            .count();
        if changed > most {
            // One large change, or several: it comes in from above.
            for state in self
                .tiles
                .iter_mut()
                .filter(|state| **state == TileState::Changed)
            {
                *state = TileState::Waiting;
            }
        }
        let mut left = most;
        let mut is_taken = vec![false; self.tiles.len()];
        for wanted in [TileState::Changed, TileState::Waiting] {
            for (state, is_taken) in self.tiles.iter_mut().zip(&mut is_taken) {
                if *state == wanted && left > 0 {
                    (*state, *is_taken) = (TileState::Shown, true);
                    left -= 1;
                }
            }
        }
        is_taken
    }

    /// The topmost layer that covers a whole tile, 0 if none does.
    fn topmost_solid(&self, column: u32, row: u32) -> usize {
        let covers = |layer: &OverlayLayer| layer.mask.tile(column, row).is_some_and(|tile| is_solid(tile));
        self.layers.iter().rposition(covers).unwrap_or(0)
    }

    fn compose(&self, row: usize, first_column: usize, count: usize) -> Patch {
        let rect = PixelRect {
            x0: (first_column * SIDE) as u32,
            y0: (row * SIDE) as u32,
            x1: (((first_column + count) * SIDE) as u32).min(self.size.width()),
            y1: (((row + 1) * SIDE) as u32).min(self.size.height()),
        };
        let (width, height) = (rect.width() as usize, rect.height() as usize);
        let mut patch = Patch {
            rect,
            rgba: vec![0; width * height * 4],
            marks: vec![0; width * height * 4],
        };
        // What lies under a solid tile is not seen; only the active region's coverage is marked all the same.
        let lowest_seen: Vec<usize> = (first_column..first_column + count)
            .map(|column| self.topmost_solid(column as u32, row as u32))
            .collect();
        for (place, layer) in self.layers.iter().enumerate() {
            // Numbers repeat after 255 regions; neighbours in the pile still differ.
            let number = (place % 255 + 1) as u8;
            let is_active = self.active == Some(layer.region);
            for (step, &lowest_seen) in lowest_seen.iter().enumerate() {
                if place < lowest_seen && !is_active {
                    continue;
                }
                let Some(tile) = layer.mask.tile((first_column + step) as u32, row as u32) else {
                    continue;
                };
                let left = step * SIDE;
                let columns = SIDE.min(width - left);
                for (y, coverage) in tile.chunks_exact(SIDE).take(height).enumerate() {
                    let start = y * width + left;
                    let rgba = &mut patch.rgba[start * 4..(start + columns) * 4];
                    let marks = &mut patch.marks[start * 4..(start + columns) * 4];
                    lay_line(rgba, marks, &coverage[..columns], layer.colour, number, is_active);
                }
            }
        }
        patch
    }
}

/// Whether every pixel is fully covered.
fn is_solid(tile: &TileData) -> bool {
    static SOLID: TileData = [255; SIDE * SIDE];
    *tile == SOLID
}

/// Lays one line of a region over what is there.
///
/// Most pixels of a mask are unpainted or solid, so these are dealt with by eights.
fn lay_line(
    rgba: &mut [u8],
    marks: &mut [u8],
    coverage: &[u8],
    colour: [u8; 3],
    number: u8,
    is_active: bool,
) {
    const RUN: usize = 8;
    let [red, green, blue] = colour;
    let solid = [red, green, blue, 255];
    let solid_mark = |mark: &mut [u8; 4]| {
        let active = if is_active { 255 } else { mark[1] };
        *mark = [number, active, 255, 0];
    };
    let (pixels, _) = rgba.as_chunks_mut::<4>();
    let (marks, _) = marks.as_chunks_mut::<4>();
    let runs = pixels
        .chunks_mut(RUN)
        .zip(marks.chunks_mut(RUN))
        .zip(coverage.chunks(RUN));
    for ((pixels, marks), coverage) in runs {
        if coverage.iter().all(|&value| value == 0) {
            continue;
        }
        if coverage.iter().all(|&value| value == 255) {
            pixels.fill(solid);
            marks.iter_mut().for_each(solid_mark);
            continue;
        }
        for ((pixel, mark), &coverage) in pixels.iter_mut().zip(marks).zip(coverage) {
            lay_pixel(pixel, solid, coverage);
            if coverage >= 128 {
                (mark[0], mark[2], mark[3]) = (number, coverage, 0);
            } else {
                mark[3] = mark[3].max(coverage);
            }
            if is_active {
                mark[1] = coverage;
            }
        }
    }
}

fn lay_pixel(pixel: &mut [u8; 4], colour: [u8; 4], coverage: u8) {
    let part = u32::from(coverage);
    for (below, colour) in pixel.iter_mut().zip(colour) {
        let mixed = u32::from(colour) * part + u32::from(*below) * (255 - part);
        // Divides by 255, rounded.
        *below = ((mixed + 128 + ((mixed + 128) >> 8)) >> 8) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (u32, u32) = (150, 100);

    fn overlay() -> Overlay {
        Overlay::new(CanvasSize::new(SIZE.0, SIZE.1).unwrap())
    }

    fn layer(region: u64, colour: [u8; 3], dots: &[(u32, u32, u8)]) -> OverlayLayer {
        let mut mask = Mask::new(CanvasSize::new(SIZE.0, SIZE.1).unwrap());
        for &(x, y, coverage) in dots {
            let tile = mask.tile_mut(x / TILE_SIDE, y / TILE_SIDE);
            tile[((y % TILE_SIDE) * TILE_SIDE + x % TILE_SIDE) as usize] = coverage;
        }
        OverlayLayer {
            region: RegionId(region),
            colour,
            mask,
        }
    }

    fn pixel(patches: &[Patch], x: u32, y: u32) -> ([u8; 4], [u8; 4]) {
        let patch = patches
            .iter()
            .find(|patch| {
                (patch.rect.x0..patch.rect.x1).contains(&x) && (patch.rect.y0..patch.rect.y1).contains(&y)
            })
            .unwrap();
        let index = ((y - patch.rect.y0) * patch.rect.width() + (x - patch.rect.x0)) as usize;
        (
            patch.rgba[index * 4..index * 4 + 4].try_into().unwrap(),
            patch.marks[index * 4..index * 4 + 4].try_into().unwrap(),
        )
    }

    #[test]
    fn a_new_overlay_covers_the_canvas_in_one_patch_a_row() {
        let mut overlay = overlay();
        let patches = overlay.take_patches();
        assert_eq!(patches.len(), 2);
        assert_eq!(patches[1].rect, PixelRect::new(0, 64, 150, 100).unwrap());
        assert!(overlay.take_patches().is_empty());
    }

    #[test]
    fn layers_lie_one_over_the_other() {
        let mut overlay = overlay();
        let below = layer(1, [255, 0, 0], &[(10, 10, 255), (11, 10, 200)]);
        let above = layer(2, [0, 0, 255], &[(10, 10, 255), (11, 10, 51)]);
        overlay.update(vec![below, above], Some(RegionId(1)));
        let patches = overlay.take_patches();
        assert_eq!(pixel(&patches, 10, 10), ([0, 0, 255, 255], [2, 255, 255, 0]));
        let (mixed, marks) = pixel(&patches, 11, 10);
        assert_eq!(mixed, [160, 0, 51, 211]);
        assert_eq!(marks, [1, 200, 200, 51]);
        assert_eq!(pixel(&patches, 140, 90), ([0; 4], [0; 4]));
    }

    #[test]
    fn what_lies_under_a_solid_tile_is_left_out_but_for_the_active_coverage() {
        let mut overlay = overlay();
        let below = layer(1, [255, 0, 0], &[(10, 10, 200)]);
        let active = layer(2, [0, 255, 0], &[(10, 10, 90)]);
        let mut above = layer(3, [0, 0, 255], &[]);
        above.mask.tile_mut(0, 0).fill(255);
        overlay.update(vec![below, active, above], Some(RegionId(2)));
        let patches = overlay.take_patches();
        assert_eq!(pixel(&patches, 10, 10), ([0, 0, 255, 255], [3, 90, 255, 0]));
        assert_eq!(pixel(&patches, 11, 10), ([0, 0, 255, 255], [3, 0, 255, 0]));
    }

    #[test]
    fn only_changed_tiles_are_composed_again() {
        let mut overlay = overlay();
        let first = layer(1, [9; 3], &[(10, 10, 255)]);
        overlay.update(vec![first.clone()], None);
        overlay.take_patches();

        overlay.update(vec![first.clone()], None);
        assert!(overlay.take_patches().is_empty());

        let mut painted = first.clone();
        painted.mask.tile_mut(2, 1)[3] = 7;
        overlay.update(vec![painted.clone()], None);
        let patches = overlay.take_patches();
        assert_eq!(patches.len(), 1);
        assert_eq!(patches[0].rect, PixelRect::new(128, 64, 150, 100).unwrap());

        overlay.update(vec![painted.clone()], Some(RegionId(1)));
        assert_eq!(
            overlay.take_patches().len(),
            2,
            "both painted tiles carry the mark"
        );

        overlay.update(vec![], None);
        let cleared = overlay.take_patches();
        assert_eq!(pixel(&cleared, 10, 10), ([0; 4], [0; 4]));
    }

    #[test]
    fn changes_nobody_fetched_are_not_forgotten() {
        let mut overlay = overlay();
        overlay.take_patches();
        overlay.update(vec![layer(1, [9; 3], &[(10, 10, 255)])], None);
        overlay.update(vec![layer(1, [9; 3], &[(100, 80, 255)])], None);
        assert_eq!(overlay.take_patches().len(), 2);
    }

    fn area(patches: &[Patch]) -> u32 {
        patches
            .iter()
            .map(|patch| patch.rect.width() * patch.rect.height())
            .sum()
    }

    #[test]
    fn a_change_of_a_huge_canvas_takes_several_frames_and_new_ink_comes_first() {
        let size = CanvasSize::new(4096, 2048).unwrap();
        let mut overlay = Overlay::new(size);
        let limit = (TILES_A_FRAME * SIDE * SIDE) as u32;
        assert!(overlay.needs_more_frames());
        assert_eq!(area(&overlay.take_patches()), limit);

        let mut ink = OverlayLayer {
            region: RegionId(1),
            colour: [9; 3],
            mask: Mask::new(size),
        };
        ink.mask.tile_mut(63, 31)[0] = 255;
        overlay.update(vec![ink], None);
        let patches = overlay.take_patches();
        assert_eq!(area(&patches), limit);
        assert_eq!(pixel(&patches, 63 * 64, 31 * 64).0, [9, 9, 9, 255]);

        let mut rest = 0;
        while overlay.needs_more_frames() {
            rest += area(&overlay.take_patches());
        }
        rest += area(&overlay.take_patches());
        assert_eq!(
            2 * limit + rest,
            size.width() * size.height(),
            "every tile came once"
        );
        assert!(overlay.take_patches().is_empty());
    }
}
