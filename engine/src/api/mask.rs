//! Masks: 8-bit coverage of the canvas in copy-on-write tiles.

use std::sync::{Arc, LazyLock};

use super::geometry::{CanvasSize, PixelRect};
use crate::Error;

/// Side of a tile in pixels.
pub const TILE_SIDE: u32 = 64;
const TILE_PIXELS: usize = (TILE_SIDE * TILE_SIDE) as usize;

/// The coverage of one tile, row-major; pixels beyond the canvas edge are always 0.
pub type TileData = [u8; TILE_PIXELS];

static SOLID_TILE: LazyLock<Arc<TileData>> = LazyLock::new(|| Arc::new([255; TILE_PIXELS]));
static EMPTY_TILE: TileData = [0; TILE_PIXELS];

/// How much each pixel of the canvas belongs to a region: 0 (not at all) to 255 (fully).
///
/// Cloning shares everything. Editing copies only the touched tiles, so that undo steps, autosaves and the
/// engine's copy cost what a stroke touched. Unpainted tiles take no memory.
#[derive(Clone, Debug)]
pub struct Mask {
    size: CanvasSize,
    tiles: Arc<Vec<Option<Arc<TileData>>>>,
}

impl Mask {
    /// An unpainted mask.
    pub fn new(size: CanvasSize) -> Self {
        Self {
            size,
            tiles: Arc::new(vec![None; tile_count(size)]),
        }
    }

    /// A mask that covers the whole canvas.
    pub fn full(size: CanvasSize) -> Self {
        let mut mask = Self::new(size);
        let (columns, rows) = mask.tile_grid();
        for row in 0..rows {
            for column in 0..columns {
                let rect = mask.tile_rect(column, row);
                if rect.width() == TILE_SIDE && rect.height() == TILE_SIDE {
                    mask.set_tile(column, row, Some(Arc::clone(&SOLID_TILE)));
                } else {
                    let tile = mask.tile_mut(column, row);
                    for y in 0..rect.height() {
                        let start = (y * TILE_SIDE) as usize;
                        tile[start..start + rect.width() as usize].fill(255);
                    }
                }
            }
        }
        mask
    }

    /// From row-major coverage, one byte a pixel.
    ///
    /// # Errors
    /// If `coverage` does not hold exactly one byte per pixel.
    pub fn from_coverage(size: CanvasSize, coverage: &[u8]) -> Result<Self, Error> {
        if coverage.len() != size.area() {
            return Err(Error::MaskLength {
                expected: size.area(),
                found: coverage.len(),
            });
        }
        let mut mask = Self::new(size);
        let width = size.width() as usize;
        let (columns, rows) = mask.tile_grid();
        for row in 0..rows {
            for column in 0..columns {
                let rect = mask.tile_rect(column, row);
                let line = |y: u32| {
                    let start = y as usize * width + rect.x0 as usize;
                    &coverage[start..start + rect.width() as usize]
                };
                if (rect.y0..rect.y1).all(|y| line(y).iter().all(|&value| value == 0)) {
                    continue;
                }
                let tile = mask.tile_mut(column, row);
                for y in rect.y0..rect.y1 {
                    let start = ((y - rect.y0) * TILE_SIDE) as usize;
                    tile[start..start + rect.width() as usize].copy_from_slice(line(y));
                }
            }
        }
        Ok(mask)
    }

    /// The canvas this mask belongs to.
    pub fn size(&self) -> CanvasSize {
        self.size
    }

    /// Number of tile columns and rows.
    pub fn tile_grid(&self) -> (u32, u32) {
        (
            self.size.width().div_ceil(TILE_SIDE),
            self.size.height().div_ceil(TILE_SIDE),
        )
    }

    /// The pixels of a tile that lie on the canvas.
    pub fn tile_rect(&self, column: u32, row: u32) -> PixelRect {
        PixelRect {
            x0: column * TILE_SIDE,
            y0: row * TILE_SIDE,
            x1: ((column + 1) * TILE_SIDE).min(self.size.width()),
            y1: ((row + 1) * TILE_SIDE).min(self.size.height()),
        }
    }

    /// The shared data of a tile, `None` where nothing is painted.
    pub fn tile(&self, column: u32, row: u32) -> Option<&Arc<TileData>> {
        self.tiles.get(self.tile_index(column, row)?)?.as_ref()
    }

    /// The tile's coverage for writing; it is copied first if anyone else holds it.
    ///
    /// Pixels beyond the canvas edge must be left 0.
    ///
    /// # Panics
    /// If there is no such tile.
    pub fn tile_mut(&mut self, column: u32, row: u32) -> &mut TileData {
        let index = self.tile_index(column, row).expect("the tile lies on the canvas");
        let slot = &mut Arc::make_mut(&mut self.tiles)[index];
        Arc::make_mut(slot.get_or_insert_with(|| Arc::new([0; TILE_PIXELS])))
    }

    /// Puts a whole tile in place; this is how an undo step restores what a stroke changed.
    ///
    /// # Panics
    /// If there is no such tile.
    pub fn set_tile(&mut self, column: u32, row: u32, data: Option<Arc<TileData>>) {
        let index = self.tile_index(column, row).expect("the tile lies on the canvas");
        Arc::make_mut(&mut self.tiles)[index] = data;
    }

    /// Coverage of one pixel; 0 beyond the canvas.
    pub fn coverage(&self, x: u32, y: u32) -> u8 {
        if x >= self.size.width() || y >= self.size.height() {
            return 0;
        }
        self.tile(x / TILE_SIDE, y / TILE_SIDE).map_or(0, |tile| {
            tile[((y % TILE_SIDE) * TILE_SIDE + x % TILE_SIDE) as usize]
        })
    }

    /// Row-major coverage of the whole canvas, one byte a pixel.
    pub fn to_coverage(&self) -> Vec<u8> {
        self.read_rect(self.size.rect())
    }

    /// Row-major coverage of a rectangle, one byte a pixel.
    ///
    /// # Panics
    /// If the rectangle reaches beyond the canvas.
    pub fn read_rect(&self, rect: PixelRect) -> Vec<u8> {
        assert!(
            rect.x1 <= self.size.width() && rect.y1 <= self.size.height(),
            "rectangle on the canvas"
        );
        let mut out = vec![0; rect.width() as usize * rect.height() as usize];
        for row in rect.y0 / TILE_SIDE..=(rect.y1 - 1) / TILE_SIDE {
            for column in rect.x0 / TILE_SIDE..=(rect.x1 - 1) / TILE_SIDE {
                let (Some(tile), Some(part)) = (
                    self.tile(column, row),
                    self.tile_rect(column, row).intersect(rect),
                ) else {
                    continue;
                };
                let length = part.width() as usize;
                for y in part.y0..part.y1 {
                    let from = ((y % TILE_SIDE) * TILE_SIDE + part.x0 % TILE_SIDE) as usize;
                    let to = (y - rect.y0) as usize * rect.width() as usize + (part.x0 - rect.x0) as usize;
                    out[to..to + length].copy_from_slice(&tile[from..from + length]);
                }
            }
        }
        out
    }

    /// Whether nothing is painted.
    pub fn is_empty(&self) -> bool {
        self.tiles.iter().flatten().all(|tile| **tile == EMPTY_TILE)
    }

    /// The smallest rectangle that holds every painted pixel; `None` if nothing is painted.
    pub fn bounds(&self) -> Option<PixelRect> {
        let (columns, rows) = self.tile_grid();
        let mut bounds: Option<PixelRect> = None;
        for row in 0..rows {
            for column in 0..columns {
                let Some(tile) = self.tile(column, row) else {
                    continue;
                };
                let Some(local) = painted_rect(tile) else { continue };
                let (left, top) = (column * TILE_SIDE, row * TILE_SIDE);
                let rect = PixelRect {
                    x0: left + local.x0,
                    y0: top + local.y0,
                    x1: left + local.x1,
                    y1: top + local.y1,
                };
                bounds = Some(bounds.map_or(rect, |known| known.union(rect)));
            }
        }
        bounds
    }

    /// Where two masks of the same canvas may differ, in whole tiles; `None` if they are the same.
    ///
    /// Shared tiles are recognised without looking at their pixels, so that this costs nothing next to a stroke.
    /// Masks of different canvases differ everywhere.
    pub fn difference(&self, other: &Self) -> Option<PixelRect> {
        if self.size != other.size {
            return Some(self.size.rect());
        }
        if Arc::ptr_eq(&self.tiles, &other.tiles) {
            return None;
        }
        let (columns, _) = self.tile_grid();
        let mut changed: Option<PixelRect> = None;
        for (index, (mine, theirs)) in self.tiles.iter().zip(other.tiles.iter()).enumerate() {
            if same_tile(mine.as_ref(), theirs.as_ref()) {
                continue;
            }
            let rect = self.tile_rect(index as u32 % columns, index as u32 / columns);
            changed = Some(changed.map_or(rect, |known| known.union(rect)));
        }
        changed
    }

    /// Frees tiles in which nothing is painted any more.
    pub fn trim(&mut self) {
        let is_blank = |slot: &Option<Arc<TileData>>| slot.as_ref().is_some_and(|tile| **tile == EMPTY_TILE);
        if self.tiles.iter().any(is_blank) {
            for slot in Arc::make_mut(&mut self.tiles)
                .iter_mut()
                .filter(|slot| is_blank(slot))
            {
                *slot = None;
            }
        }
    }

    /// Bytes of pixel data that this mask keeps alive (shared tiles count in each mask that holds them).
    pub fn memory_bytes(&self) -> usize {
        self.tiles.iter().flatten().count() * TILE_PIXELS
            + self.tiles.len() * size_of::<Option<Arc<TileData>>>()
    }

    fn tile_index(&self, column: u32, row: u32) -> Option<usize> {
        let (columns, rows) = self.tile_grid();
        (column < columns && row < rows).then(|| (row * columns + column) as usize)
    }
}

impl PartialEq for Mask {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size && self.difference(other).is_none()
    }
}

impl Eq for Mask {}

fn tile_count(size: CanvasSize) -> usize {
    size.width().div_ceil(TILE_SIDE) as usize * size.height().div_ceil(TILE_SIDE) as usize
}

fn same_tile(a: Option<&Arc<TileData>>, b: Option<&Arc<TileData>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        (Some(only), None) | (None, Some(only)) => **only == EMPTY_TILE,
    }
}

fn painted_rect(tile: &TileData) -> Option<PixelRect> {
    let mut bounds: Option<PixelRect> = None;
    for (y, line) in tile.chunks_exact(TILE_SIDE as usize).enumerate() {
        let (Some(first), Some(last)) = (
            line.iter().position(|&value| value > 0),
            line.iter().rposition(|&value| value > 0),
        ) else {
            continue;
        };
        let rect = PixelRect {
            x0: first as u32,
            y0: y as u32,
            x1: last as u32 + 1,
            y1: y as u32 + 1,
        };
        bounds = Some(bounds.map_or(rect, |known| known.union(rect)));
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u32, height: u32) -> CanvasSize {
        CanvasSize::new(width, height).unwrap()
    }

    #[test]
    fn coverage_survives_the_way_into_tiles_and_back() {
        let size = size(131, 70);
        let coverage: Vec<u8> = (0..size.area()).map(|i| (i * 7 % 251) as u8).collect();
        let mask = Mask::from_coverage(size, &coverage).unwrap();
        assert_eq!(mask.to_coverage(), coverage);
        assert_eq!(mask.coverage(130, 69), coverage[size.area() - 1]);
        assert_eq!(mask.coverage(131, 0), 0);
        let rect = PixelRect::new(60, 1, 131, 66).unwrap();
        let part = mask.read_rect(rect);
        assert_eq!(part[0], coverage[131 + 60]);
        assert_eq!(*part.last().unwrap(), coverage[65 * 131 + 130]);
    }

    #[test]
    fn coverage_of_the_wrong_length_is_refused() {
        assert!(matches!(
            Mask::from_coverage(size(8, 8), &[0; 63]),
            Err(Error::MaskLength {
                expected: 64,
                found: 63
            })
        ));
    }

    #[test]
    fn difference_is_the_touched_tiles() {
        let before = Mask::new(size(300, 200));
        let mut after = before.clone();
        assert_eq!(before.difference(&after), None);
        after.tile_mut(1, 2)[5] = 9;
        assert_eq!(before.difference(&after), PixelRect::new(64, 128, 128, 192));
        after.tile_mut(1, 2)[5] = 0;
        assert_eq!(before, after);
    }

    #[test]
    fn trim_frees_unpainted_tiles() {
        let mut mask = Mask::new(size(100, 100));
        let unpainted = mask.memory_bytes();
        mask.tile_mut(0, 0)[0] = 1;
        mask.tile_mut(0, 0)[0] = 0;
        mask.trim();
        assert_eq!(mask.memory_bytes(), unpainted);
    }

    #[test]
    fn bounds_and_full_respect_the_canvas_edge() {
        let mask = Mask::full(size(100, 65));
        assert_eq!(mask.bounds(), PixelRect::new(0, 0, 100, 65));
        assert!(mask.to_coverage().iter().all(|&value| value == 255));
        assert_eq!(Mask::new(size(1, 1)).bounds(), None);
    }
}
