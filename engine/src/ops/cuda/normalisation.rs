//! Group and layer normalisation.

use candle_core::{DType, Result, Shape, Tensor};

use super::{
    channels_first, channels_last,
    operation::{
        Argument::{Input, Output, Real, Scratch, Whole},
        HELD, Launch, Operation, Plan, run,
    },
};

/// Most channels whose sums fit into shared memory.
const MOST_CHANNELS: usize = 4096;
/// Values that make a block's work. Pictures are cut into parts of so many, or larger ones if that made more than
/// [`MOST_BLOCKS`] in all, or [`MOST_SPANS`] of a picture.
const VALUES_PER_BLOCK: usize = 32 << 10;
const MOST_BLOCKS: usize = 1024;
const MOST_SPANS: usize = 256;

struct GroupNorm {
    pictures: usize,
    height: usize,
    width: usize,
    channels: usize,
    groups: usize,
    eps: f64,
    has_silu: bool,
}

/// Group normalisation, with `x * sigmoid(x)` behind it if asked for.
///
/// # Shapes
/// - `x`: `[b, c, h, w]`, returned in the same shape with channels-last strides
/// - `weight`, `bias`: `[c]`
///
/// # Errors
/// If there are more channels than a card can sum at once, or a tensor operation fails.
pub(crate) fn group_norm(
    x: &Tensor,
    groups: usize,
    (weight, bias): (&Tensor, &Tensor),
    eps: f64,
    has_silu: bool,
) -> Result<Tensor> {
    let (pictures, channels, height, width) = x.dims4()?;
    if channels > MOST_CHANNELS {
        candle_core::bail!("{channels} channels in one picture are too many for this card's kernels");
    }
    let operation = GroupNorm {
        pictures,
        height,
        width,
        channels,
        groups,
        eps,
        has_silu,
    };
    let result = run(operation, &[Some(&channels_last(x)?), Some(weight), Some(bias)])?;
    channels_first(&result)
}

impl Operation for GroupNorm {
    const NAME: &'static str = "group_norm";

    fn shape(&self) -> Shape {
        (self.pictures, self.height, self.width, self.channels).into()
    }

    fn plan(&self, _: DType) -> Plan {
        let area = self.height * self.width;
        let columns = self.channels.div_ceil(HELD);
        let threads = columns * (256 / columns).max(1);
        let spans = (area * self.channels).div_ceil(VALUES_PER_BLOCK);
        let most_spans = (MOST_BLOCKS / self.pictures.max(1)).clamp(1, MOST_SPANS);
        let span = area.div_ceil(spans.clamp(1, most_spans));
        let spans = area.div_ceil(span);
        let launch = |kernel, shared: usize, arguments| Launch {
            kernel,
            grid: [spans, self.pictures, 1],
            threads,
            shared_bytes: shared * 4,
            arguments,
        };
        let sizes = [area, self.channels, self.groups, span].map(Whole);
        let mut sums = vec![Input(0), Scratch];
        sums.extend(sizes);
        let mut apply = vec![Input(0), Scratch, Input(1), Input(2), Output];
        apply.extend(sizes);
        apply.extend([Real(self.eps as f32), Whole(self.has_silu.into())]);
        Plan {
            launches: vec![
                launch("group_norm_sums", threads * HELD * 2, sums),
                launch("group_norm_apply", self.groups * 3, apply),
            ],
            scratch: self.pictures * spans * self.groups * 2,
        }
    }

    fn twin(&self, inputs: &[Option<Vec<f32>>]) -> Vec<f32> {
        let [Some(x), Some(weight), Some(bias)] = inputs else {
            return Vec::new();
        };
        let (channels, width) = (self.channels, self.channels / self.groups);
        let mut y = vec![0.0; x.len()];
        let picture = self.height * self.width * channels;
        for (x, y) in x.chunks_exact(picture).zip(y.chunks_exact_mut(picture)) {
            for group in 0..self.groups {
                let places = |area: usize| {
                    (0..area).flat_map(move |pixel| {
                        (group * width..(group + 1) * width).map(move |c| (pixel * channels + c, c))
                    })
                };
                let area = self.height * self.width;
                let count = (area * width) as f64;
                let mean = places(area).map(|(at, _)| f64::from(x[at])).sum::<f64>() / count;
                let squares = places(area).map(|(at, _)| (f64::from(x[at]) - mean).powi(2));
                let scale = 1.0 / (squares.sum::<f64>() / count + self.eps).sqrt();
                for (at, c) in places(area) {
                    let value = (f64::from(x[at]) - mean) * scale * f64::from(weight[c]) + f64::from(bias[c]);
                    let value = if self.has_silu {
                        value / (1.0 + (-value).exp())
                    } else {
                        value
                    };
                    y[at] = value as f32;
                }
            }
        }
        y
    }
}

struct LayerNorm {
    shape: Shape,
    channels: usize,
    eps: f64,
}

/// Layer normalisation over the last dimension.
///
/// # Shapes
/// - `x`: `[.., c]`, returned in the same shape
/// - `weight`, `bias`: `[c]`
///
/// # Errors
/// If a tensor operation fails.
pub(crate) fn layer_norm(x: &Tensor, (weight, bias): (&Tensor, &Tensor), eps: f64) -> Result<Tensor> {
    let operation = LayerNorm {
        shape: x.shape().clone(),
        channels: weight.elem_count(),
        eps,
    };
    run(operation, &[Some(x), Some(weight), Some(bias)])
}

impl Operation for LayerNorm {
    const NAME: &'static str = "layer_norm";

    fn shape(&self) -> Shape {
        self.shape.clone()
    }

    fn plan(&self, _: DType) -> Plan {
        const WARPS: usize = 8;
        let tokens = self.shape.elem_count() / self.channels;
        let launch = Launch {
            kernel: "layer_norm",
            grid: [tokens.div_ceil(WARPS), 1, 1],
            threads: WARPS * 32,
            shared_bytes: 0,
            arguments: vec![
                Input(0),
                Input(1),
                Input(2),
                Output,
                Whole(tokens),
                Whole(self.channels),
                Real(self.eps as f32),
            ],
        };
        launch.into()
    }

    fn twin(&self, inputs: &[Option<Vec<f32>>]) -> Vec<f32> {
        let [Some(x), Some(weight), Some(bias)] = inputs else {
            return Vec::new();
        };
        let mut y = Vec::with_capacity(x.len());
        for token in x.chunks_exact(self.channels) {
            let count = self.channels as f64;
            let mean = token.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
            let squares = token.iter().map(|&x| (f64::from(x) - mean).powi(2));
            let scale = 1.0 / (squares.sum::<f64>() / count + self.eps).sqrt();
            let scaled = token.iter().zip(weight.iter().zip(bias));
            y.extend(scaled.map(|(&x, (&weight, &bias))| {
                ((f64::from(x) - mean) * scale * f64::from(weight) + f64::from(bias)) as f32
            }));
        }
        y
    }
}
