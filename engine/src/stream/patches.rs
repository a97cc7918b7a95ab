//! The separate patches of a region's mask, each of which is drawn as an object of its own.
//!
//! Whoever paints a tree here and another one there with the same brush means two trees. Denoised as one row, both
//! patches are parts of one tree that is as large as the box around them: neither becomes one.

use std::{collections::VecDeque, ops::Range};

use super::masks::LatentSize;

/// Most patches of a region; each is a row for the denoiser at every noise level.
const MOST_PATCHES: usize = 4;
/// Cells whose coverage is less than this share of the region's largest connect nothing: soft edges may touch. What
/// remains of a mask under another one by default, 0.3, does connect: scenery goes on behind what stands before it.
const CONNECTING_SHARE: f32 = 0.25;
/// The smallest patch, as a share of the canvas; smaller ones go with the nearest patch that is large enough.
const LEAST_SHARE_OF_CANVAS: f64 = 1.0 / 128.0;
/// As [`LEAST_SHARE_OF_CANVAS`], as a share of the region's largest patch.
const LEAST_SHARE_OF_LARGEST: f64 = 1.0 / 12.0;

/// Which patch each cell of a region belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patches {
    /// Empty where there is one patch.
    labels: Vec<u8>,
    count: usize,
}

impl Patches {
    /// One patch, whatever its shape.
    pub const WHOLE: Self = Self {
        labels: Vec::new(),
        count: 1,
    };

    /// The patches of a mask, the largest first.
    ///
    /// # Shapes
    /// - `coverage`: `[h, w]`, 0 to 1
    pub fn of(coverage: &[f32], size: LatentSize) -> Self {
        let largest_value = coverage.iter().copied().fold(0.0, f32::max);
        if largest_value <= 0.0 {
            return Self::WHOLE;
        }
        let connects = |cell: usize| coverage[cell] > CONNECTING_SHARE * largest_value;
        let mut parts = connected_parts(size, connects);
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        let largest = parts.first().map_or(0, Vec::len) as f64;
        let least = (LEAST_SHARE_OF_CANVAS * size.area() as f64).max(LEAST_SHARE_OF_LARGEST * largest);
        parts.retain(|part| part.len() as f64 >= least);
        parts.truncate(MOST_PATCHES);
        if parts.len() < 2 {
            return Self::WHOLE;
        }
        Self {
            count: parts.len(),
            labels: nearest(&parts, size),
        }
    }

    /// How many there are, at least one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Which patch a cell belongs to.
    pub fn of_cell(&self, cell: usize) -> usize {
        self.labels.get(cell).map_or(0, |&label| label.into())
    }

    /// The part of some planes that belongs to a patch; 0 elsewhere. The parts of all patches add up to the planes.
    ///
    /// # Shapes
    /// - `planes`: any number of planes `[h, w]`, one after the other
    pub fn part(&self, planes: &[f32], patch: usize) -> Vec<f32> {
        if self.labels.is_empty() {
            return planes.to_vec();
        }
        planes
            .chunks_exact(self.labels.len())
            .flat_map(|plane| plane.iter().zip(&self.labels))
            .map(|(&value, &label)| if usize::from(label) == patch { value } else { 0.0 })
            .collect()
    }
}

/// The cells of each connected part, diagonals included, in the order of their first cells.
fn connected_parts(size: LatentSize, connects: impl Fn(usize) -> bool) -> Vec<Vec<usize>> {
    let mut is_seen = vec![false; size.area()];
    let mut parts = Vec::new();
    for start in 0..size.area() {
        if is_seen[start] || !connects(start) {
            continue;
        }
        is_seen[start] = true;
        let mut part = vec![start];
        let mut done = 0;
        while let Some(&cell) = part.get(done) {
            done += 1;
            for_each_neighbour(cell, size, |next| {
                if !is_seen[next] && connects(next) {
                    is_seen[next] = true;
                    part.push(next);
                }
            });
        }
        parts.push(part);
    }
    parts
}

/// The part that each cell is nearest to.
fn nearest(parts: &[Vec<usize>], size: LatentSize) -> Vec<u8> {
    const NONE: u8 = u8::MAX;
    let mut labels = vec![NONE; size.area()];
    let mut edge = VecDeque::new();
    for (label, part) in parts.iter().enumerate() {
        for &cell in part {
            labels[cell] = label as u8;
            edge.push_back(cell);
        }
    }
    while let Some(cell) = edge.pop_front() {
        let label = labels[cell];
        for_each_neighbour(cell, size, |next| {
            if labels[next] == NONE {
                labels[next] = label;
                edge.push_back(next);
            }
        });
    }
    labels
}

/// The up to eight cells around a cell.
fn for_each_neighbour(cell: usize, size: LatentSize, mut visit: impl FnMut(usize)) {
    let around =
        |place: usize, side: usize| -> Range<usize> { place.saturating_sub(1)..(place + 2).min(side) };
    let (y, x) = (cell / size.width, cell % size.width);
    for y in around(y, size.height) {
        for x in around(x, size.width) {
            let next = y * size.width + x;
            if next != cell {
                visit(next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: LatentSize = LatentSize {
        height: 24,
        width: 32,
    };

    fn painted(rects: &[(Range<usize>, Range<usize>, f32)]) -> Vec<f32> {
        let mut plane = vec![0.0; SIZE.area()];
        for (rows, columns, value) in rects {
            for y in rows.clone() {
                plane[y * SIZE.width..][columns.clone()].fill(*value);
            }
        }
        plane
    }

    #[test]
    fn patches_that_do_not_touch_are_told_apart_and_add_up() {
        let plane = painted(&[(2..8, 2..8, 1.0), (10..22, 14..30, 0.8)]);
        let patches = Patches::of(&plane, SIZE);
        assert_eq!(patches.count(), 2);
        assert_eq!(
            patches.part(&plane, 0),
            painted(&[(10..22, 14..30, 0.8)]),
            "the largest is the first"
        );
        assert_eq!(patches.part(&plane, 1), painted(&[(2..8, 2..8, 1.0)]));
    }

    #[test]
    fn what_another_region_covers_still_connects_and_faint_edges_do_not() {
        let behind = painted(&[(0..12, 0..32, 1.0), (0..12, 12..18, 0.3)]);
        assert_eq!(Patches::of(&behind, SIZE), Patches::WHOLE);
        let faint = painted(&[(4..14, 2..28, 0.2), (4..14, 2..10, 1.0), (4..14, 18..28, 1.0)]);
        let patches = Patches::of(&faint, SIZE);
        assert_eq!(patches.count(), 2);
        let sum: Vec<f32> = patches
            .part(&faint, 0)
            .iter()
            .zip(patches.part(&faint, 1))
            .map(|(a, b)| a + b)
            .collect();
        assert_eq!(sum, faint);
    }

    #[test]
    fn specks_go_with_the_nearest_patch_and_rows_are_bounded() {
        let plane = painted(&[(2..12, 2..12, 1.0), (2..12, 20..30, 1.0), (20..21, 28..29, 1.0)]);
        let patches = Patches::of(&plane, SIZE);
        assert_eq!(patches.count(), 2);
        assert_eq!(patches.part(&plane, 1)[20 * SIZE.width + 28], 1.0);

        let many: Vec<_> = (0..12)
            .map(|place| {
                let (y, x) = (place / 4 * 8, place % 4 * 8);
                (y..y + 6, x..x + 6, 1.0)
            })
            .collect();
        assert_eq!(Patches::of(&painted(&many), SIZE).count(), MOST_PATCHES);
    }

    #[test]
    fn nothing_painted_is_one_patch() {
        assert_eq!(Patches::of(&vec![0.0; SIZE.area()], SIZE), Patches::WHOLE);
        let one = LatentSize { height: 1, width: 1 };
        assert_eq!(Patches::of(&[1.0], one), Patches::WHOLE);
        assert_eq!(Patches::WHOLE.part(&[0.5, 0.2], 0), [0.5, 0.2]);
    }

    proptest! {
        #[test]
        fn every_cell_belongs_to_one_patch(
            plane in prop::collection::vec(prop_oneof![3 => Just(0.0_f32), 1 => 0.0..1.0_f32], SIZE.area()),
        ) {
            let patches = Patches::of(&plane, SIZE);
            let mut sum = vec![0.0; plane.len()];
            for patch in 0..patches.count() {
                let part = patches.part(&plane, patch);
                for (sum, value) in sum.iter_mut().zip(part) {
                    *sum += value;
                }
            }
            prop_assert_eq!(sum, plane);
        }
    }
}
