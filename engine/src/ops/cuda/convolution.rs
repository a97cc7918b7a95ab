//! Channels-last convolution with everything that follows it: bias, shortcut, nonlinearity.

use candle_core::{DType, Result, Shape, Tensor};

use super::{
    channels_first, channels_last,
    operation::{
        Argument::{self, Input, Nothing, Output, Scratch, Whole},
        Launch, Operation, Plan, run,
    },
};

/// Pixels of the result that a block computes.
const BLOCK_PIXELS: usize = 128;
/// Input channels of a slice, in the kernel that takes whole ones.
const SLICE: usize = 32;
/// Blocks that keep a card busy. Fewer share the inner dimension out among more of them.
const BUSY: usize = 128;
/// Slices that are worth a block of their own.
const LEAST_SHARE: usize = 8;
/// Most parts of a result that are kept to be added up.
const MOST_PARTS: usize = 16;

/// A square convolution of pictures of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Convolution {
    /// Side of the kernel.
    pub(crate) kernel: usize,
    /// Pixels between two results.
    pub(crate) stride: usize,
    /// Zeros above and to the left.
    pub(crate) padding_before: usize,
    /// Zeros below and to the right.
    pub(crate) padding_after: usize,
    /// What is applied to the result.
    pub(crate) end: End,
}

/// The last thing that happens to a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing.
    Plain = 0,
    /// Negative values become 0.
    Relu = 1,
    /// `x * sigmoid(x)`.
    Silu = 2,
}

struct Convolve {
    convolution: Convolution,
    pictures: usize,
    /// Height and width as stored, and after repeating pixels.
    stored: (usize, usize),
    seen: (usize, usize),
    in_channels: usize,
    out_channels: usize,
    bias_stride: usize,
}

/// A weight `[out, in, k, k]` as the kernels want it: `[out, k, k, in]`.
///
/// # Errors
/// If a tensor operation fails.
pub(crate) fn packed_weight(weight: &Tensor) -> Result<Tensor> {
    channels_last(weight)
}

/// Convolves pictures, as if each pixel was repeated first until they have `size` (height, width).
///
/// # Shapes
/// - `x`: `[b, c, h, w]`
/// - `weight`: see [`packed_weight`]
/// - `bias`: `[c']`, or `[b, c']` with one for each picture
/// - `residual`: `[b, c', h', w']`, added before the end
/// - returns `[b, c', h', w']` with channels-last strides
///
/// # Errors
/// If shapes do not fit, or the card has no room.
pub(crate) fn convolve(
    convolution: Convolution,
    x: &Tensor,
    size: Option<(usize, usize)>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let (pictures, in_channels, height, width) = x.dims4()?;
    let (out_channels, kernel, _, expected) = weight.dims4()?;
    let seen = size.unwrap_or((height, width));
    let padded = seen.0.min(seen.1) + convolution.padding_before + convolution.padding_after;
    if expected != in_channels || kernel != convolution.kernel || padded < kernel {
        candle_core::bail!(
            "a convolution of {:?} does not fit pictures of {:?}",
            weight.shape(),
            x.shape()
        );
    }
    let operation = Convolve {
        convolution,
        pictures,
        stored: (height, width),
        seen,
        in_channels,
        out_channels,
        bias_stride: match bias {
            Some(bias) if bias.rank() == 2 => out_channels,
            _ => 0,
        },
    };
    let x = channels_last(x)?;
    let residual = residual.map(channels_last).transpose()?;
    let result = run(operation, &[Some(&x), Some(weight), bias, residual.as_ref()])?;
    channels_first(&result)
}

impl Convolve {
    /// Height and width of the result.
    fn result_size(&self) -> (usize, usize) {
        let Convolution {
            kernel,
            stride,
            padding_before,
            padding_after,
            ..
        } = self.convolution;
        let side = |side: usize| (side + padding_before + padding_after - kernel) / stride + 1;
        (side(self.seen.0), side(self.seen.1))
    }

    fn pixels(&self) -> usize {
        let (height, width) = self.result_size();
        self.pictures * height * width
    }

    /// Blocks over pixels and over output channels, so many of these each.
    fn blocks(&self, columns: usize) -> [usize; 2] {
        [
            self.pixels().div_ceil(BLOCK_PIXELS),
            self.out_channels.div_ceil(columns),
        ]
    }

    /// What all kernels are told.
    fn sizes(&self) -> [Argument; 14] {
        let (height, width) = self.result_size();
        [
            self.pictures,
            self.stored.0,
            self.stored.1,
            self.seen.0,
            self.seen.1,
            self.in_channels,
            self.out_channels,
            height,
            width,
            self.convolution.kernel,
            self.convolution.stride,
            self.convolution.padding_before,
            self.bias_stride,
            self.convolution.end as usize,
        ]
        .map(Whole)
    }

    /// The kernel for any number of input channels.
    fn plain(&self, kernel: &'static str, columns: usize) -> Plan {
        let [rows, columns] = self.blocks(columns);
        let mut arguments = vec![Input(0), Input(1), Input(2), Input(3), Output];
        arguments.extend(self.sizes());
        let launch = Launch {
            kernel,
            grid: [rows, columns, 1],
            threads: 256,
            shared_bytes: 0,
            arguments,
        };
        launch.into()
    }

    /// The kernel for whole slices of input channels.
    fn sliced(&self, kernel: &'static str, columns: usize) -> Plan {
        let [rows, columns] = self.blocks(columns);
        let slices = self.convolution.kernel.pow(2) * self.in_channels / SLICE;
        let share = slices.div_ceil(shares(rows * columns, slices));
        let parts = slices.div_ceil(share);
        let mut arguments = vec![Input(0), Input(1), Input(2), Input(3), Output];
        arguments.push(if parts > 1 { Scratch } else { Nothing });
        arguments.extend(self.sizes());
        arguments.push(Whole(share));
        let multiply = Launch {
            kernel,
            grid: [rows, columns, parts],
            threads: 128,
            shared_bytes: 0,
            arguments,
        };
        if parts == 1 {
            return multiply.into();
        }
        let count = self.shape().elem_count();
        let mut arguments = vec![Scratch, Input(2), Input(3), Output];
        arguments.extend(
            [
                self.pixels(),
                self.pixels() / self.pictures.max(1),
                self.out_channels,
                self.bias_stride,
                self.convolution.end as usize,
                parts,
            ]
            .map(Whole),
        );
        Plan {
            launches: vec![multiply, Launch::for_each("convolve_end", count, arguments)],
            scratch: parts * count,
        }
    }
}

/// How many blocks share the slices of a part of the result, where there are `blocks` parts.
fn shares(blocks: usize, slices: usize) -> usize {
    if blocks >= BUSY {
        return 1;
    }
    let wanted = (2 * BUSY / blocks.max(1)).min(MOST_PARTS);
    wanted.min(slices / LEAST_SHARE).max(1)
}

impl Operation for Convolve {
    const NAME: &'static str = "convolve";

    fn shape(&self) -> Shape {
        let (height, width) = self.result_size();
        (self.pictures, height, width, self.out_channels).into()
    }

    fn plan(&self, dtype: DType) -> Plan {
        let is_sliced = dtype != DType::F32 && self.in_channels.is_multiple_of(SLICE);
        match (is_sliced, self.out_channels <= 64) {
            (true, true) => self.sliced("convolve_sliced_64", 64),
            (true, false) => self.sliced("convolve_sliced_128", 128),
            // Few input channels are few products: one kernel of 16 bits does for them.
            (false, is_narrow) if is_narrow || dtype != DType::F32 => self.plain("convolve_64", 64),
            (false, _) => self.plain("convolve_128", 128),
        }
    }

    fn twin(&self, inputs: &[Option<Vec<f32>>]) -> Vec<f32> {
        let [Some(x), Some(weight), bias, residual] = inputs else {
            return Vec::new();
        };
        let Convolution {
            kernel,
            stride,
            padding_before,
            end,
            ..
        } = self.convolution;
        let (height, width) = self.result_size();
        let taps = kernel * kernel * self.in_channels;
        // Where a pixel that a tap sees is stored; beyond the edges there is none.
        let source = |at: usize, tap: usize, seen: usize, stored: usize| {
            let place = (at * stride + tap).checked_sub(padding_before)?;
            (place < seen).then(|| place * stored / seen)
        };
        let mut y = Vec::with_capacity(self.shape().elem_count());
        let mut patch = vec![0.0; taps];
        for picture in 0..self.pictures {
            for row in 0..height {
                for column in 0..width {
                    patch.fill(0.0);
                    for (tap, patch) in patch.chunks_exact_mut(self.in_channels).enumerate() {
                        let line = source(row, tap / kernel, self.seen.0, self.stored.0);
                        let place = source(column, tap % kernel, self.seen.1, self.stored.1);
                        if let (Some(line), Some(place)) = (line, place) {
                            let pixel = (picture * self.stored.0 + line) * self.stored.1 + place;
                            let start = pixel * self.in_channels;
                            patch.copy_from_slice(&x[start..start + self.in_channels]);
                        }
                    }
                    for (channel, weight) in weight.chunks_exact(taps).enumerate() {
                        let mut value: f32 = patch.iter().zip(weight).map(|(x, w)| x * w).sum();
                        if let Some(bias) = bias {
                            value += bias[picture * self.bias_stride + channel];
                        }
                        if let Some(residual) = residual {
                            value += residual[y.len()];
                        }
                        y.push(match end {
                            End::Plain => value,
                            End::Relu => value.max(0.0),
                            End::Silu => value / (1.0 + (-value).exp()),
                        });
                    }
                }
            }
        }
        y
    }
}
