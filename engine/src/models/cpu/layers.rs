//! Convolutions and normalisations with their weights, on buffers.
use candle_core::Result;

use super::load::Loader;
use crate::{
    models::config,
    ops::{
        Team,
        element::Element,
        matmul::{Activation, Positions, Product, Residual, Source, Target, multiply},
        pack::{Columns, PackedMatrix},
        picture::Padded,
    },
};

impl From<config::Activation> for Activation {
    fn from(activation: config::Activation) -> Self {
        match activation {
            config::Activation::Silu => Self::Silu,
            config::Activation::Gelu => Self::Gelu,
            config::Activation::QuickGelu => Self::QuickGelu,
            config::Activation::Relu => Self::Relu,
        }
    }
}

/// Scale and shift of a normalisation.
pub(super) struct Norm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) epsilon: f32,
}

impl Norm {
    pub(super) fn load(loader: &Loader<'_>, channels: usize, epsilon: f32) -> Result<Self> {
        Ok(Self {
            weight: loader.tensor(channels, "weight")?,
            bias: loader.bias(channels)?,
            epsilon,
        })
    }
}

/// A matrix and what is added to its products.
pub(super) struct Linear<E> {
    pub(super) weights: PackedMatrix<E>,
    pub(super) bias: Vec<f32>,
}

impl<E: Element> Linear<E> {
    pub(super) fn load(loader: &Loader<'_>, to: usize, from: usize) -> Result<Self> {
        Ok(Self {
            weights: loader.packed(to, from, Columns::Plain)?,
            bias: loader.bias(to)?,
        })
    }

    /// Gated: `to` channels out of `2 * to` columns.
    pub(super) fn load_gated(loader: &Loader<'_>, to: usize, from: usize) -> Result<Self> {
        Ok(Self {
            weights: loader.packed(2 * to, from, Columns::Gated)?,
            bias: loader.bias(2 * to)?,
        })
    }

    /// Matrices on top of each other, the first one scaled; without bias.
    pub(super) fn stacked(
        loaders: &[Loader<'_>],
        to: usize,
        from: usize,
        scale_of_first: f32,
    ) -> Result<Self> {
        let mut rows = Vec::with_capacity(loaders.len() * to * from);
        for (index, loader) in loaders.iter().enumerate() {
            let scale = if index == 0 { scale_of_first } else { 1.0 };
            rows.extend(loader.matrix(to, from)?.into_iter().map(|weight| weight * scale));
        }
        let count = loaders.len() * to;
        let weights = PackedMatrix::new(loaders[0].isa, &rows, count, &[from], Columns::Plain);
        Ok(Self {
            weights,
            bias: Vec::new(),
        })
    }

    /// As [`Self::stacked`], with biases.
    pub(super) fn stacked_with_biases(
        loaders: &[Loader<'_>],
        to: usize,
        from: usize,
        scale_of_first: f32,
    ) -> Result<Self> {
        let mut bias = Vec::with_capacity(loaders.len() * to);
        for (index, loader) in loaders.iter().enumerate() {
            let scale = if index == 0 { scale_of_first } else { 1.0 };
            bias.extend(loader.bias(to)?.into_iter().map(|bias| bias * scale));
        }
        Ok(Self {
            bias,
            ..Self::stacked(loaders, to, from, scale_of_first)?
        })
    }

    /// Every row of `input`, `count` of them.
    pub(super) fn run<O: Element, R: Element>(
        &self,
        team: Team<'_>,
        input: &[E],
        count: usize,
        residual: Residual<'_, R>,
        activation: Activation,
        output: &mut [O],
    ) {
        multiply(
            team,
            Product {
                weights: &self.weights,
                images: 1,
                sources: &[Source::rows(input, self.weights.parts[0])],
                positions: Positions::list(count),
                target: Target::list(output),
                bias: &self.bias,
                bias_image_stride: 0,
                residual,
                activation,
            },
        );
    }
}

/// Where a convolution writes its pictures.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// Position after position.
    List,
    /// Padded; the frame is not touched.
    Padded,
}

impl Layout {
    /// First position, positions of an image and of a row.
    fn steps(self, size: Padded) -> (usize, usize, usize) {
        match self {
            Self::List => (0, size.height * size.width, size.width),
            Self::Padded => (size.origin(), size.positions(), size.pitch()),
        }
    }
}

/// What is added to a convolution, and what becomes of it.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a, R> {
    pub(super) bias: &'a [f32],
    pub(super) bias_image_stride: usize,
    pub(super) residual: Residual<'a, R>,
    pub(super) activation: Activation,
}

impl<'a, R> Finish<'a, R> {
    pub(super) fn bias(bias: &'a [f32]) -> Self {
        Self {
            bias,
            bias_image_stride: 0,
            residual: Residual::None,
            activation: Activation::None,
        }
    }
}

/// The source of each line of a 3x3 (or 2x2) window over padded pictures.
fn lines<E>(
    input: &[E],
    size: Padded,
    channels: usize,
    first: usize,
    step: usize,
    line: usize,
) -> Source<'_, E> {
    Source {
        data: input,
        offset: (first + line * size.pitch()) * channels,
        stride: step * channels,
        image_stride: size.positions() * channels,
    }
}

/// A 3x3 convolution over padded pictures, with an optional shortcut: a matrix over another picture of the same pitch
/// whose products are added, as if its channels were more of the window.
pub(super) struct Conv<E> {
    weights: PackedMatrix<E>,
    pub(super) bias: Vec<f32>,
    from: usize,
    shortcut: usize,
}

impl<E: Element> Conv<E> {
    pub(super) fn load(loader: &Loader<'_>, to: usize, from: usize) -> Result<Self> {
        let weights = PackedMatrix::new(
            loader.isa,
            &loader.taps(to, from)?,
            to,
            &[3 * from; 3],
            Columns::Plain,
        );
        Ok(Self {
            weights,
            bias: loader.bias(to)?,
            from,
            shortcut: 0,
        })
    }

    pub(super) fn load_without_bias(loader: &Loader<'_>, to: usize, from: usize) -> Result<Self> {
        let weights = PackedMatrix::new(
            loader.isa,
            &loader.taps(to, from)?,
            to,
            &[3 * from; 3],
            Columns::Plain,
        );
        Ok(Self {
            weights,
            bias: Vec::new(),
            from,
            shortcut: 0,
        })
    }

    /// Together with the 1x1 convolution `shortcut` from `shortcut_from` channels.
    pub(super) fn load_with_shortcut(
        loader: &Loader<'_>,
        shortcut: &Loader<'_>,
        to: usize,
        from: usize,
        shortcut_from: usize,
    ) -> Result<Self> {
        let taps = loader.taps(to, from)?;
        let matrix = shortcut.matrix(to, shortcut_from)?;
        let mut rows = Vec::with_capacity(taps.len() + matrix.len());
        for (taps, matrix) in taps
            .chunks_exact(9 * from)
            .zip(matrix.chunks_exact(shortcut_from))
        {
            rows.extend_from_slice(taps);
            rows.extend_from_slice(matrix);
        }
        let parts = [3 * from, 3 * from, 3 * from, shortcut_from];
        let bias = loader
            .bias(to)?
            .iter()
            .zip(shortcut.bias(to)?)
            .map(|(a, b)| a + b)
            .collect();
        Ok(Self {
            weights: PackedMatrix::new(loader.isa, &rows, to, &parts, Columns::Plain),
            bias,
            from,
            shortcut: shortcut_from,
        })
    }

    pub(super) fn channels(&self) -> usize {
        self.weights.channels
    }

    /// # Shapes
    /// - `input`: `images` padded pictures of `size`
    /// - `shortcut`: `images` pictures of the same pitch without frame, in steps of a padded picture; or empty
    /// - `output`: pictures of `size`, as `layout` says
    pub(super) fn run<O: Element, R: Element>(
        &self,
        team: Team<'_>,
        input: &[E],
        shortcut: &[E],
        images: usize,
        size: Padded,
        finish: Finish<'_, R>,
        output: &mut [O],
        layout: Layout,
    ) {
        let (origin, image_step, row_step) = layout.steps(size);
        let sources = [0, 1, 2].map(|line| lines(input, size, self.from, 0, 1, line));
        let [first, second, third] = sources;
        let with_shortcut = [
            first,
            second,
            third,
            Source {
                data: shortcut,
                offset: 0,
                stride: self.shortcut,
                image_stride: size.positions() * self.shortcut,
            },
        ];
        multiply(
            team,
            Product {
                weights: &self.weights,
                images,
                sources: if self.shortcut == 0 {
                    &with_shortcut[..3]
                } else {
                    &with_shortcut
                },
                positions: Positions::picture(size.height, size.width, size.pitch()),
                target: Target {
                    data: output,
                    origin,
                    image_step,
                    row_step,
                    column_step: 1,
                },
                bias: finish.bias,
                bias_image_stride: finish.bias_image_stride,
                residual: finish.residual,
                activation: finish.activation,
            },
        );
    }

    /// Every second window; `padding` as in the configuration: 1 on all sides, or 0 for right and bottom only.
    pub(super) fn run_halving<O: Element>(
        &self,
        team: Team<'_>,
        input: &[E],
        images: usize,
        size: Padded,
        padding: usize,
        activation: Activation,
        output: &mut [O],
        layout: Layout,
    ) -> Padded {
        let half = halved(size, padding);
        let first = if padding == 1 { 0 } else { size.origin() };
        let (origin, image_step, row_step) = layout.steps(half);
        multiply(
            team,
            Product {
                weights: &self.weights,
                images,
                sources: &[0, 1, 2].map(|line| lines(input, size, self.from, first, 2, line)),
                positions: Positions {
                    lines: half.height,
                    length: half.width,
                    line_step: size.pitch(),
                    pitch: half.width,
                    width: half.width,
                },
                target: Target {
                    data: output,
                    origin,
                    image_step,
                    row_step,
                    column_step: 1,
                },
                bias: &self.bias,
                bias_image_stride: 0,
                residual: Residual::<f32>::None,
                activation,
            },
        );
        half
    }
}

/// The size after a convolution of stride two.
pub(super) fn halved(size: Padded, padding: usize) -> Padded {
    let half = |side: usize| if padding == 1 { side.div_ceil(2) } else { side / 2 };
    Padded {
        height: half(size.height),
        width: half(size.width),
    }
}

/// A 3x3 convolution over a picture doubled by repeating each pixel, computed on the small picture: each of the four
/// pixels that become of one sees a 2x2 window with summed weights.
pub(super) struct DoublingConv<E> {
    phases: [PackedMatrix<E>; 4],
    /// For sizes that are not the exact double.
    plain: Conv<E>,
}

impl<E: Element> DoublingConv<E> {
    pub(super) fn new(loader: &Loader<'_>, plain: Conv<E>) -> Result<Self> {
        let (to, from) = (plain.channels(), plain.from);
        let taps = loader.taps(to, from)?;
        // Which lines of the 3x3 window fall on the first and the second line of the 2x2 window.
        const LINES: [[&[usize]; 2]; 2] = [[&[0], &[1, 2]], [&[0, 1], &[2]]];
        let phases = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(down, right)| {
            let mut rows = vec![0.0; to * 4 * from];
            for (row, taps) in rows.chunks_exact_mut(4 * from).zip(taps.chunks_exact(9 * from)) {
                for (window, sum) in row.chunks_exact_mut(from).enumerate() {
                    for line in LINES[down][window / 2] {
                        for column in LINES[right][window % 2] {
                            let tap = &taps[(line * 3 + column) * from..][..from];
                            sum.iter_mut().zip(tap).for_each(|(sum, weight)| *sum += weight);
                        }
                    }
                }
            }
            PackedMatrix::new(loader.isa, &rows, to, &[2 * from; 2], Columns::Plain)
        });
        Ok(Self { phases, plain })
    }

    pub(super) fn channels(&self) -> usize {
        self.plain.channels()
    }

    /// For a picture that was enlarged already.
    pub(super) fn plain(&self) -> &Conv<E> {
        &self.plain
    }

    /// # Shapes
    /// - `input`: `images` padded pictures of `size`
    /// - `output`: pictures of twice the size
    pub(super) fn run<O: Element>(
        &self,
        team: Team<'_>,
        input: &[E],
        images: usize,
        size: Padded,
        output: &mut [O],
        layout: Layout,
    ) {
        let double = Padded {
            height: 2 * size.height,
            width: 2 * size.width,
        };
        let (origin, image_step, row_step) = layout.steps(double);
        for (phase, weights) in self.phases.iter().enumerate() {
            let (down, right) = (phase / 2, phase % 2);
            let first = down * size.pitch() + right;
            multiply(
                team,
                Product {
                    weights,
                    images,
                    sources: &[0, 1].map(|line| lines(input, size, self.plain.from, first, 1, line)),
                    positions: Positions::picture(size.height, size.width, size.pitch()),
                    target: Target {
                        data: &mut *output,
                        origin: origin + down * row_step + right,
                        image_step,
                        row_step: 2 * row_step,
                        column_step: 2,
                    },
                    bias: &self.plain.bias,
                    bias_image_stride: 0,
                    residual: Residual::<f32>::None,
                    activation: Activation::None,
                },
            );
        }
    }
}
