//! Group and layer normalisation, written straight into the form in which the next product reads its rows.
use super::{
    element::Element,
    math,
    picture::{Padded, Shared, convert},
    simd::{Isa, Simd, Task, dispatch},
    workers::Team,
};

/// Positions whose sums are kept in `f32`; sums of these are taken in `f64`.
const CHUNK: usize = 64;

/// A group normalisation of pictures whose channels may come from two places.
pub(crate) struct GroupNorm<'a> {
    /// Pictures `[images, h * w, channels]`, with their numbers of channels; concatenated along the channels.
    pub(crate) sources: &'a [(&'a [f32], usize)],
    pub(crate) images: usize,
    pub(crate) size: Padded,
    pub(crate) groups: usize,
    pub(crate) epsilon: f32,
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    /// Whether `x sigmoid(x)` follows.
    pub(crate) silu: bool,
}

/// Where normalised pictures go.
pub(crate) enum NormTarget<'a, E> {
    /// Position after position.
    List(&'a mut [E]),
    /// Padded pictures; and, if it is not empty, the concatenated sources as they are, in rows of the same pitch.
    Padded(&'a mut [E], &'a mut [E]),
}

/// Normalises. `scratch` keeps the statistics between calls, to save the allocation.
pub(crate) fn group_norm<E: Element>(
    team: Team<'_>,
    isa: Isa,
    norm: &GroupNorm<'_>,
    scratch: &mut Vec<f32>,
    target: NormTarget<'_, E>,
) {
    let channels: usize = norm.sources.iter().map(|source| source.1).sum();
    let Padded { height, width } = norm.size;
    let area = height * width;
    let chunks = area.div_ceil(CHUNK);
    assert!(
        channels.is_multiple_of(norm.groups),
        "{channels} channels in {} groups",
        norm.groups
    );
    assert!(
        norm.weight.len() == channels && norm.bias.len() == channels,
        "weights do not fit"
    );
    for (data, channels) in norm.sources {
        assert!(
            data.len() >= norm.images * area * channels,
            "a source is too short"
        );
    }
    let sums = norm.images * chunks * 2 * channels;
    scratch.resize(sums + norm.images * 3 * channels, 0.0);
    let (sums, scales) = scratch.split_at_mut(sums);
    // Each channel is measured from its first pixel: a flat picture's deviation may be far below the precision of its
    // values, and would be lost in sums of their squares.
    for (image, scales) in scales.chunks_exact_mut(3 * channels).enumerate() {
        let mut origin = &mut scales[2 * channels..];
        for &(data, channels) in norm.sources {
            let (own, rest) = origin.split_at_mut(channels);
            own.copy_from_slice(&data[image * area * channels..][..channels]);
            origin = rest;
        }
    }
    let origins = &*scales;

    let shared = Shared(sums.as_mut_ptr());
    team.run(norm.images * chunks, |part| {
        let (image, start) = (part / chunks, part % chunks * CHUNK);
        let count = CHUNK.min(area - start);
        // SAFETY: every part has its own sums.
        let sums = unsafe { shared.slice(part * 2 * channels, 2 * channels) };
        let (sum, square) = sums.split_at_mut(channels);
        let origin = &origins[(image * 3 + 2) * channels..][..channels];
        let mut first = 0;
        for &(data, channels) in norm.sources {
            let rows = &data[(image * area + start) * channels..][..count * channels];
            let (sum, square) = (
                &mut sum[first..first + channels],
                &mut square[first..first + channels],
            );
            let sums = ChannelSums {
                rows,
                origin: &origin[first..first + channels],
                sum,
                square,
            };
            // SAFETY: `isa` exists on this processor.
            unsafe { dispatch(isa, sums) };
            first += channels;
        }
    });

    let in_group = channels / norm.groups;
    for (image, scales) in scales.chunks_exact_mut(3 * channels).enumerate() {
        let (scale, rest) = scales.split_at_mut(channels);
        let (shift, origin) = rest.split_at_mut(channels);
        for group in 0..norm.groups {
            let range = group * in_group..(group + 1) * in_group;
            let total = |channel: usize, part: usize| -> f64 {
                (0..chunks)
                    .map(|chunk| {
                        let at = (image * chunks + chunk) * 2 * channels + part * channels + channel;
                        f64::from(sums[at])
                    })
                    .sum()
            };
            let (area, count) = (area as f64, (area * in_group) as f64);
            let sum: f64 = range
                .clone()
                .map(|channel| total(channel, 0) + area * f64::from(origin[channel]))
                .sum();
            let mean = sum / count;
            let square: f64 = range
                .clone()
                .map(|channel| {
                    let distance = f64::from(origin[channel]) - mean;
                    total(channel, 1) + 2.0 * distance * total(channel, 0) + area * distance * distance
                })
                .sum();
            let variance = (square / count).max(0.0);
            let inverse = 1.0 / (variance + f64::from(norm.epsilon)).sqrt();
            for channel in range {
                let factor = inverse * f64::from(norm.weight[channel]);
                let distance = f64::from(origin[channel]) - mean;
                scale[channel] = factor as f32;
                shift[channel] = (f64::from(norm.bias[channel]) + distance * factor) as f32;
            }
        }
    }

    let scales = &*scales;
    let (out, raw, pitch, corner, step) = match target {
        NormTarget::List(out) => {
            assert!(
                out.len() >= norm.images * area * channels,
                "the target is too short"
            );
            (Shared(out.as_mut_ptr()), None, width, 0, area)
        }
        NormTarget::Padded(out, raw) => {
            let size = norm.size;
            let step = size.positions();
            assert!(
                out.len() >= norm.images * step * channels,
                "the target is too short"
            );
            for picture in out[..norm.images * step * channels].chunks_exact_mut(step * channels) {
                size.clear_frame(picture, channels);
            }
            let end = out.len().min(norm.images * step * channels + 64);
            out[norm.images * step * channels..end].fill(E::default());
            let raw = (!raw.is_empty()).then(|| {
                assert!(
                    raw.len() >= norm.images * step * channels,
                    "the second target is too short"
                );
                Shared(raw.as_mut_ptr())
            });
            (Shared(out.as_mut_ptr()), raw, size.pitch(), size.origin(), step)
        }
    };
    team.run(norm.images * height, |part| {
        let (image, y) = (part / height, part % height);
        let (scale, rest) = scales[image * 3 * channels..][..3 * channels].split_at(channels);
        let (shift, origin) = rest.split_at(channels);
        // SAFETY: every part has its own row.
        let row = unsafe { out.slice((image * step + corner + y * pitch) * channels, width * channels) };
        // SAFETY: as above.
        let raw =
            raw.map(|raw| unsafe { raw.slice((image * step + y * pitch) * channels, width * channels) });
        let apply = ApplyRow {
            sources: norm.sources,
            start: image * area + y * width,
            width,
            channels,
            origin,
            scale,
            shift,
            silu: norm.silu,
            out: row,
            raw,
        };
        // SAFETY: `isa` exists on this processor; bounds as asserted.
        unsafe { dispatch(isa, apply) };
    });
}

/// Sums and sums of squares of every channel, measured from its origin.
struct ChannelSums<'a> {
    rows: &'a [f32],
    origin: &'a [f32],
    sum: &'a mut [f32],
    square: &'a mut [f32],
}

impl Task for ChannelSums<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let channels = self.sum.len();
        let mut channel = 0;
        // SAFETY: steps end before the last channel.
        unsafe {
            while channel + 4 * S::LANES <= channels {
                self.some::<S, 4>(channel);
                channel += 4 * S::LANES;
            }
            while channel + S::LANES <= channels {
                self.some::<S, 1>(channel);
                channel += S::LANES;
            }
        }
        for channel in channel..channels {
            let (mut sum, mut square) = (0.0, 0.0);
            for row in self.rows.chunks_exact(channels) {
                let value = row[channel] - self.origin[channel];
                sum += value;
                square += value * value;
            }
            (self.sum[channel], self.square[channel]) = (sum, square);
        }
    }
}

impl ChannelSums<'_> {
    #[inline(always)]
    unsafe fn some<S: Simd, const N: usize>(&mut self, channel: usize) {
        unsafe {
            let mut sums = [S::splat(0.0); N];
            let mut squares = [S::splat(0.0); N];
            let mut origins = [S::splat(0.0); N];
            for (index, origin) in origins.iter_mut().enumerate() {
                *origin = S::load(self.origin.as_ptr().add(channel + index * S::LANES));
            }
            for row in self.rows.chunks_exact(self.sum.len()) {
                for index in 0..N {
                    let value = S::load(row.as_ptr().add(channel + index * S::LANES));
                    let value = S::sub(value, origins[index]);
                    sums[index] = S::add(sums[index], value);
                    squares[index] = S::fma(value, value, squares[index]);
                }
            }
            for index in 0..N {
                let at = channel + index * S::LANES;
                S::store(self.sum.as_mut_ptr().add(at), sums[index]);
                S::store(self.square.as_mut_ptr().add(at), squares[index]);
            }
        }
    }
}

struct ApplyRow<'a, E> {
    sources: &'a [(&'a [f32], usize)],
    start: usize,
    width: usize,
    channels: usize,
    origin: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    silu: bool,
    out: &'a mut [E],
    raw: Option<&'a mut [E]>,
}

impl<E: Element> Task for ApplyRow<'_, E> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let mut first = 0;
        for &(data, channels) in self.sources {
            let rows = &data[self.start * channels..][..self.width * channels];
            for (x, pixel) in rows.chunks_exact(channels).enumerate() {
                let out = &mut self.out[x * self.channels + first..][..channels];
                if let Some(raw) = &mut self.raw {
                    let raw = &mut raw[x * self.channels + first..][..channels];
                    // SAFETY: both are one pixel long.
                    unsafe { convert::<S, E>(pixel, raw) };
                }
                let origin = &self.origin[first..][..channels];
                let scale = &self.scale[first..][..channels];
                let shift = &self.shift[first..][..channels];
                let (pixel, out) = (pixel.as_ptr(), out.as_mut_ptr());
                let (origin, scale, shift) = (origin.as_ptr(), scale.as_ptr(), shift.as_ptr());
                let full = channels / S::LANES * S::LANES;
                // SAFETY: all slices have `channels` elements.
                unsafe {
                    for at in (0..full).step_by(S::LANES) {
                        let value = S::sub(S::load(pixel.add(at)), S::load(origin.add(at)));
                        let mut value = S::fma(value, S::load(scale.add(at)), S::load(shift.add(at)));
                        if self.silu {
                            value = math::silu::<S>(value);
                        }
                        E::store::<S>(out.add(at), value);
                    }
                    let left = channels - full;
                    if left > 0 {
                        let scale = S::load_partial(scale.add(full), left);
                        let shift = S::load_partial(shift.add(full), left);
                        let origin = S::load_partial(origin.add(full), left);
                        let value = S::sub(S::load_partial(pixel.add(full), left), origin);
                        let mut value = S::fma(value, scale, shift);
                        if self.silu {
                            value = math::silu::<S>(value);
                        }
                        E::store_partial::<S>(out.add(full), value, left);
                    }
                }
            }
            first += channels;
        }
    }
}

/// Layer normalisation of `rows`, `[n, channels]`.
pub(crate) fn layer_norm<E: Element>(
    team: Team<'_>,
    isa: Isa,
    rows: &[f32],
    weight: &[f32],
    bias: &[f32],
    epsilon: f32,
    out: &mut [E],
) {
    const ROWS: usize = 64;
    let channels = weight.len();
    assert!(
        out.len() >= rows.len() && bias.len() == channels,
        "the target is too short"
    );
    assert!(rows.len().is_multiple_of(channels), "rows are not whole");
    let out = Shared(out.as_mut_ptr());
    team.run(rows.len().div_ceil(ROWS * channels), |part| {
        let start = part * ROWS * channels;
        let rows = &rows[start..rows.len().min(start + ROWS * channels)];
        // SAFETY: every part has its own rows.
        let out = unsafe { out.slice(start, rows.len()) };
        // SAFETY: `isa` exists on this processor.
        unsafe {
            dispatch(
                isa,
                LayerNorm {
                    rows,
                    weight,
                    bias,
                    epsilon,
                    out,
                },
            );
        };
    });
}

struct LayerNorm<'a, E> {
    rows: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
    out: &'a mut [E],
}

impl<E: Element> Task for LayerNorm<'_, E> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let channels = self.weight.len();
        let full = channels / S::LANES * S::LANES;
        let left = channels - full;
        let (weight, bias) = (self.weight.as_ptr(), self.bias.as_ptr());
        for (row, out) in self
            .rows
            .chunks_exact(channels)
            .zip(self.out.chunks_exact_mut(channels))
        {
            let (row, out) = (row.as_ptr(), out.as_mut_ptr());
            unsafe {
                let mut sum = S::splat(0.0);
                for at in (0..full).step_by(S::LANES) {
                    sum = S::add(sum, S::load(row.add(at)));
                }
                if left > 0 {
                    sum = S::add(sum, S::load_partial(row.add(full), left));
                }
                let mean = S::sum(sum) / channels as f32;
                let center = S::splat(mean);
                let mut square = S::splat(0.0);
                for at in (0..full).step_by(S::LANES) {
                    let value = S::sub(S::load(row.add(at)), center);
                    square = S::fma(value, value, square);
                }
                let mut square = S::sum(square);
                for at in full..channels {
                    let value = *row.add(at) - mean;
                    square += value * value;
                }
                let inverse = S::splat(1.0 / (square / channels as f32 + self.epsilon).sqrt());
                for at in (0..full).step_by(S::LANES) {
                    let value = S::mul(S::sub(S::load(row.add(at)), center), inverse);
                    let value = S::fma(value, S::load(weight.add(at)), S::load(bias.add(at)));
                    E::store::<S>(out.add(at), value);
                }
                if left > 0 {
                    let value = S::mul(S::sub(S::load_partial(row.add(full), left), center), inverse);
                    let weight = S::load_partial(weight.add(full), left);
                    let value = S::fma(value, weight, S::load_partial(bias.add(full), left));
                    E::store_partial::<S>(out.add(full), value, left);
                }
            }
        }
    }
}
