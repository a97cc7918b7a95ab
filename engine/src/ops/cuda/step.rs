//! What a step of the stream does around the denoiser, in few launches: its batch, the average of its results, noise,
//! and the masks of all noise levels.
//!
//! The two tables that say what each row is are described beside the kernels, in `kernels.cu`.

use candle_core::{DType, Result, Shape, Tensor};

use super::{
    channels_first,
    operation::{
        Argument::{Input, Output, Real, Whole},
        Launch, Operation, Plan, run,
    },
};

/// Numbers of a row in each of its tables.
pub(crate) const ROW: usize = 8;
/// Numbers of a slot in its table of whole numbers, and in that of fractions.
pub(crate) const SLOT: (usize, usize) = (4, 2);

/// What rows are computed from, all in 32-bit floats: `[n, c, h, w]`, masks `[rows, 1, h, w]`, white and background
/// `[1, c, h, w]`, noise by slot `[T, c, h, w]`.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) latents: &'a Tensor,
    pub(crate) masks: &'a Tensor,
    pub(crate) white: &'a Tensor,
    pub(crate) background: &'a Tensor,
    pub(crate) stock: &'a Tensor,
}

impl<'a> Fields<'a> {
    fn list(self) -> [Option<&'a Tensor>; 5] {
        [self.latents, self.masks, self.white, self.background, self.stock].map(Some)
    }
}

/// What rows are: `[rows, 8]` whole numbers and as many fractions.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'a> {
    pub(crate) whole: &'a Tensor,
    pub(crate) real: &'a Tensor,
}

/// The latent of a row before it is rolled, as the kernels compute it.
struct RowTwin<'a> {
    /// Latents, masks, white, background, noise.
    fields: [&'a [f32]; 5],
    whole: &'a [f32],
    real: &'a [f32],
    channels: usize,
    area: usize,
}

impl RowTwin<'_> {
    fn whole(&self, row: usize, index: usize) -> usize {
        self.whole[row * ROW + index] as usize
    }

    fn real(&self, row: usize, index: usize) -> f32 {
        self.real[row * ROW + index]
    }

    fn plane(&self) -> usize {
        self.channels * self.area
    }

    /// `place` counts cells through all channels.
    fn latent(&self, row: usize, place: usize) -> f32 {
        let [latents, masks, white, background, stock] = self.fields;
        let x = latents[self.whole(row, 0) * self.plane() + place];
        let Some(mask) = self.whole(row, 2).checked_sub(1) else {
            return x;
        };
        let mask = masks[mask * self.area + place % self.area];
        let whiteness = self.real(row, 2);
        let clean = white[place] * whiteness + background[place] * (1.0 - whiteness);
        let noise = stock[self.whole(row, 1) * self.plane() + place];
        let around = clean * self.real(row, 0) + noise * self.real(row, 1);
        around * (1.0 - mask) + x * mask
    }
}

struct Rows {
    count: usize,
    channels: usize,
    height: usize,
    width: usize,
    dtype: DType,
}

/// The denoiser's batch: each row's latent, in its surroundings while it is denoised alone, rolled and scaled.
///
/// # Shapes
/// - returns `[rows, c, h, w]` in `dtype`, with channels-last strides
///
/// # Errors
/// If a tensor operation fails.
pub(crate) fn stream_rows(fields: Fields<'_>, tables: Tables<'_>, dtype: DType) -> Result<Tensor> {
    let (_, channels, height, width) = fields.latents.dims4()?;
    let operation = Rows {
        count: tables.whole.dim(0)?,
        channels,
        height,
        width,
        dtype,
    };
    let [latents, masks, white, background, stock] = fields.list();
    let inputs = [
        latents,
        masks,
        white,
        background,
        stock,
        Some(tables.whole),
        Some(tables.real),
    ];
    channels_first(&run(operation, &inputs)?)
}

impl Operation for Rows {
    const NAME: &'static str = "stream_rows";
    const IS_MIXED: bool = true;

    fn shape(&self) -> Shape {
        (self.count, self.height, self.width, self.channels).into()
    }

    fn result_type(&self) -> Option<DType> {
        Some(self.dtype)
    }

    fn format(&self) -> Option<DType> {
        Some(self.dtype)
    }

    fn plan(&self, _: DType) -> Plan {
        let mut arguments: Vec<_> = (0..7).map(Input).collect();
        arguments.push(Output);
        arguments.extend([self.count, self.channels, self.height, self.width].map(Whole));
        Launch::for_each("stream_rows", self.shape().elem_count(), arguments).into()
    }

    fn twin(&self, inputs: &[Option<Vec<f32>>]) -> Vec<f32> {
        let [
            Some(latents),
            Some(masks),
            Some(white),
            Some(background),
            Some(stock),
            Some(whole),
            Some(real),
        ] = inputs
        else {
            return Vec::new();
        };
        let (height, width) = (self.height, self.width);
        let row_of = RowTwin {
            fields: [latents, masks, white, background, stock],
            whole,
            real,
            channels: self.channels,
            area: height * width,
        };
        let mut y = vec![0.0; self.shape().elem_count()];
        for row in 0..self.count {
            let (down, right) = (row_of.whole(row, 4), row_of.whole(row, 5));
            for cell in 0..height * width {
                let (line, column) = (cell / width + down, cell % width + right);
                let rolled = line % height * width + column % width;
                for channel in 0..self.channels {
                    let x = row_of.latent(row, channel * height * width + cell);
                    y[(row * height * width + rolled) * self.channels + channel] = x * row_of.real(row, 3);
                }
            }
        }
        y
    }
}

/// What the results of rows become.
#[derive(Clone, Copy)]
pub(crate) struct Averaged<'a> {
    /// The denoiser's output for the whole batch, `[batch, c, h, w]`.
    pub(crate) predicted: &'a Tensor,
    /// `[slots, 4]` and `[slots, 2]`.
    pub(crate) slots: Tables<'a>,
    /// `[T, 1, h, w]`.
    pub(crate) divisors: &'a Tensor,
    /// `[T, 1, h, w]`.
    pub(crate) shares: &'a Tensor,
    /// What earlier calls gave.
    pub(crate) before: Option<&'a Tensor>,
    /// Whether more calls follow.
    pub(crate) is_last: bool,
    /// Scale of guidance, and factor of its negative side.
    pub(crate) guidance: Option<(f32, f32)>,
}

struct Average {
    slots: usize,
    channels: usize,
    height: usize,
    width: usize,
    /// From one channel of what was predicted to the next, and from one cell.
    strides: [usize; 2],
    format: DType,
    guidance: Option<(f32, f32)>,
    is_last: bool,
}

/// The rows' results averaged under their masks, over the background: `[slots, c, h, w]` in 32-bit floats.
///
/// # Errors
/// If a tensor operation fails.
pub(crate) fn stream_average(
    fields: Fields<'_>,
    tables: Tables<'_>,
    averaged: Averaged<'_>,
) -> Result<Tensor> {
    let (_, channels, height, width) = fields.latents.dims4()?;
    let last = averaged.predicted.permute((0, 2, 3, 1))?;
    // As it lies, if it is one of the two usual ways.
    let (predicted, strides) = if last.is_contiguous() {
        (last, [1, channels])
    } else {
        (averaged.predicted.contiguous()?, [height * width, 1])
    };
    let operation = Average {
        slots: averaged.slots.whole.dim(0)?,
        channels,
        height,
        width,
        strides,
        format: predicted.dtype(),
        guidance: averaged.guidance,
        is_last: averaged.is_last,
    };
    let mut inputs = fields.list().to_vec();
    inputs.extend(
        [
            &predicted,
            tables.whole,
            tables.real,
            averaged.slots.whole,
            averaged.slots.real,
            averaged.divisors,
            averaged.shares,
        ]
        .map(Some),
    );
    inputs.push(averaged.before);
    run(operation, &inputs)
}

impl Operation for Average {
    const NAME: &'static str = "stream_average";
    const IS_MIXED: bool = true;

    fn shape(&self) -> Shape {
        (self.slots, self.channels, self.height, self.width).into()
    }

    fn format(&self) -> Option<DType> {
        Some(self.format)
    }

    fn plan(&self, _: DType) -> Plan {
        let (scale, delta) = self.guidance.unwrap_or_default();
        let mut arguments: Vec<_> = (0..13).map(Input).collect();
        arguments.push(Output);
        arguments.extend(
            [
                self.slots,
                self.channels,
                self.height,
                self.width,
                self.strides[0],
                self.strides[1],
                self.guidance.is_some().into(),
                self.is_last.into(),
            ]
            .map(Whole),
        );
        arguments.extend([scale, delta].map(Real));
        Launch::for_each("stream_average", self.shape().elem_count(), arguments).into()
    }

    fn twin(&self, inputs: &[Option<Vec<f32>>]) -> Vec<f32> {
        let [
            Some(latents),
            Some(masks),
            Some(white),
            Some(background),
            Some(stock),
            Some(predicted),
            Some(whole),
            Some(real),
            Some(slot_whole),
            Some(slot_real),
            Some(divisors),
            Some(shares),
            before,
        ] = inputs
        else {
            return Vec::new();
        };
        let (height, width) = (self.height, self.width);
        let area = height * width;
        let row_of = RowTwin {
            fields: [latents, masks, white, background, stock],
            whole,
            real,
            channels: self.channels,
            area,
        };
        let plane = row_of.plane();
        let mut y = before.clone().unwrap_or_else(|| vec![0.0; self.slots * plane]);
        for (at, y) in y.iter_mut().enumerate() {
            let (slot, place) = (at / plane, at % plane);
            let (channel, cell) = (place / area, place % area);
            let [first, count, number, next] =
                [0, 1, 2, 3].map(|index| slot_whole[slot * SLOT.0 + index] as usize);
            for row in first..first + count {
                let x = row_of.latent(row, place);
                let line = (cell / width + row_of.whole(row, 4)) % height;
                let column = (cell % width + row_of.whole(row, 5)) % width;
                let noise = |batch_row: usize| {
                    let from = batch_row * plane
                        + channel * self.strides[0]
                        + (line * width + column) * self.strides[1];
                    x * row_of.real(row, 4) + predicted[from] * row_of.real(row, 5)
                };
                let mut estimate = noise(row_of.whole(row, 6));
                if let Some((scale, delta)) = self.guidance {
                    let away = match row_of.whole(row, 7).checked_sub(1) {
                        Some(negative) => noise(negative),
                        None => stock[row_of.whole(row, 1) * plane + place],
                    } * delta;
                    estimate = away + (estimate - away) * scale;
                }
                let result = x * row_of.real(row, 6) + estimate * row_of.real(row, 7);
                *y += result * masks[row_of.whole(row, 3) * area + cell];
            }
            if self.is_last {
                let mut behind = background[place];
                if let Some(next) = next.checked_sub(1) {
                    let [signal, noise] = [0, 1].map(|index| slot_real[slot * SLOT.1 + index]);
                    behind = behind * signal + stock[next * plane + place] * noise;
                }
                let share = shares[number * area + cell];
                *y = *y / divisors[number * area + cell] * (1.0 - share) + behind * share;
            }
        }
        y
    }
}

struct Noise {
    shape: Shape,
    latents: usize,
}

/// Latents with noise: each a share of itself and a share of the noise of a slot.
///
/// # Shapes
/// - `latents`: `[n, c, h, w]`, returned in the same shape
/// - `noise`: `[T, c, h, w]`
/// - `slots`: `[n]` whole numbers
/// - `shares`: `[n, 2]`, of latent and noise
///
/// # Errors
/// If a tensor operation fails.
pub(crate) fn stream_noise(
    latents: &Tensor,
    noise: &Tensor,
    slots: &Tensor,
    shares: &Tensor,
) -> Result<Tensor> {
    let operation = Noise {
        shape: latents.shape().clone(),
        latents: latents.dim(0)?,
    };
    run(
        operation,
        &[Some(latents), Some(noise), Some(slots), Some(shares)],
    )
}

impl Noise {
    fn values(&self) -> usize {
        self.shape.elem_count() / self.latents.max(1)
    }
}

impl Operation for Noise {
    const NAME: &'static str = "stream_noise";
    const IS_MIXED: bool = true;

    fn shape(&self) -> Shape {
        self.shape.clone()
    }

    fn plan(&self, _: DType) -> Plan {
        let mut arguments: Vec<_> = (0..4).map(Input).collect();
        arguments.extend([Output, Whole(self.latents), Whole(self.values())]);
        Launch::for_each("stream_noise", self.shape.elem_count(), arguments).into()
    }

    fn twin(&self, inputs: &[Option<Vec<f32>>]) -> Vec<f32> {
        let [Some(x), Some(noise), Some(slots), Some(shares)] = inputs else {
            return Vec::new();
        };
        let values = self.values();
        x.iter()
            .enumerate()
            .map(|(at, x)| {
                let latent = at / values;
                let noise = noise[slots[latent] as usize * values + at % values];
                x * shares[latent * 2] + noise * shares[latent * 2 + 1]
            })
            .collect()
    }
}

struct CutMasks {
    regions: usize,
    levels: usize,
    height: usize,
    width: usize,
    /// A bit for each level.
    soft: u32,
}

/// Coverage cut at every noise level.
pub(crate) struct Cut {
    /// `[levels * regions, 1, h, w]`.
    pub(crate) masks: Tensor,
    /// `[levels, 1, h, w]`: the masks' sum, 1 where there is none.
    pub(crate) divisors: Tensor,
    /// `[levels, 1, h, w]`: how much of the background shows.
    pub(crate) shares: Tensor,
}

/// Most noise levels of [`cut_masks`].
pub(crate) const MOST_LEVELS: usize = 31;

/// Cuts coverage at noise levels: a mask holds where the coverage is above its level, or rises from 0 at the next level
/// to 1 at its own where `is_soft` says so.
///
/// # Shapes
/// - `coverage`: `[regions, h, w]`, 0 to 1
/// - `levels`: `[n, 2]`, of at most [`MOST_LEVELS`]: a noise level and the next
///
/// # Errors
/// If there are too many levels, or a tensor operation fails.
pub(crate) fn cut_masks(coverage: &Tensor, levels: &Tensor, is_soft: &[bool]) -> Result<Cut> {
    let (regions, height, width) = coverage.dims3()?;
    let count = is_soft.len();
    if count > MOST_LEVELS || levels.dim(0)? != count {
        candle_core::bail!("masks cannot be cut at {count} levels");
    }
    let soft = is_soft.iter().enumerate();
    let operation = CutMasks {
        regions,
        levels: count,
        height,
        width,
        soft: soft.map(|(level, &is_soft)| u32::from(is_soft) << level).sum(),
    };
    let all = run(operation, &[Some(coverage), Some(levels)])?;
    Ok(Cut {
        masks: all.narrow(0, 0, count * regions)?,
        divisors: all.narrow(0, count * regions, count)?,
        shares: all.narrow(0, count * (regions + 1), count)?,
    })
}

impl Operation for CutMasks {
    const NAME: &'static str = "stream_masks";
    const IS_MIXED: bool = true;

    fn shape(&self) -> Shape {
        (self.levels * (self.regions + 2), 1, self.height, self.width).into()
    }

    fn plan(&self, _: DType) -> Plan {
        let area = self.height * self.width;
        let mut arguments = vec![Input(0), Input(1), Output];
        arguments.extend([self.regions, self.levels, area, self.soft as usize].map(Whole));
        Launch::for_each("stream_masks", self.levels * area, arguments).into()
    }

    fn twin(&self, inputs: &[Option<Vec<f32>>]) -> Vec<f32> {
        let [Some(coverage), Some(levels)] = inputs else {
            return Vec::new();
        };
        let area = self.height * self.width;
        let (mut masks, mut divisors, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for level in 0..self.levels {
            let [noise, next] = [levels[level * 2], levels[level * 2 + 1]];
            let mut sums = vec![0.0; area];
            for plane in coverage.chunks_exact(area) {
                for (value, sum) in plane.iter().zip(&mut sums) {
                    let mask = if self.soft >> level & 1 == 1 {
                        ((value - next) / (noise - next)).clamp(0.0, 1.0)
                    } else {
                        f32::from(u8::from(*value > noise))
                    };
                    masks.push(mask);
                    *sum += mask;
                }
            }
            divisors.extend(sums.iter().map(|&sum| if sum > 0.0 { sum } else { 1.0 }));
            shares.extend(sums.iter().map(|sum| (1.0 - sum).clamp(0.0, 1.0)));
        }
        [masks, divisors, shares].concat()
    }
}
