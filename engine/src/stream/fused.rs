//! A step on a card that has our kernels: all that is done around a call of the denoiser, in two launches.
//!
//! It computes what [`super::step`] does operation by operation, from the same cells and the same tables of the schedule.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use parking_lot::Mutex;

use super::step::{Batch, Cell, Painting, StepOptions, bootstrap_mix, mask_row, predicted, scale_and_delta};
use crate::{
    device::keep_uploads,
    models::traits::Denoiser,
    ops::cuda::{self, Averaged, Fields, ROW, Tables},
    schedule::{Noising, SlotTable},
};

/// Tables of rows that are kept: those of two whole runs through five levels whose rows come in six calls each.
const MOST_TABLES: usize = 64;

/// Tables of rows on the device, the newest last, with what stands in them.
///
/// They hold where masks lie, so that there are ever new ones while somebody paints. What candle keeps of uploads it keeps
/// as long as the thread lives; these go with their masks.
#[derive(Clone, Debug, Default)]
pub(super) struct RowTables(Arc<Mutex<Vec<RowTable>>>);

#[derive(Debug)]
struct RowTable {
    numbers: (Vec<u32>, Vec<f32>),
    uploaded: (Tensor, Tensor),
}

impl RowTables {
    /// Tables with these numbers, `ROW` in a row of each.
    fn on_device(&self, numbers: (Vec<u32>, Vec<f32>), device: &Device) -> Result<(Tensor, Tensor)> {
        let mut tables = self.0.lock();
        if let Some(known) = tables.iter().find(|known| known.numbers == numbers) {
            return Ok(known.uploaded.clone());
        }
        let shape = (numbers.0.len() / ROW, ROW);
        let uploaded = (
            Tensor::from_slice(&numbers.0, shape, device)?,
            Tensor::from_slice(&numbers.1, shape, device)?,
        );
        if tables.len() >= MOST_TABLES {
            tables.remove(0);
        }
        tables.push(RowTable {
            numbers,
            uploaded: uploaded.clone(),
        });
        Ok(uploaded)
    }
}

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
    let calls = cells
        .chunks(options.max_rows.max(1))
        .map(|cells| {
            let batch = Batch::new(painting, cells);
            let tables = rows_of(table, painting, &batch, device)?;
            Ok((cells, batch, tables))
        })
        .collect::<Result<Vec<_>>>()?;
    // Only now: see `RowTables`.
    let _uploads = keep_uploads(device);
    for (number, (cells, batch, (whole, real))) in calls.iter().enumerate() {
        let tables = Tables { whole, real };
        let input = cuda::stream_rows(fields, tables, options.dtype)?;
        let output = predicted(table, painting, batch, &input, denoiser, &mut options)?;
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
    painting.masks.tables.on_device((whole, real), device)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_uploaded_once_and_go_with_their_masks() {
        let (whole, real) = (vec![3_u32; 2 * ROW], vec![0.5_f32; 2 * ROW]);
        let tables = RowTables::default();
        let upload = |first: u32| {
            let mut whole = whole.clone();
            whole[0] = first;
            tables.on_device((whole, real.clone()), &Device::Cpu).unwrap()
        };
        let first = upload(0);
        assert_eq!(first.0.dims(), [2, ROW]);
        assert_eq!(upload(0).0.id(), first.0.id());
        assert_eq!(upload(0).1.id(), first.1.id());
        assert_ne!(upload(1).0.id(), first.0.id());
        for other in 0..3 * MOST_TABLES as u32 {
            upload(other);
        }
        assert_eq!(tables.0.lock().len(), MOST_TABLES);
    }
}
