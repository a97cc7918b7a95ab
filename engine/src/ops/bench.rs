//! Single kernels with made-up numbers, for benchmarks.
use half::bf16;

use super::{
    Isa, Team,
    attention::{Heads, Sight, attend, pack_keys_and_values},
    buffer::Buffer,
    element::Element,
    matmul::{Activation, Positions, Product, Residual, Source, Target, multiply},
    norm::{GroupNorm, NormTarget, group_norm},
    pack::{Columns, PackedMatrix},
    picture::Padded,
};

/// A kernel that can be run again and again, on one thread.
pub struct KernelBench {
    run: Box<dyn FnMut()>,
    multiplications: usize,
}

impl std::fmt::Debug for KernelBench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelBench")
            .field("multiplications", &self.multiplications)
            .finish_non_exhaustive()
    }
}

impl KernelBench {
    /// Runs it once.
    pub fn run(&mut self) {
        (self.run)();
    }

    /// Multiplications (each with an addition) of one run.
    pub fn multiplications(&self) -> u64 {
        self.multiplications as u64
    }

    /// A 3x3 convolution of one square picture.
    pub fn convolution(side: usize, from: usize, to: usize, is_bf16: bool) -> Self {
        let run = if is_bf16 {
            convolution::<bf16>(side, from, to)
        } else {
            convolution::<f32>(side, from, to)
        };
        Self {
            run,
            multiplications: side * side * 9 * from * to,
        }
    }

    /// A linear layer over `count` rows.
    pub fn linear(count: usize, from: usize, to: usize, is_bf16: bool) -> Self {
        let run = if is_bf16 {
            linear::<bf16>(count, from, to)
        } else {
            linear::<f32>(count, from, to)
        };
        Self {
            run,
            multiplications: count * from * to,
        }
    }

    /// Self-attention of `count` tokens, packing of keys and values included.
    pub fn attention(count: usize, heads: usize, width: usize, is_bf16: bool) -> Self {
        let heads = Heads {
            count: heads,
            width,
            keys: count,
        };
        let run = if is_bf16 {
            attention::<bf16>(heads)
        } else {
            attention::<f32>(heads)
        };
        Self {
            run,
            multiplications: 2 * count * count * heads.count * width,
        }
    }

    /// Group normalisation with `x sigmoid(x)` of one square picture, in 16 groups.
    pub fn group_norm(side: usize, channels: usize, is_bf16: bool) -> Self {
        let run = if is_bf16 {
            norm::<bf16>(side, channels)
        } else {
            norm::<f32>(side, channels)
        };
        Self {
            run,
            multiplications: 0,
        }
    }
}

pub(super) fn numbers(count: usize) -> Vec<f32> {
    (0..count)
        .map(|index| (index * 7919 % 1000) as f32 / 500.0 - 1.0)
        .collect()
}

pub(super) fn rows<E: Element>(positions: usize, channels: usize) -> Buffer<E> {
    let mut buffer = Buffer::default();
    let values = numbers(positions * channels);
    let to = buffer.rows(positions, channels);
    for (to, value) in to.iter_mut().zip(values) {
        *to = E::from_f32(value);
    }
    buffer
}

fn convolution<E: Element>(side: usize, from: usize, to: usize) -> Box<dyn FnMut()> {
    let size = Padded {
        height: side,
        width: side,
    };
    let weights = PackedMatrix::<E>::new(
        Isa::best(),
        &numbers(to * 9 * from),
        to,
        &[3 * from; 3],
        Columns::Plain,
    );
    let input = rows::<E>(size.positions(), from);
    let mut output = vec![0.0_f32; side * side * to];
    Box::new(move || {
        let sources = [0, 1, 2].map(|line| Source {
            data: input.get(),
            offset: line * size.pitch() * from,
            stride: from,
            image_stride: 0,
        });
        multiply(
            Team::Solo,
            Product {
                weights: &weights,
                images: 1,
                sources: &sources,
                positions: Positions::picture(side, side, size.pitch()),
                target: Target {
                    data: &mut output,
                    origin: 0,
                    image_step: 0,
                    row_step: side,
                    column_step: 1,
                },
                bias: &[],
                bias_image_stride: 0,
                residual: Residual::<f32>::None,
                activation: Activation::None,
            },
        );
    })
}

fn linear<E: Element>(count: usize, from: usize, to: usize) -> Box<dyn FnMut()> {
    let weights = PackedMatrix::<E>::new(Isa::best(), &numbers(to * from), to, &[from], Columns::Plain);
    let input = rows::<E>(count, from);
    let mut output = vec![0.0_f32; count * to];
    Box::new(move || {
        multiply(
            Team::Solo,
            Product {
                weights: &weights,
                images: 1,
                sources: &[Source::rows(input.get(), from)],
                positions: Positions::list(count),
                target: Target::list(&mut output),
                bias: &[],
                bias_image_stride: 0,
                residual: Residual::<f32>::None,
                activation: Activation::None,
            },
        );
    })
}

fn attention<E: Element>(heads: Heads) -> Box<dyn FnMut()> {
    let isa = Isa::best();
    let channels = heads.count * heads.width;
    let qkv = rows::<E>(heads.keys, 3 * channels);
    let mut packed = vec![E::default(); heads.packed_len::<E>(isa)];
    let mut output = vec![E::default(); heads.keys * channels];
    Box::new(move || {
        let (queries, stride) = (qkv.get(), 3 * channels);
        let (keys, values) = (&queries[channels..], &queries[2 * channels..]);
        pack_keys_and_values(Team::Solo, isa, heads, 1, keys, values, stride, &mut packed);
        let packed = &packed;
        attend(
            Team::Solo,
            isa,
            heads,
            Sight::All,
            1,
            heads.keys,
            queries,
            stride,
            |_| &packed[..],
            &mut output,
        );
    })
}

fn norm<E: Element>(side: usize, channels: usize) -> Box<dyn FnMut()> {
    let size = Padded {
        height: side,
        width: side,
    };
    let input = numbers(side * side * channels);
    let (weight, bias) = (numbers(channels), numbers(channels));
    let mut output = Buffer::<E>::default();
    let mut scratch = Vec::new();
    Box::new(move || {
        let norm = GroupNorm {
            sources: &[(&input, channels)],
            images: 1,
            size,
            groups: 16,
            epsilon: 1e-5,
            weight: &weight,
            bias: &bias,
            silu: true,
        };
        let output = output.rows(size.positions(), channels);
        group_norm(
            Team::Solo,
            Isa::best(),
            &norm,
            &mut scratch,
            NormTarget::Padded(output, &mut []),
        );
    })
}
