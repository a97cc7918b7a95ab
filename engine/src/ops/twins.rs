//! Every kernel against a plain twin in `f64`, over shapes, on all instruction sets of this processor.
use half::bf16;
use proptest::prelude::*;

use super::{
    Isa, Team, Workers,
    attention::{Heads, Sight, attend, pack_keys_and_values},
    buffer::Buffer,
    element::Element,
    math,
    matmul::{Activation, Positions, Product, Residual, Source, Target, multiply},
    norm::{GroupNorm, NormTarget, group_norm, layer_norm},
    pack::{Columns, PackedMatrix},
    picture::{Padded, padded_from_planes, padded_from_rows, planes_from_rows},
    simd::{Simd, Task, dispatch},
};

/// A number format with its way back.
trait Readable: Element {
    fn read(self) -> f64;
}

impl Readable for f32 {
    fn read(self) -> f64 {
        f64::from(self)
    }
}

impl Readable for bf16 {
    fn read(self) -> f64 {
        f64::from(self.to_f32())
    }
}

/// Numbers between -1 and 1 that depend on the seed alone.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

/// Numbers in a buffer with room behind its end.
fn rows<E: Element>(numbers: &[f32], channels: usize) -> Buffer<E> {
    let mut buffer = Buffer::default();
    let to = buffer.rows(numbers.len() / channels, channels);
    for (to, &from) in to.iter_mut().zip(numbers) {
        *to = E::from_f32(from);
    }
    buffer
}

fn gelu(x: f64) -> f64 {
    // The integral of the normal density by Simpson's rule: slow, and right to ten digits.
    let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let steps = 2000;
    let width = x / f64::from(steps);
    let sum: f64 = (0..steps)
        .map(|step| {
            let at = f64::from(step) * width;
            (density(at) + 4.0 * density(at + width / 2.0) + density(at + width)) * width / 6.0
        })
        .sum();
    x * (0.5 + sum)
}

fn activate(x: f64, activation: Activation) -> f64 {
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        Activation::Gelu => gelu(x),
    }
}

fn assert_close(ours: f64, theirs: f64, allowed: f64, what: &str) {
    assert!(
        (ours - theirs).abs() <= allowed,
        "{what}: {ours} where {theirs} is right"
    );
}

fn check_linear<E: Readable>(
    isa: Isa,
    count: usize,
    from: usize,
    to: usize,
    columns: Columns,
    activation: Activation,
    seed: u64,
) {
    let n = if columns == Columns::Gated { 2 * to } else { to };
    let (input, weights) = (numbers(seed, count * from), numbers(seed + 1, n * from));
    let (bias, residual) = (numbers(seed + 2, n), numbers(seed + 3, count * to));
    let packed = PackedMatrix::<E>::new(isa, &weights, n, &[from], columns);
    let buffer = rows::<E>(&input, from);
    let mut output = vec![0.0_f32; count * to];
    multiply(
        Team::Solo,
        Product {
            weights: &packed,
            images: 1,
            sources: &[Source::rows(buffer.get(), from)],
            positions: Positions::list(count),
            target: Target::list(&mut output),
            bias: &bias,
            bias_image_stride: 0,
            residual: Residual::From(&residual[..]),
            activation,
        },
    );
    let rounded = |value: f32| E::from_f32(value).read();
    for row in 0..count {
        for column in 0..to {
            let sum = |column: usize| -> f64 {
                let products =
                    (0..from).map(|k| rounded(input[row * from + k]) * rounded(weights[column * from + k]));
                products.sum::<f64>() + f64::from(bias[column])
            };
            let mut value = sum(column);
            if columns == Columns::Gated {
                value *= gelu(sum(to + column));
            }
            value = activate(value + f64::from(residual[row * to + column]), activation);
            // Rounding of a sum of `from` products below one; a gate carries its error into what it is multiplied with.
            let carried = if columns == Columns::Gated {
                1.0 + sum(column).abs() + sum(to + column).abs()
            } else {
                1.0
            };
            let allowed = 3e-7 * (4.0 + from as f64) * carried;
            assert_close(
                f64::from(output[row * to + column]),
                value,
                allowed,
                &format!("{isa:?} {row} {column}"),
            );
        }
    }
}

fn check_convolution<E: Readable>(isa: Isa, size: Padded, from: usize, to: usize, images: usize, seed: u64) {
    let area = size.height * size.width;
    let (input, weights) = (
        numbers(seed, images * from * area),
        numbers(seed + 1, to * 9 * from),
    );
    let packed = PackedMatrix::<E>::new(isa, &weights, to, &[3 * from; 3], Columns::Plain);
    let mut padded = Buffer::<E>::default();
    let padded = padded.rows(images * size.positions(), from);
    // What was left over from before must not matter, also where it is multiplied by the zeros of padding.
    padded.fill(E::from_f32(f32::NAN));
    padded_from_planes(Team::Solo, &input, images, from, size, |value| value, padded);
    let mut rows = vec![0.0_f32; images * area * to];
    let source = |line: usize| Source {
        data: &*padded,
        offset: line * size.pitch() * from,
        stride: from,
        image_stride: size.positions() * from,
    };
    multiply(
        Team::Solo,
        Product {
            weights: &packed,
            images,
            sources: &[source(0), source(1), source(2)],
            positions: Positions::picture(size.height, size.width, size.pitch()),
            target: Target {
                data: &mut rows,
                origin: 0,
                image_step: area,
                row_step: size.width,
                column_step: 1,
            },
            bias: &[],
            bias_image_stride: 0,
            residual: Residual::<f32>::None,
            activation: Activation::None,
        },
    );
    let mut planes = vec![0.0; rows.len()];
    planes_from_rows(Team::Solo, &rows, images, to, area, |value| value, &mut planes);
    let rounded = |value: f32| E::from_f32(value).read();
    for (index, &ours) in planes.iter().enumerate() {
        let (plane, place) = (index / area, index % area);
        let (image, out) = (plane / to, plane % to);
        let (y, x) = (place / size.width, place % size.width);
        let mut sum = 0.0;
        for tap in 0..9 {
            let (line, column) = (y + tap / 3, x + tap % 3);
            if line == 0 || column == 0 || line > size.height || column > size.width {
                continue;
            }
            for channel in 0..from {
                let at = (image * from + channel) * area + (line - 1) * size.width + column - 1;
                sum += rounded(input[at]) * rounded(weights[(out * 9 + tap) * from + channel]);
            }
        }
        let allowed = 3e-7 * (4.0 + 9.0 * from as f64);
        assert_close(
            f64::from(ours),
            sum,
            allowed,
            &format!("{isa:?} {size:?} {index}"),
        );
    }
}

fn check_attention<E: Readable>(isa: Isa, heads: Heads, queries: usize, images: usize, seed: u64) {
    for sight in [Sight::All, Sight::Back] {
        check_attention_of::<E>(isa, heads, sight, queries, images, seed);
    }
}

fn check_attention_of<E: Readable>(
    isa: Isa,
    heads: Heads,
    sight: Sight,
    queries: usize,
    images: usize,
    seed: u64,
) {
    let channels = heads.count * heads.width;
    let query = numbers(seed, images * queries * channels);
    let query: Vec<_> = query.into_iter().map(|value| 3.0 * value).collect();
    let key = numbers(seed + 1, images * heads.keys * channels);
    let value = numbers(seed + 2, images * heads.keys * channels);
    let (query_rows, key_rows, value_rows) = (
        rows::<E>(&query, channels),
        rows::<E>(&key, channels),
        rows::<E>(&value, channels),
    );
    let length = heads.packed_len::<E>(isa);
    let mut packed = vec![E::default(); images * length];
    let (keys, values) = (key_rows.get(), value_rows.get());
    pack_keys_and_values(
        Team::Solo,
        isa,
        heads,
        images,
        keys,
        values,
        channels,
        &mut packed,
    );
    let mut output = vec![E::default(); images * queries * channels];
    let of_image = |image: usize| &packed[image * length..][..length];
    attend(
        Team::Solo,
        isa,
        heads,
        sight,
        images,
        queries,
        query_rows.get(),
        channels,
        of_image,
        &mut output,
    );
    let rounded = |value: f32| E::from_f32(value).read();
    for image in 0..images {
        for row in 0..queries {
            for head in 0..heads.count {
                let at = |list: &[f32], rows: usize, row: usize, channel: usize| {
                    rounded(list[(image * rows + row) * channels + head * heads.width + channel])
                };
                let seen = match sight {
                    Sight::All => heads.keys,
                    Sight::Back => heads.keys.min(row + 1),
                };
                let scores: Vec<f64> = (0..seen)
                    .map(|k| {
                        (0..heads.width)
                            .map(|c| at(&query, queries, row, c) * at(&key, heads.keys, k, c))
                            .sum()
                    })
                    .collect();
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
                let total: f64 = weights.iter().sum();
                for channel in 0..heads.width {
                    let right: f64 = (0..seen)
                        .map(|k| weights[k] / total * at(&value, heads.keys, k, channel))
                        .sum();
                    let ours = output[(image * queries + row) * channels + head * heads.width + channel];
                    // In bf16 the weights and the result are rounded to eight bits.
                    let allowed = if E::STEP == 1 { 2e-5 } else { 8e-3 };
                    assert_close(
                        ours.read(),
                        right,
                        allowed,
                        &format!("{isa:?} {heads:?} {sight:?} {row} {channel}"),
                    );
                }
            }
        }
    }
}

fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::None),
        Just(Activation::Relu),
        Just(Activation::Silu),
        Just(Activation::QuickGelu),
        Just(Activation::Gelu),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn products_are_right(
        count in 1_usize..70, from in 1_usize..90, to in 1_usize..110, is_gated: bool, activation in activation(), seed: u32,
    ) {
        let (columns, activation) =
            if is_gated { (Columns::Gated, Activation::None) } else { (Columns::Plain, activation) };
        for isa in Isa::available() {
            check_linear::<f32>(isa, count, from, to, columns, activation, u64::from(seed));
            check_linear::<bf16>(isa, count, from, to, columns, activation, u64::from(seed));
        }
    }

    #[test]
    fn convolutions_are_right(
        height in 1_usize..14, width in 1_usize..20, from in 1_usize..40, to in 1_usize..60, images in 1_usize..3, seed: u32,
    ) {
        for isa in Isa::available() {
            check_convolution::<f32>(isa, Padded { height, width }, from, to, images, u64::from(seed));
            check_convolution::<bf16>(isa, Padded { height, width }, from, to, images, u64::from(seed));
        }
    }

    #[test]
    fn attention_is_right(
        count in 1_usize..4, width in 1_usize..80, keys in 1_usize..90, queries in 1_usize..80, images in 1_usize..3, seed: u32,
    ) {
        for isa in Isa::available() {
            let heads = Heads { count, width, keys };
            check_attention::<f32>(isa, heads, queries, images, u64::from(seed));
            check_attention::<bf16>(isa, heads, queries, images, u64::from(seed));
        }
    }

    #[test]
    fn group_norms_are_right(
        height in 1_usize..12, width in 1_usize..12, first in 1_usize..6, second in 0_usize..6, groups in 1_usize..9,
        images in 1_usize..3, silu: bool, seed: u32,
    ) {
        let size = Padded { height, width };
        let area = height * width;
        // The border between the two sources need not be one between groups.
        let (first, second) = (first * groups + second, second * (groups - 1));
        let channels = first + second;
        let sources = [
            numbers(u64::from(seed), images * area * first),
            numbers(u64::from(seed) + 1, images * area * second),
        ];
        let (weight, bias) = (numbers(3, channels), numbers(4, channels));
        let list = [(&sources[0][..], first), (&sources[1][..], second)];
        let norm = GroupNorm {
            sources: if second == 0 { &list[..1] } else { &list },
            images, size, groups, epsilon: 1e-5, weight: &weight, bias: &bias, silu,
        };
        for isa in Isa::available() {
            let mut scratch = Vec::new();
            let (mut padded, mut raw, mut flat) = (Buffer::default(), Buffer::default(), Buffer::default());
            let padded: &mut [f32] = padded.rows(images * size.positions(), channels);
            let raw: &mut [f32] = raw.rows(images * size.positions(), channels);
            let flat: &mut [f32] = flat.rows(images * area, channels);
            padded.fill(7.0);
            group_norm(Team::Solo, isa, &norm, &mut scratch, NormTarget::Padded(padded, raw));
            group_norm(Team::Solo, isa, &norm, &mut scratch, NormTarget::List(flat));
            for image in 0..images {
                let value = |place: usize, channel: usize| {
                    let (list, channel, channels) =
                        if channel < first { (0, channel, first) } else { (1, channel - first, second) };
                    f64::from(sources[list][(image * area + place) * channels + channel])
                };
                let in_group = channels / groups;
                for channel in 0..channels {
                    let group = channel / in_group * in_group;
                    let all: Vec<f64> = (0..area)
                        .flat_map(|place| (group..group + in_group).map(move |channel| (place, channel)))
                        .map(|(place, channel)| value(place, channel))
                        .collect();
                    let mean = all.iter().sum::<f64>() / all.len() as f64;
                    let variance = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / all.len() as f64;
                    for place in 0..area {
                        let normed = (value(place, channel) - mean) / (variance + 1e-5).sqrt();
                        let right = normed * f64::from(weight[channel]) + f64::from(bias[channel]);
                        let right = activate(right, if silu { Activation::Silu } else { Activation::None });
                        let position = size.origin() + place / width * size.pitch() + place % width;
                        let ours = padded[(image * size.positions() + position) * channels + channel];
                        // A single value in a group is divided by the square root of epsilon.
                        assert_close(f64::from(ours), right, 2e-4, &format!("{isa:?} {place} {channel}"));
                        prop_assert_eq!(ours, flat[(image * area + place) * channels + channel]);
                        let position = place / width * size.pitch() + place % width;
                        let copy = raw[(image * size.positions() + position) * channels + channel];
                        prop_assert_eq!(f64::from(copy), value(place, channel));
                    }
                }
                // The frame is zero.
                let picture = &padded[image * size.positions() * channels..][..size.positions() * channels];
                let is_inside = |position: usize| {
                    let (y, x) = (position / size.pitch(), position % size.pitch());
                    (1..=height).contains(&y) && x >= 1
                };
                for (index, &value) in picture.iter().enumerate() {
                    prop_assert!(value == 0.0 || is_inside(index / channels));
                }
            }
        }
    }

    #[test]
    fn layer_norms_are_right(count in 1_usize..100, channels in 1_usize..100, seed: u32) {
        let input = numbers(u64::from(seed), count * channels);
        let (weight, bias) = (numbers(3, channels), numbers(4, channels));
        for isa in Isa::available() {
            let mut output = vec![0.0_f32; input.len()];
            layer_norm(Team::Solo, isa, &input, &weight, &bias, 1e-5, &mut output);
            for (row, ours) in input.chunks(channels).zip(output.chunks(channels)) {
                let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / channels as f64;
                let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / channels as f64;
                for (channel, (&value, &ours)) in row.iter().zip(ours).enumerate() {
                    let normed = (f64::from(value) - mean) / (variance + 1e-5).sqrt();
                    let right = normed * f64::from(weight[channel]) + f64::from(bias[channel]);
                    assert_close(f64::from(ours), right, 1e-4, &format!("{isa:?} {channel}"));
                }
            }
        }
    }

    #[test]
    fn enlarged_copies_take_the_nearest_pixel(
        from in (1_usize..8, 1_usize..8), to in (1_usize..16, 1_usize..16), channels in 1_usize..20, seed: u32,
    ) {
        let size = Padded { height: to.0, width: to.1 };
        let input = numbers(u64::from(seed), 2 * from.0 * from.1 * channels);
        for isa in Isa::available() {
            let mut padded = Buffer::<f32>::default();
            let padded = padded.rows(2 * size.positions(), channels);
            padded_from_rows(Team::Solo, isa, &input, 2, channels, from, size, padded);
            for (image, y, x, channel) in (0..2).flat_map(|image| (0..to.0).flat_map(move |y| {
                (0..to.1).flat_map(move |x| (0..channels).map(move |channel| (image, y, x, channel)))
            })) {
                let position = image * size.positions() + size.origin() + y * size.pitch() + x;
                let source = image * from.0 * from.1 + y * from.0 / to.0 * from.1 + x * from.1 / to.1;
                prop_assert_eq!(padded[position * channels + channel], input[source * channels + channel]);
            }
        }
    }
}

#[test]
fn attention_over_more_keys_than_are_held_at_once_is_right() {
    for isa in Isa::available() {
        for keys in [256, 257, 300, 700] {
            let heads = Heads {
                count: 2,
                width: 40,
                keys,
            };
            check_attention::<f32>(isa, heads, 33, 1, 5);
            check_attention::<bf16>(isa, heads, 33, 1, 5);
        }
        // Some queries see keys of the second block, and some do not.
        let heads = Heads {
            count: 1,
            width: 8,
            keys: 280,
        };
        check_attention_of::<f32>(isa, heads, Sight::Back, 290, 1, 5);
        check_attention_of::<bf16>(isa, heads, Sight::Back, 290, 1, 5);
    }
}

/// The functions of [`math`] over a range.
struct Functions<'a>(&'a [f32], &'a mut Vec<[f32; 5]>);

impl Task for Functions<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for &x in self.0 {
            let read = |value: S::V| {
                let mut lanes = [0.0; 16];
                unsafe { S::store(lanes.as_mut_ptr(), value) };
                lanes[0]
            };
            unsafe {
                let x = S::splat(x);
                self.1.push([
                    read(math::exp::<S>(x)),
                    read(math::sigmoid::<S>(x)),
                    read(math::silu::<S>(x)),
                    read(math::quick_gelu::<S>(x)),
                    read(math::gelu::<S>(x)),
                ]);
            }
        }
    }
}

#[test]
fn functions_keep_their_bounds() {
    let inputs: Vec<f32> = (-8700..=8700).map(|step| step as f32 / 100.0).collect();
    for isa in Isa::available() {
        let mut outputs = Vec::new();
        // SAFETY: `isa` exists on this processor.
        unsafe { dispatch(isa, Functions(&inputs, &mut outputs)) };
        for (&x, [exp, sigmoid, silu, quick_gelu, own_gelu]) in inputs.iter().zip(outputs) {
            let x = f64::from(x);
            let what = format!("{isa:?} at {x}");
            assert_close(f64::from(exp) / x.exp(), 1.0, 2e-7, &what);
            let large = x.abs().max(1.0);
            assert_close(f64::from(sigmoid), 1.0 / (1.0 + (-x).exp()), 3e-7, &what);
            assert_close(
                f64::from(silu),
                activate(x, Activation::Silu),
                4e-7 * large,
                &what,
            );
            assert_close(
                f64::from(quick_gelu),
                activate(x, Activation::QuickGelu),
                4e-7 * large,
                &what,
            );
            if x.abs() < 8.0 {
                assert_close(f64::from(own_gelu), gelu(x), 5e-7 * large, &what);
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_single_bit() {
    let size = Padded { height: 9, width: 11 };
    let (from, to, images) = (37, 83, 2);
    let input = numbers(1, images * from * size.height * size.width);
    let weights = numbers(2, to * 9 * from);
    let mut results = Vec::new();
    for threads in 1..=4 {
        let workers = Workers::new(threads);
        let team = Team::Full(&workers);
        let packed = PackedMatrix::<f32>::new(Isa::best(), &weights, to, &[3 * from; 3], Columns::Plain);
        let mut padded = Buffer::<f32>::default();
        let padded = padded.rows(images * size.positions(), from);
        padded_from_planes(team, &input, images, from, size, |value| value, padded);
        let mut output = vec![0.0_f32; images * size.height * size.width * to];
        let source = |line: usize| Source {
            data: &*padded,
            offset: line * size.pitch() * from,
            stride: from,
            image_stride: size.positions() * from,
        };
        multiply(
            team,
            Product {
                weights: &packed,
                images,
                sources: &[source(0), source(1), source(2)],
                positions: Positions::picture(size.height, size.width, size.pitch()),
                target: Target {
                    data: &mut output,
                    origin: 0,
                    image_step: size.height * size.width,
                    row_step: size.width,
                    column_step: 1,
                },
                bias: &[],
                bias_image_stride: 0,
                residual: Residual::<f32>::None,
                activation: Activation::None,
            },
        );
        results.push(output);
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn only_results_that_are_kept_are_counted() {
    let weights = PackedMatrix::<f32>::new(
        Isa::best(),
        &numbers(2, 6 * 9 * 5),
        6,
        &[3 * 5; 3],
        Columns::Plain,
    );
    let data = [0.0_f32; 1];
    let mut output = [0.0_f32; 1];
    let product = Product {
        weights: &weights,
        images: 2,
        sources: &[Source::rows(&data, 5); 3],
        positions: Positions::picture(7, 11, 12),
        target: Target::list(&mut output),
        bias: &[],
        bias_image_stride: 0,
        residual: Residual::<f32>::None,
        activation: Activation::None,
    };
    assert_eq!(product.multiplications(), 2 * 7 * 11 * 45 * 6);
}
