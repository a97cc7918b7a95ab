//! A step on a card that has our kernels: all that is done around a call of the denoiser, in two launches.
//!
//! It computes what [`super::step`] does operation by operation, from the same cells and the same tables of the schedule.

use candle_core::{Device, Result, Tensor};

use super::step::{Batch, Cell, Painting, StepOptions, bootstrap_mix, mask_row, predicted, scale_and_delta};
use crate::{
    models::traits::Denoiser,
    ops::cuda::{self, Averaged, Fields, ROW, Tables},
    schedule::{Noising, SlotTable},
};

/// As [`super::step::advance`], for at least one cell.
///
/// # Errors
/// If a tensor operation fails, or guidance needs a negative prompt that a region lacks.
pub(super) fn advance(
    table: &SlotTable,
    painting: &Painting,
    slots: &[usize],
    cells: &[Cell],
    latents: &Tensor,
    stock: &Tensor,
    denoiser: &mut dyn Denoiser,
    mut options: StepOptions<'_>,
) -> Result<Tensor> {
    let fields = Fields {
        latents,
        masks: &painting.masks.rows,
        white: &painting.white,
        background: &painting.background,
        stock,
    };
    let device = latents.device();
    let mut results = None;
    let calls: Vec<&[Cell]> = cells.chunks(options.max_rows.max(1)).collect();
    for (number, cells) in calls.iter().enumerate() {
        let batch = Batch::new(painting, cells);
        let (whole, real) = rows_of(table, painting, &batch, device)?;
        let tables = Tables {
            whole: &whole,
            real: &real,
        };
        let input = cuda::stream_rows(fields, tables, options.dtype)?;
        let output = predicted(table, painting, &batch, &input, denoiser, &mut options)?;
        // Of the batch, those rows that the average is made of come last.
        let negative = batch.negative.len();
        let own = Tables {
            whole: &whole.narrow(0, negative, cells.len())?,
            real: &real.narrow(0, negative, cells.len())?,
        };
        let (slot_whole, slot_real) = slots_of(table, slots, cells, device)?;
        let averaged = Averaged {
            predicted: &output,
            slots: Tables {
                whole: &slot_whole,
                real: &slot_real,
            },
            divisors: &painting.masks.divisor,
            shares: &painting.masks.background,
            before: results.as_ref(),
            is_last: number + 1 == calls.len(),
            guidance: scale_and_delta(painting.guidance),
        };
        results = Some(cuda::stream_average(fields, own, averaged)?);
    }
    results.ok_or_else(|| candle_core::Error::msg("a step without rows"))
}

/// The tables of a batch's rows.
fn rows_of(
    table: &SlotTable,
    painting: &Painting,
    batch: &Batch<'_>,
    device: &Device,
) -> Result<(Tensor, Tensor)> {
    let size = painting.masks.size;
    let is_centred = painting.bootstrap_steps >= 1;
    let count = batch.rows.len();
    let (mut whole, mut real) = (Vec::with_capacity(count * ROW), Vec::with_capacity(count * ROW));
    for (place, &row) in batch.rows.iter().enumerate() {
        let cell = batch.cells[row];
        let slot = &table.slots()[cell.slot];
        let mask = mask_row(painting, cell);
        let shift = painting.masks.shifts[mask];
        let rolled = |shift: i32, side: usize| (-shift).rem_euclid(side as i32) as usize;
        let (down, right) = if is_centred {
            (rolled(shift.rows, size.height), rolled(shift.columns, size.width))
        } else {
            (0, 0)
        };
        let is_alone = cell.slot < painting.bootstrap_steps;
        let negative = batch.negative.iter().position(|&other| other == row);
        whole.extend(
            [
                cell.position,
                cell.slot,
                if is_alone { mask + 1 } else { 0 },
                mask,
                down,
                right,
                place,
                negative.map_or(0, |negative| negative + 1),
            ]
            .map(|number| number as u32),
        );
        real.extend(
            [
                slot.noising.signal,
                slot.noising.noise,
                bootstrap_mix(painting.bootstrap_mix_steps, cell.slot),
                slot.input_scale,
                slot.epsilon.latent,
                slot.epsilon.prediction,
                slot.result.latent,
                slot.result.prediction,
            ]
            .map(|number| number as f32),
        );
    }
    Ok((
        Tensor::from_vec(whole, (count, ROW), device)?,
        Tensor::from_vec(real, (count, ROW), device)?,
    ))
}

/// The tables of the slots: which rows are theirs, and what lies behind them.
fn slots_of(table: &SlotTable, slots: &[usize], cells: &[Cell], device: &Device) -> Result<(Tensor, Tensor)> {
    let (mut whole, mut real) = (Vec::new(), Vec::new());
    for (position, &slot) in slots.iter().enumerate() {
        // Cells come position by position.
        let first = cells.iter().take_while(|cell| cell.position < position).count();
        let count = cells.iter().filter(|cell| cell.position == position).count();
        let behind = table.slots()[slot].background;
        let has_noise = slot + 1 < table.count() && behind != Noising::NONE;
        let noise = if has_noise { slot + 2 } else { 0 };
        whole.extend([first, count, slot, noise].map(|number| number as u32));
        real.extend([behind.signal, behind.noise].map(|number| number as f32));
    }
    Ok((
        Tensor::from_vec(whole, (slots.len(), 4), device)?,
        Tensor::from_vec(real, (slots.len(), 2), device)?,
    ))
}
