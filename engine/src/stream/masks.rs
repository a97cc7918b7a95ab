//! Soft masks to what the stream multiplies with: one mask per region and noise level, at latent size.
//!
//! Cover decay, blur, strength, quantisation, sampling: in this order, as in the reference. A pixel enters the picture
//! at the first step whose noise level is below its coverage, so that a region starts at its solid core and grows into
//! its soft edge as the steps go on.
//!
//! Source: StreamMultiDiffusion (arXiv 2403.09055), section on quantised masks.

use candle_core::{Device, Result, Tensor};

use super::{
    blur::{Kernel, Plane, blur_at},
    centering::{Shift, extent_of_mask},
    fused::RowTables,
};
use crate::{
    api::MaskMode,
    ops::cuda::{self, Cut, MOST_LEVELS},
    schedule::SlotTable,
};

/// Height and width of a latent in cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LatentSize {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl LatentSize {
    /// Number of cells.
    pub fn area(self) -> usize {
        self.height * self.width
    }
}

/// How the masks of one request are prepared.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskRequest {
    /// What is left of a mask under a later one; 0 turns it off.
    pub cover_alpha: f32,
    /// Standard deviation of each mask's blur, in pixels.
    pub stds_px: Vec<f32>,
    /// Weight of each mask.
    pub strengths: Vec<f32>,
}

/// Weakens each mask where any later one has paint.
///
/// # Shapes
/// - `masks`: one plane of pixels each, in painting order, all of the same length.
pub fn cover(masks: &mut [Vec<f32>], cover_alpha: f32) {
    if cover_alpha <= 0.0 || masks.is_empty() {
        return;
    }
    let mut above = vec![0.0_f32; masks[0].len()];
    for mask in masks.iter_mut().rev() {
        for (value, above) in mask.iter_mut().zip(&mut above) {
            let own = *value;
            if *above > 0.0 {
                *value *= cover_alpha;
            }
            *above += own;
        }
    }
}

/// The kernels of a request: one window for all, from the largest deviation. `None` if nothing is blurred.
pub fn shared_window_kernels(stds_px: &[f32]) -> Option<Vec<Kernel>> {
    let largest = stds_px.iter().copied().fold(0.0, f32::max);
    (largest > 0.0).then(|| {
        let radius = Kernel::radius_for(largest);
        stds_px.iter().map(|&std| Kernel::gaussian(std, radius)).collect()
    })
}

/// Prepares the masks of one request as the reference does: cover, blur with a shared window, strength; sampled at every
/// `stride`-th pixel.
///
/// # Shapes
/// - `masks`: one plane of `width`-pixel rows each, 0 to 1
/// - returns one plane each of `ceil(H / stride)` rows of `ceil(width / stride)` values
pub fn prepare(masks: &[Vec<f32>], width: usize, request: &MaskRequest, stride: usize) -> Vec<Vec<f32>> {
    let mut masks = masks.to_vec();
    cover(&mut masks, request.cover_alpha);
    let kernels = shared_window_kernels(&request.stds_px);
    masks
        .iter()
        .enumerate()
        .map(|(layer, values)| {
            let plane = Plane { width, values };
            let xs: Vec<usize> = (0..width).step_by(stride).collect();
            let ys: Vec<usize> = (0..values.len() / width.max(1)).step_by(stride).collect();
            let mut sampled = match &kernels {
                Some(kernels) => blur_at(&plane, &kernels[layer], &xs, &ys),
                None => blur_at(&plane, &Kernel::gaussian(0.0, 0), &xs, &ys),
            };
            let strength = request.strengths[layer];
            for value in &mut sampled {
                *value *= strength;
            }
            sampled
        })
        .collect()
}

/// Cuts soft coverage at the noise level of each slot.
///
/// # Shapes
/// - `coverage`: `n` values, 0 to 1
/// - returns `T` planes of `n` values, one after the other, 0 to 1
pub fn quantise(coverage: &[f32], mode: MaskMode, slots: &SlotTable) -> Vec<f32> {
    let mut planes = Vec::with_capacity(coverage.len() * slots.count());
    for (t, slot) in slots.slots().iter().enumerate() {
        let (level, next) = (slot.noise_level as f32, slot.next_noise_level as f32);
        if mode.is_soft_at(t, slots.count()) {
            let gap = level - next;
            planes.extend(
                coverage
                    .iter()
                    .map(|&value| ((value - next) / gap).clamp(0.0, 1.0)),
            );
        } else {
            planes.extend(
                coverage
                    .iter()
                    .map(|&value| if value > level { 1.0 } else { 0.0 }),
            );
        }
    }
    planes
}

/// The masks of all regions at all slots, on the processor.
///
/// Rows are counted `t * p + region`, like the rows of a stream batch.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskPlanes {
    /// Size of a plane.
    pub size: LatentSize,
    /// Number of regions, `p`.
    pub regions: usize,
    /// Number of slots, `T`.
    pub slots: usize,
    /// `[T * p, h, w]`.
    pub masks: Vec<f32>,
    /// `[T, h, w]`: sum over the regions.
    pub counts: Vec<f32>,
}

impl MaskPlanes {
    /// From the quantised planes of each region (`T` planes each, see [`quantise`]).
    pub fn new(size: LatentSize, slots: usize, regions: &[&[f32]]) -> Self {
        let area = size.area();
        let count = regions.len();
        let mut masks = Vec::with_capacity(slots * count * area);
        let mut counts = vec![0.0; slots * area];
        for t in 0..slots {
            let sums = &mut counts[t * area..][..area];
            for planes in regions {
                let plane = &planes[t * area..][..area];
                masks.extend_from_slice(plane);
                for (sum, value) in sums.iter_mut().zip(plane) {
                    *sum += value;
                }
            }
        }
        Self {
            size,
            regions: count,
            slots,
            masks,
            counts,
        }
    }

    /// Gives what no region has yet, but the regions together cover, to the one with the most coverage there.
    ///
    /// Where two soft edges meet, each region's coverage is below the noise level, and white would show between them until
    /// the last steps. Towards what is not painted, regions go on to grow from their core.
    ///
    /// The planes may be those of the last slots alone.
    ///
    /// # Shapes
    /// - `coverage`: one plane for each region, as it was cut
    pub fn close_gaps(&mut self, coverage: &[Vec<f32>], mode: MaskMode, slots: &SlotTable) {
        let area = self.size.area();
        if coverage.is_empty() {
            return;
        }
        let union: Vec<f32> = (0..area)
            .map(|place| coverage.iter().map(|plane| plane[place]).sum::<f32>().min(1.0))
            .collect();
        let strongest: Vec<usize> = (0..area)
            .map(|place| {
                (1..coverage.len()).fold(0, |best, region| {
                    // Of equals, the region in front.
                    if coverage[region][place] >= coverage[best][place] {
                        region
                    } else {
                        best
                    }
                })
            })
            .collect();
        let wanted = quantise(&union, mode, slots);
        let wanted = &wanted[(slots.count() - self.slots) * area..];
        for (t, (counts, wanted)) in self
            .counts
            .chunks_exact_mut(area)
            .zip(wanted.chunks_exact(area))
            .enumerate()
        {
            for place in 0..area {
                let missing = wanted[place] - counts[place];
                if missing > 0.0 {
                    self.masks[(t * self.regions + strongest[place]) * area + place] += missing;
                    counts[place] = wanted[place];
                }
            }
        }
    }

    /// Adds the background as a last region: at each slot it has what the others leave, but for the share that is kept.
    ///
    /// # Shapes
    /// - `kept`: `[T]`, 0 to 1
    pub fn add_ground(&mut self, kept: &[f32]) {
        let area = self.size.area();
        let shares = self.background();
        let mut masks = Vec::with_capacity(self.slots * (self.regions + 1) * area);
        for t in 0..self.slots {
            let rows = t * self.regions * area..(t + 1) * self.regions * area;
            masks.extend_from_slice(&self.masks[rows]);
            let counts = &mut self.counts[t * area..][..area];
            for (count, share) in counts.iter_mut().zip(&shares[t * area..]) {
                let painted = share * (1.0 - kept[t]);
                masks.push(painted);
                *count += painted;
            }
        }
        self.masks = masks;
        self.regions += 1;
    }

    /// How much of each pixel the background takes at each slot: `[T, h, w]`, what the regions leave of 1.
    pub fn background(&self) -> Vec<f32> {
        self.counts
            .iter()
            .map(|count| (1.0 - count).clamp(0.0, 1.0))
            .collect()
    }

    /// The plane of a row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.masks[row * self.size.area()..][..self.size.area()]
    }
}

/// The masks as the denoising step uses them, on the device.
#[derive(Clone, Debug)]
pub struct Masks {
    /// Size of a plane.
    pub size: LatentSize,
    /// Number of regions, `p`.
    pub regions: usize,
    /// `[T * p, 1, h, w]`, 0 to 1.
    pub rows: Tensor,
    /// `[T, 1, h, w]`: what the sum over the regions is divided by; 1 where no region is.
    pub divisor: Tensor,
    /// `[T, 1, h, w]`: how much of the background shows.
    pub background: Tensor,
    /// Whether any pixel of a row is painted.
    pub is_painted: Vec<bool>,
    /// Where each row's mask lies.
    pub shifts: Vec<Shift>,
    /// How large each row's mask is.
    pub extents: Vec<LatentSize>,
    /// What calls with these masks have uploaded.
    pub(super) tables: RowTables,
}

impl Masks {
    /// Puts masks on a device.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn new(planes: &MaskPlanes, device: &Device) -> Result<Self> {
        let LatentSize { height, width } = planes.size;
        let rows = planes.slots * planes.regions;
        let divisor: Vec<f32> = planes
            .counts
            .iter()
            .map(|&count| if count > 0.0 { count } else { 1.0 })
            .collect();
        let cut = Cut {
            masks: if rows == 0 {
                Tensor::zeros((1, 1, height, width), candle_core::DType::F32, device)?
            } else {
                Tensor::from_slice(&planes.masks, (rows, 1, height, width), device)?
            },
            divisors: Tensor::from_vec(divisor, (planes.slots, 1, height, width), device)?,
            shares: Tensor::from_vec(planes.background(), (planes.slots, 1, height, width), device)?,
        };
        Ok(Self::of_planes(planes, cut))
    }

    /// As [`Self::new`]; a card with our kernels is given the coverage alone and cuts it itself.
    ///
    /// # Shapes
    /// - `coverage`: one plane for each region, as it was cut to give `planes`
    ///
    /// # Errors
    /// If the device has no room.
    pub fn cut(
        planes: &MaskPlanes,
        coverage: &[Vec<f32>],
        mode: MaskMode,
        slots: &SlotTable,
        device: &Device,
    ) -> Result<Self> {
        if !cuda::are_used_on(device) || coverage.is_empty() || slots.count() > MOST_LEVELS {
            return Self::new(planes, device);
        }
        let LatentSize { height, width } = planes.size;
        let coverage = Tensor::from_vec(coverage.concat(), (coverage.len(), height, width), device)?;
        let levels: Vec<f32> = slots
            .slots()
            .iter()
            .flat_map(|slot| [slot.noise_level as f32, slot.next_noise_level as f32])
            .collect();
        let levels = Tensor::from_vec(levels, (slots.count(), 2), device)?;
        let is_soft: Vec<bool> = (0..slots.count())
            .map(|slot| mode.is_soft_at(slot, slots.count()))
            .collect();
        Ok(Self::of_planes(
            planes,
            cuda::cut_masks(&coverage, &levels, &is_soft)?,
        ))
    }

    /// Leaves regions where they are that reach from one border of the canvas to the other: rolled to the middle, a
    /// scenery's ends would meet, and a sky would have the ground above it.
    ///
    /// # Shapes
    /// - `coverage`: one plane for each region
    pub fn centre_objects(&mut self, coverage: &[Vec<f32>]) {
        for (region, plane) in coverage.iter().enumerate() {
            let extent = extent_of_mask(plane, self.size);
            if extent.height == self.size.height || extent.width == self.size.width {
                self.hold(region);
            }
        }
    }

    /// Leaves a region where it is while it is denoised.
    pub fn hold(&mut self, region: usize) {
        for row in (region..self.shifts.len()).step_by(self.regions) {
            self.shifts[row] = Shift::default();
            // Its middle is not the canvas' middle: no part of the canvas will do.
            self.extents[row] = self.size;
        }
    }

    fn of_planes(planes: &MaskPlanes, cut: Cut) -> Self {
        let rows = planes.slots * planes.regions;
        Self {
            size: planes.size,
            regions: planes.regions,
            rows: cut.masks,
            divisor: cut.divisors,
            background: cut.shares,
            is_painted: (0..rows)
                .map(|row| planes.row(row).iter().any(|&value| value > 0.0))
                .collect(),
            shifts: (0..rows)
                .map(|row| Shift::of_mask(planes.row(row), planes.size))
                .collect(),
            extents: (0..rows)
                .map(|row| extent_of_mask(planes.row(row), planes.size))
                .collect(),
            tables: RowTables::default(),
        }
    }
}

impl MaskMode {
    /// Whether masks rise between two noise levels at a slot, rather than being cut at one.
    fn is_soft_at(self, slot: usize, slots: usize) -> bool {
        match self {
            Self::Discrete => false,
            Self::SemiContinuous => slot + 1 == slots,
            Self::Continuous => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::BackgroundNoise,
        models::traits::Prediction,
        schedule::{NoiseSchedule, StepIndex, lcm},
    };

    fn slots() -> SlotTable {
        let schedule = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000);
        lcm::Grid::new(&schedule, 50)
            .and_then(|grid| {
                grid.slots(
                    &schedule,
                    &[0, 12, 25].map(StepIndex),
                    Prediction::Epsilon,
                    BackgroundNoise::Corrected,
                )
            })
            .unwrap()
    }

    fn planes_of(coverage: &[Vec<f32>], size: LatentSize, mode: MaskMode) -> MaskPlanes {
        let slots = slots();
        let cut: Vec<_> = coverage
            .iter()
            .map(|plane| quantise(plane, mode, &slots))
            .collect();
        let cut: Vec<&[f32]> = cut.iter().map(Vec::as_slice).collect();
        MaskPlanes::new(size, slots.count(), &cut)
    }

    #[test]
    fn regions_that_meet_leave_no_gap_and_a_lone_edge_stays_as_it_was() {
        let size = LatentSize { height: 1, width: 5 };
        // Two soft edges that meet; what one of them leaves towards the last cell is not painted.
        let coverage = [vec![1.0, 0.7, 0.3, 0.0, 0.0], vec![0.0, 0.3, 0.7, 0.6, 0.0]];
        for mode in [MaskMode::Discrete, MaskMode::SemiContinuous, MaskMode::Continuous] {
            let open = planes_of(&coverage, size, mode);
            let mut closed = open.clone();
            closed.close_gaps(&coverage, mode, &slots());
            for t in 0..closed.slots {
                let plane = |planes: &MaskPlanes, region| planes.row(t * 2 + region).to_vec();
                let covered = &closed.counts[t * 5..][..3];
                assert!(
                    covered.iter().all(|&count| count >= 1.0),
                    "{mode:?} {t}: {covered:?}"
                );
                assert!(plane(&closed, 0)[1] > plane(&closed, 1)[1], "{mode:?} {t}");
                assert!(plane(&closed, 1)[2] > plane(&closed, 0)[2], "{mode:?} {t}");
                assert_eq!(plane(&closed, 0)[2], plane(&open, 0)[2], "the weaker one");
                for region in 0..2 {
                    assert_eq!(
                        plane(&closed, region)[3..],
                        plane(&open, region)[3..],
                        "{mode:?} {t}"
                    );
                }
            }
        }
    }

    #[test]
    fn sceneries_stay_where_they_are_and_objects_are_centred() {
        let size = LatentSize { height: 4, width: 4 };
        let cells = |inside: &dyn Fn(usize, usize) -> bool| -> Vec<f32> {
            (0..16)
                .map(|i| if inside(i / 4, i % 4) { 1.0 } else { 0.0 })
                .collect()
        };
        let coverage = [
            cells(&|y, _| y < 2),
            cells(&|_, x| x == 3),
            cells(&|y, x| y == 0 && x == 0),
        ];
        let planes = planes_of(&coverage, size, MaskMode::Discrete);
        let mut masks = Masks::new(&planes, &Device::Cpu).unwrap();
        assert!(masks.shifts.iter().all(|shift| *shift != Shift::default()));
        masks.centre_objects(&coverage);
        for shifts in masks.shifts.chunks_exact(3) {
            assert_eq!(shifts[..2], [Shift::default(); 2]);
            assert_eq!(
                shifts[2],
                Shift {
                    rows: -2,
                    columns: -2
                }
            );
        }
    }

    #[test]
    fn regions_grow_from_slot_to_slot_in_every_mode() {
        let slots = slots();
        let coverage: Vec<f32> = (0..=1000).map(|i| i as f32 / 1000.0).collect();
        for mode in [MaskMode::Discrete, MaskMode::SemiContinuous, MaskMode::Continuous] {
            let planes = quantise(&coverage, mode, &slots);
            for pair in planes.chunks_exact(coverage.len()).collect::<Vec<_>>().windows(2) {
                assert!(pair[0].iter().zip(pair[1]).all(|(before, after)| before <= after));
            }
            assert!(
                planes
                    .chunks_exact(coverage.len())
                    .all(|plane| plane[1000] == 1.0)
            );
        }
    }

    #[test]
    fn a_card_cuts_the_masks_that_the_processor_does() {
        let (slots, size) = (slots(), LatentSize { height: 5, width: 7 });
        let coverage: Vec<Vec<f32>> = [3, 5, 11]
            .map(|step| (0..size.area()).map(|i| (i * step % 29) as f32 / 28.0).collect())
            .to_vec();
        for mode in [MaskMode::Discrete, MaskMode::SemiContinuous, MaskMode::Continuous] {
            let cut: Vec<Vec<f32>> = coverage
                .iter()
                .map(|coverage| quantise(coverage, mode, &slots))
                .collect();
            let planes: Vec<&[f32]> = cut.iter().map(Vec::as_slice).collect();
            let planes = MaskPlanes::new(size, slots.count(), &planes);
            let expected = Masks::new(&planes, &Device::Cpu).unwrap();
            let found = cuda::as_on_a_card(true, || {
                Masks::cut(&planes, &coverage, mode, &slots, &Device::Cpu).unwrap()
            });
            for (expected, found) in [
                (&expected.rows, &found.rows),
                (&expected.divisor, &found.divisor),
                (&expected.background, &found.background),
            ] {
                assert_eq!(expected.dims(), found.dims());
                let [expected, found] = [expected, found].map(|tensor| {
                    let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
                    values
                });
                let differences = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
                assert!(differences.fold(0.0, f32::max) < 1e-6, "{mode:?}");
            }
        }
    }

    #[test]
    fn a_mask_is_weakened_once_however_many_lie_above_it() {
        let mut masks = vec![vec![1.0, 1.0], vec![1.0, 0.0], vec![0.5, 0.0]];
        cover(&mut masks, 0.3);
        assert_eq!(masks, [vec![0.3, 1.0], vec![0.3, 0.0], vec![0.5, 0.0]]);
    }

    #[test]
    fn the_background_takes_what_regions_leave() {
        let size = LatentSize { height: 1, width: 2 };
        let regions: [&[f32]; 2] = [&[0.25, 1.0], &[0.5, 1.0]];
        let planes = MaskPlanes::new(size, 1, &regions);
        assert_eq!(planes.background(), [0.25, 0.0]);
        assert_eq!(planes.counts, [0.75, 2.0]);
    }
}
