//! One step of the stream for any of its noise levels: the method itself.
//!
//! [`advance`] takes the latents of some slots and gives their averaged results. It holds no state, so that the stream
//! batch (all slots at once), sequential passes (one slot after the other) and the reference's driver share it.

use candle_core::{DType, Device, Result, Tensor};

use super::{
    centering::{from_center, to_center},
    fused,
    masks::{LatentSize, Masks},
};
use crate::{
    api::{Guidance, RegionCrop},
    device::keep_uploads,
    models::traits::{Denoiser, ModelSpec, PreparedPrompt, Row},
    ops::cuda,
    schedule::{Combination, SlotTable},
};

/// A region's prompts as the denoiser wants them.
#[derive(Clone)]
pub struct RegionPrompt {
    /// What it shows.
    pub positive: PreparedPrompt,
    /// What it must not show; needed by guidance that computes a negative side.
    pub negative: Option<PreparedPrompt>,
}

/// Everything that the canvas shows, ready for the denoiser.
#[derive(Clone)]
pub struct Painting {
    /// Masks of all regions at all slots.
    pub masks: Masks,
    /// One per region.
    pub prompts: Vec<RegionPrompt>,
    /// The picture behind everything, `[1, c, h, w]`.
    pub background: Tensor,
    /// White, `[1, c, h, w]`.
    pub white: Tensor,
    /// Steps in which each region is denoised alone before white.
    pub bootstrap_steps: usize,
    /// How many of the first steps mix white into the background.
    pub bootstrap_mix_steps: f64,
    /// How the negative prompts take part.
    pub guidance: Guidance,
}

/// Which rows are given to the denoiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowChoice {
    /// Those that change the result.
    Needed,
    /// All that the reference computes, also those under empty masks.
    All,
}

/// How a step is computed.
pub struct StepOptions<'a> {
    /// Which rows.
    pub rows: RowChoice,
    /// Most rows in one call of the denoiser.
    pub max_rows: usize,
    /// Number format of the denoiser.
    pub dtype: DType,
    /// Rows are computed on a part of the latent around their mask, where this allows it; this choice changes the result.
    pub crop: Option<Crop>,
    /// Sees what goes in and out of the denoiser.
    pub probe: Option<&'a mut (dyn Probe + 'a)>,
}

/// On how much of the latent a region's row is computed, instead of all of it.
///
/// It takes rows that are rolled so that their mask lies in the middle: without bootstrapping there are none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crop {
    /// Cells around a mask's bounding box.
    pub margin: usize,
    /// Fewest cells on a side.
    pub least: usize,
    /// Most cells of a part, as a share of the latent's; larger parts are not worth it.
    pub most_share: f64,
}

impl Crop {
    /// Sides are multiples of this, so that every denoiser can halve them.
    const STEP: usize = 8;

    /// The rule that a setting stands for.
    pub fn for_setting(setting: RegionCrop, spec: &ModelSpec) -> Option<Self> {
        let native = (spec.native_side as usize).div_ceil(spec.downscale.max(1));
        let crop = Self {
            margin: 4,
            least: native,
            most_share: 0.6,
        };
        match setting {
            RegionCrop::Off => None,
            RegionCrop::Auto => Some(crop),
            RegionCrop::On => Some(Self {
                least: native.div_ceil(2),
                ..crop
            }),
        }
    }

    /// The part for a mask of this extent.
    fn of(self, extent: LatentSize, latent: LatentSize) -> LatentSize {
        let side = |extent: usize, latent: usize| {
            (extent + 2 * self.margin)
                .max(self.least)
                .next_multiple_of(Self::STEP)
                .min(latent)
        };
        let part = LatentSize {
            height: side(extent.height, latent.height),
            width: side(extent.width, latent.width),
        };
        if part.area() as f64 <= self.most_share * latent.area() as f64 {
            part
        } else {
            latent
        }
    }
}

/// Looks at the calls of the denoiser.
pub trait Probe {
    /// One call: the batch, its timesteps, and what was predicted.
    fn predicted(&mut self, input: &Tensor, timesteps: &[f64], output: &Tensor);
}

/// Weight of white in the bootstrap background of a slot, 0 to 1.
pub fn bootstrap_mix(mix_steps: f64, slot: usize) -> f64 {
    (mix_steps - slot as f64).clamp(0.0, 1.0)
}

impl Painting {
    /// What regions are bootstrapped on in a slot, without noise: `[1, c, h, w]`.
    ///
    /// # Errors
    /// If white and background have different shapes.
    pub fn bootstrap_latent(&self, slot: usize) -> Result<Tensor> {
        let mix = bootstrap_mix(self.bootstrap_mix_steps, slot);
        (&self.white * mix)? + (&self.background * (1.0 - mix))?
    }

    /// The rows of a slot that the result depends on: regions with paint at its level.
    fn painted_regions(&self, slot: usize) -> impl Iterator<Item = usize> + '_ {
        let first = slot * self.masks.regions;
        (0..self.masks.regions).filter(move |region| self.masks.is_painted[first + region])
    }

    /// Rows that one pass over some slots gives to the denoiser, those of guidance included.
    pub fn rows_needed(&self, slots: impl IntoIterator<Item = usize>) -> usize {
        slots
            .into_iter()
            .map(|slot| {
                let rows = self.painted_regions(slot).count();
                if has_negative_row(self.guidance, slot) && guides(self.guidance) {
                    2 * rows
                } else {
                    rows
                }
            })
            .sum()
    }
}

/// One row of the batch: a region at a slot.
#[derive(Clone, Copy)]
pub(super) struct Cell {
    /// Position of the slot in the list that [`advance`] was given.
    pub(super) position: usize,
    pub(super) slot: usize,
    pub(super) region: usize,
}

/// One call of the denoiser.
pub(super) struct Batch<'a> {
    pub(super) cells: &'a [Cell],
    /// Cells that are computed with their negative prompt too, by their place in `cells`.
    pub(super) negative: Vec<usize>,
    /// The denoiser's rows, by their place in `cells`: negative ones first, then all cells.
    pub(super) rows: Vec<usize>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(painting: &Painting, cells: &'a [Cell]) -> Self {
        let is_wanted = guides(painting.guidance);
        let negative: Vec<usize> = (0..cells.len())
            .filter(|&row| is_wanted && has_negative_row(painting.guidance, cells[row].slot))
            .collect();
        Self {
            cells,
            rows: negative.iter().copied().chain(0..cells.len()).collect(),
            negative,
        }
    }
}

/// Denoises the latents of some slots, region by region, and averages the results under the masks.
///
/// # Shapes
/// - `latents`: `[n, c, h, w]`, the latents of `slots` in this order
/// - `stock`: `[T, c, h, w]`, the noise of bootstrapping, of the background and of guidance without a negative side
/// - returns `[n, c, h, w]`: the predicted clean latents (LCM) or the latents at the next level (Euler)
///
/// # Errors
/// If a tensor operation fails, or guidance needs a negative prompt that a region lacks.
pub fn advance(
    table: &SlotTable,
    painting: &Painting,
    slots: &[usize],
    latents: &Tensor,
    stock: &Tensor,
    denoiser: &mut dyn Denoiser,
    mut options: StepOptions<'_>,
) -> Result<Tensor> {
    let device = latents.device();
    let cells = choose_cells(painting, slots, options.rows);
    if cuda::are_used_on(device) && !cells.is_empty() {
        return fused::advance(table, painting, slots, &cells, latents, stock, denoiser, options);
    }
    let _uploads = keep_uploads(device);
    let mut sums = latents.zeros_like()?;
    for cells in cells.chunks(options.max_rows.max(1)) {
        let x = bootstrapped(table, painting, latents, stock, cells)?; // [rows, c, h, w]
        let results = denoised(table, painting, &x, stock, cells, denoiser, &mut options)?;
        let masks = painting
            .masks
            .rows
            .index_select(&mask_rows(painting, cells, device)?, 0)?;
        let positions = indexes(cells.iter().map(|cell| cell.position), device)?;
        sums = sums.index_add(&positions, &results.broadcast_mul(&masks)?, 0)?;
    }
    let chosen = indexes(slots.iter().copied(), device)?;
    let average = sums.broadcast_div(&painting.masks.divisor.index_select(&chosen, 0)?)?;
    let share = painting.masks.background.index_select(&chosen, 0)?; // [n, 1, h, w]
    let backgrounds = slots
        .iter()
        .map(|&slot| noised_background(table, painting, slot, stock))
        .collect::<Result<Vec<_>>>()?;
    let backgrounds = Tensor::cat(&backgrounds, 0)?; // [n, c, h, w]
    average.broadcast_mul(&share.affine(-1.0, 1.0)?)? + backgrounds.broadcast_mul(&share)?
}

/// The background as it shows in a slot's result.
fn noised_background(table: &SlotTable, painting: &Painting, slot: usize, stock: &Tensor) -> Result<Tensor> {
    let noising = table.slots()[slot].background;
    if slot + 1 < table.count() {
        noising.apply(&painting.background, &stock.narrow(0, slot + 1, 1)?)
    } else {
        Ok(painting.background.clone())
    }
}

fn choose_cells(painting: &Painting, slots: &[usize], choice: RowChoice) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (position, &slot) in slots.iter().enumerate() {
        let cell = |region| Cell {
            position,
            slot,
            region,
        };
        match choice {
            RowChoice::Needed => cells.extend(painting.painted_regions(slot).map(cell)),
            RowChoice::All => cells.extend((0..painting.masks.regions).map(cell)),
        }
    }
    cells
}

/// The latents of the rows. In the first slots a region's surroundings are replaced by white or background.
fn bootstrapped(
    table: &SlotTable,
    painting: &Painting,
    latents: &Tensor,
    stock: &Tensor,
    cells: &[Cell],
) -> Result<Tensor> {
    let device = latents.device();
    let x = latents.index_select(&indexes(cells.iter().map(|cell| cell.position), device)?, 0)?;
    // Cells come slot by slot, so that those to be bootstrapped are the first ones of the reference's order, but a
    // sequential pass may hold any slot: split where bootstrapping ends.
    let count = cells
        .iter()
        .take_while(|cell| cell.slot < painting.bootstrap_steps)
        .count();
    if count == 0 {
        return Ok(x);
    }
    let masks = painting
        .masks
        .rows
        .index_select(&mask_rows(painting, &cells[..count], device)?, 0)?;
    let surroundings = cells[..count]
        .chunk_by(|a, b| a.slot == b.slot)
        .map(|cells| {
            let slot = cells[0].slot;
            let clean = painting.bootstrap_latent(slot)?;
            let noised = table.slots()[slot]
                .noising
                .apply(&clean, &stock.narrow(0, slot, 1)?)?;
            noised.repeat((cells.len(), 1, 1, 1))
        })
        .collect::<Result<Vec<_>>>()?;
    let surroundings = Tensor::cat(&surroundings, 0)?; // [count, c, h, w]
    let alone = (surroundings.broadcast_mul(&masks.affine(-1.0, 1.0)?)?
        + x.narrow(0, 0, count)?.broadcast_mul(&masks)?)?;
    if count == cells.len() {
        Ok(alone)
    } else {
        Tensor::cat(&[alone, x.narrow(0, count, cells.len() - count)?], 0)
    }
}

/// The results of the rows, before averaging: `[rows, c, h, w]`.
fn denoised(
    table: &SlotTable,
    painting: &Painting,
    x: &Tensor,
    stock: &Tensor,
    cells: &[Cell],
    denoiser: &mut dyn Denoiser,
    options: &mut StepOptions<'_>,
) -> Result<Tensor> {
    let device = x.device();
    let guided = guides(painting.guidance);
    let batch = Batch::new(painting, cells);
    let Batch { negative, rows, .. } = &batch;
    let slot_of = |row: usize| &table.slots()[cells[row].slot];

    let mut input = if negative.is_empty() {
        x.clone()
    } else {
        Tensor::cat(
            &[
                &x.index_select(&indexes(negative.iter().copied(), device)?, 0)?,
                x,
            ],
            0,
        )?
    };
    let is_centred = painting.bootstrap_steps >= 1;
    let shifts: Vec<_> = rows
        .iter()
        .map(|&row| painting.masks.shifts[mask_row(painting, cells[row])])
        .collect();
    if is_centred {
        input = to_center(&input, &shifts)?;
    }
    if rows.iter().any(|&row| slot_of(row).input_scale != 1.0) {
        let scales = per_row(rows.iter().map(|&row| slot_of(row).input_scale), device)?;
        input = input.broadcast_mul(&scales)?;
    }
    let output = predicted(
        table,
        painting,
        &batch,
        &input.to_dtype(options.dtype)?,
        denoiser,
        options,
    )?;
    let mut output = output.to_dtype(DType::F32)?;
    if is_centred {
        output = from_center(&output, &shifts)?;
    }

    let epsilon_of = |output: &Tensor, rows: &[usize], x: &Tensor| {
        let slots = rows.iter().map(|&row| slot_of(row));
        combined(x, output, slots.map(|slot| slot.epsilon), device)
    };
    let all: Vec<usize> = (0..cells.len()).collect();
    let mut epsilon = epsilon_of(&output.narrow(0, negative.len(), cells.len())?, &all, x)?;
    if guided {
        let negative_epsilon = if negative.is_empty() {
            None
        } else {
            let x = x.index_select(&indexes(negative.iter().copied(), device)?, 0)?;
            Some(epsilon_of(&output.narrow(0, 0, negative.len())?, negative, &x)?)
        };
        epsilon = guided_epsilon(
            painting.guidance,
            &epsilon,
            negative_epsilon,
            stock,
            cells,
            negative,
        )?;
    }
    combined(
        x,
        &epsilon,
        cells.iter().map(|cell| table.slots()[cell.slot].result),
        device,
    )
}

/// What the denoiser makes of a batch, `[batch, c, h, w]` like its input.
///
/// # Errors
/// If guidance needs a negative prompt that a region lacks, or a tensor operation fails.
pub(super) fn predicted(
    table: &SlotTable,
    painting: &Painting,
    batch: &Batch<'_>,
    input: &Tensor,
    denoiser: &mut dyn Denoiser,
    options: &mut StepOptions<'_>,
) -> Result<Tensor> {
    let cell_of = |row: usize| batch.cells[row];
    let rows = batch
        .rows
        .iter()
        .enumerate()
        .map(|(place, &row)| {
            let prompt = &painting.prompts[cell_of(row).region];
            let prompt = if place < batch.negative.len() {
                prompt.negative.as_ref().ok_or_else(|| {
                    candle_core::Error::Msg("guidance needs a negative prompt for every region".to_owned())
                })?
            } else {
                &prompt.positive
            };
            Ok(Row {
                timestep: table.slots()[cell_of(row).slot].timestep.0,
                prompt,
            })
        })
        .collect::<Result<Vec<Row<'_>>>>()?;
    let output = match options.crop {
        Some(crop) if painting.bootstrap_steps >= 1 => {
            let parts: Vec<LatentSize> = batch
                .rows
                .iter()
                .map(|&row| {
                    let extent = painting.masks.extents[mask_row(painting, cell_of(row))];
                    crop.of(extent, painting.masks.size)
                })
                .collect();
            predicted_in_parts(denoiser, &input.contiguous()?, &rows, &parts)?
        }
        _ => denoiser.predict(input, &rows)?,
    };
    if let Some(probe) = options.probe.as_mut() {
        let timesteps: Vec<f64> = rows.iter().map(|row| row.timestep).collect();
        probe.predicted(input, &timesteps, &output);
    }
    Ok(output)
}

/// Predicts each row on the middle of its latent alone, of the size in `parts`; nothing is predicted around it. Rows of one
/// size make a call.
fn predicted_in_parts(
    denoiser: &mut dyn Denoiser,
    input: &Tensor,
    rows: &[Row<'_>],
    parts: &[LatentSize],
) -> Result<Tensor> {
    let (.., h, w) = input.dims4()?;
    let mut sizes: Vec<(usize, usize)> = parts.iter().map(|part| (part.height, part.width)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let (mut outputs, mut order) = (Vec::new(), Vec::new());
    for (height, width) in sizes {
        let members: Vec<usize> = (0..parts.len())
            .filter(|&row| (parts[row].height, parts[row].width) == (height, width))
            .collect();
        let (top, left) = (h / 2 - height / 2, w / 2 - width / 2);
        let part = input
            .index_select(&indexes(members.iter().copied(), input.device())?, 0)?
            .narrow(2, top, height)?
            .narrow(3, left, width)?
            .contiguous()?;
        let own: Vec<Row<'_>> = members.iter().map(|&row| rows[row].clone()).collect();
        let output = denoiser.predict(&part, &own)?;
        outputs.push(output.pad_with_zeros(2, top, h - top - height)?.pad_with_zeros(
            3,
            left,
            w - left - width,
        )?);
        order.extend(members);
    }
    let places = (0..order.len()).map(|row| order.iter().position(|&member| member == row).unwrap_or(row));
    Tensor::cat(&outputs, 0)?.index_select(&indexes(places, input.device())?, 0)
}

/// Pushes the estimated noise away from its negative side.
fn guided_epsilon(
    guidance: Guidance,
    epsilon: &Tensor,
    negative: Option<Tensor>,
    stock: &Tensor,
    cells: &[Cell],
    negative_cells: &[usize],
) -> Result<Tensor> {
    let device = epsilon.device();
    let (scale, away) = match guidance {
        Guidance::None => return Ok(epsilon.clone()),
        Guidance::Full { scale } => (scale, negative.unwrap_or_else(|| epsilon.clone())),
        Guidance::SelfNegative { scale, delta } | Guidance::Initialize { scale, delta } => {
            let stock = stock.index_select(&indexes(cells.iter().map(|cell| cell.slot), device)?, 0)?;
            let away = match negative {
                None => stock,
                Some(negative) => {
                    // Rows with a computed negative side take it, the others their stock noise.
                    let computed = negative_cells.len();
                    let sources = Tensor::cat(&[&negative, &stock], 0)?;
                    let picks = (0..cells.len()).map(|row| {
                        negative_cells
                            .iter()
                            .position(|&cell| cell == row)
                            .unwrap_or(computed + row)
                    });
                    sources.index_select(&indexes(picks, device)?, 0)?
                }
            };
            (scale, (away * f64::from(delta))?)
        }
    };
    &away + ((epsilon - &away)? * f64::from(scale))?
}

/// Scale of guidance and factor of its negative side, if guidance changes anything.
pub(super) fn scale_and_delta(guidance: Guidance) -> Option<(f32, f32)> {
    let pair = match guidance {
        Guidance::None => return None,
        Guidance::Full { scale } => (scale, 1.0),
        Guidance::SelfNegative { scale, delta } | Guidance::Initialize { scale, delta } => (scale, delta),
    };
    guides(guidance).then_some(pair)
}

/// Whether guidance changes anything.
fn guides(guidance: Guidance) -> bool {
    match guidance {
        Guidance::None => false,
        Guidance::Full { scale }
        | Guidance::SelfNegative { scale, .. }
        | Guidance::Initialize { scale, .. } => scale > 1.0,
    }
}

/// Whether a row of this slot is computed with its negative prompt too.
fn has_negative_row(guidance: Guidance, slot: usize) -> bool {
    match guidance {
        Guidance::None | Guidance::SelfNegative { .. } => false,
        Guidance::Full { .. } => true,
        Guidance::Initialize { .. } => slot == 0,
    }
}

pub(super) fn mask_row(painting: &Painting, cell: Cell) -> usize {
    cell.slot * painting.masks.regions + cell.region
}

fn mask_rows(painting: &Painting, cells: &[Cell], device: &Device) -> Result<Tensor> {
    indexes(cells.iter().map(|&cell| mask_row(painting, cell)), device)
}

/// `latent * a + prediction * b` with a pair of weights for each row.
fn combined(
    latents: &Tensor,
    predictions: &Tensor,
    weights: impl Iterator<Item = Combination> + Clone,
    device: &Device,
) -> Result<Tensor> {
    if weights.clone().all(|weights| weights == Combination::PREDICTION) {
        return Ok(predictions.clone());
    }
    let of_latent = per_row(weights.clone().map(|weights| weights.latent), device)?;
    let of_prediction = per_row(weights.map(|weights| weights.prediction), device)?;
    latents.broadcast_mul(&of_latent)? + predictions.broadcast_mul(&of_prediction)?
}

/// `[rows, 1, 1, 1]`.
fn per_row(values: impl Iterator<Item = f64>, device: &Device) -> Result<Tensor> {
    let values: Vec<f32> = values.map(|value| value as f32).collect();
    let count = values.len();
    Tensor::from_vec(values, (count, 1, 1, 1), device)
}

fn indexes(values: impl Iterator<Item = usize>, device: &Device) -> Result<Tensor> {
    let values: Vec<u32> = values.map(|value| value as u32).collect();
    let count = values.len();
    Tensor::from_vec(values, count, device)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::models::traits::Conditioning;

    /// Doubles what it sees, and adds each row's prompt.
    struct Doubling;

    impl Denoiser for Doubling {
        fn prepare(&self, _conditioning: &Conditioning) -> Result<PreparedPrompt> {
            Ok(PreparedPrompt(Arc::new(0.0_f64)))
        }

        fn predict(&mut self, latents: &Tensor, rows: &[Row<'_>]) -> Result<Tensor> {
            let added = rows
                .iter()
                .map(|row| *row.prompt.0.downcast_ref::<f64>().unwrap());
            (latents * 2.0)?.broadcast_add(&per_row(added, latents.device())?)
        }
    }

    #[test]
    fn parts_of_rows_are_predicted_in_their_place() {
        let (h, w) = (17, 24);
        let input = Tensor::randn(0_f32, 1.0, (4, 2, h, w), &Device::Cpu).unwrap();
        let prompts = [10.0, 20.0, 30.0, 40.0_f64].map(|value| PreparedPrompt(Arc::new(value)));
        let rows: Vec<Row<'_>> = prompts
            .iter()
            .map(|prompt| Row {
                timestep: 1.0,
                prompt,
            })
            .collect();
        let parts = [(16, 8), (17, 24), (8, 8), (16, 8)].map(|(height, width)| LatentSize { height, width });
        let output = predicted_in_parts(&mut Doubling, &input, &rows, &parts).unwrap();
        let whole = Doubling.predict(&input, &rows).unwrap();
        let [output, whole] = [output, whole].map(|tensor| {
            let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
            values
        });
        for (index, (value, expected)) in output.iter().zip(&whole).enumerate() {
            let (row, y, x) = (index / (2 * h * w), index / w % h, index % w);
            let LatentSize { height, width } = parts[row];
            let (top, left) = (h / 2 - height / 2, w / 2 - width / 2);
            let is_inside = (top..top + height).contains(&y) && (left..left + width).contains(&x);
            assert_eq!(
                *value,
                if is_inside { *expected } else { 0.0 },
                "row {row} at {y}, {x}"
            );
        }
    }

    #[test]
    fn parts_cover_their_mask_and_are_not_larger_than_worth_it() {
        let crop = Crop {
            margin: 3,
            least: 16,
            most_share: 0.5,
        };
        let size = |height, width| LatentSize { height, width };
        assert_eq!(crop.of(size(1, 1), size(64, 64)), size(16, 16));
        assert_eq!(crop.of(size(20, 10), size(64, 64)), size(32, 16));
        assert_eq!(crop.of(size(50, 10), size(64, 20)), size(64, 20));
        assert_eq!(crop.of(size(60, 60), size(64, 64)), size(64, 64));
    }
}
