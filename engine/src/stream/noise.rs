//! Where noise comes from: our own counter-based generator, the same on every machine.
//!
//! Each latent cell has its own counter, so that a value depends on the seed, on what the noise is for, and on the cell's
//! place alone: a larger canvas or another number of steps leaves the other values as they are. The generator is
//! Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011); one call gives the four channels
//! of a cell. Pairs become Gaussian by Box and Muller's transform. Logarithm and sine are computed here from additions
//! and multiplications, because those of the system's library differ between systems in the last bit.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::masks::LatentSize;
use crate::api::Seed;

/// What noise is drawn for; each purpose has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Draw {
    /// The fixed noise of a slot.
    Slot(usize),
    /// The latent that enters the stream at a step.
    Fresh(u64),
    /// The latent that a one-shot picture begins with.
    Initial,
    /// The noise on the white or background latent of a one-shot bootstrap step in one view.
    Bootstrap {
        /// Which step.
        step: usize,
        /// Which view.
        view: usize,
    },
    /// What is added after a one-shot step.
    Renoise(usize),
    /// What the autoencoder samples the white picture with.
    EncodeWhite,
    /// What the autoencoder samples the `n`-th background picture with.
    EncodeBackground(u64),
}

impl Draw {
    /// Two counter words that no two purposes share.
    fn words(self) -> [u32; 2] {
        let (kind, index) = match self {
            Self::Slot(slot) => (0, slot as u64),
            Self::Fresh(step) => (1, step),
            Self::Initial => (2, 0),
            Self::Bootstrap { step, view } => (3, (step as u64) << 24 | view as u64),
            Self::Renoise(step) => (4, step as u64),
            Self::EncodeWhite => (5, 0),
            Self::EncodeBackground(n) => (6, n),
        };
        [index as u32, (index >> 32) as u32 & 0x00ff_ffff | kind << 24]
    }
}

/// Gives Gaussian noise of unit variance.
pub trait NoiseSource {
    /// Noise for a purpose, `[1, channels, h, w]`.
    ///
    /// # Errors
    /// If the source has none for it, or the device no room.
    fn draw(&mut self, draw: Draw, channels: usize, size: LatentSize, device: &Device) -> Result<Tensor>;

    /// As [`Self::draw`], or `None` where the source was recorded without noise for this purpose.
    ///
    /// # Errors
    /// If the device has no room.
    fn draw_if_known(
        &mut self,
        draw: Draw,
        channels: usize,
        size: LatentSize,
        device: &Device,
    ) -> Result<Option<Tensor>> {
        self.draw(draw, channels, size, device).map(Some)
    }
}

impl NoiseSource for Seed {
    fn draw(&mut self, draw: Draw, channels: usize, size: LatentSize, device: &Device) -> Result<Tensor> {
        let values = gaussian(*self, draw, channels, size);
        Tensor::from_vec(values, (1, channels, size.height, size.width), device)
    }
}

/// Noise of a seed on the processor: `[channels, h, w]`.
pub fn gaussian(seed: Seed, draw: Draw, channels: usize, size: LatentSize) -> Vec<f32> {
    let area = size.area();
    let mut values = vec![0.0; channels * area];
    if area == 0 {
        return values;
    }
    let key = [seed.0 as u32, (seed.0 >> 32) as u32];
    let [low, high] = draw.words();
    for (group, planes) in values.chunks_mut(4 * area).enumerate() {
        let rows: Vec<Vec<[f32; 4]>> = (0..size.height)
            .into_par_iter()
            .map(|y| {
                (0..size.width)
                    .map(|x| {
                        let place = (y as u32) << 16 | x as u32;
                        four_gaussians(philox([place, group as u32, low, high], key))
                    })
                    .collect()
            })
            .collect();
        for (c, plane) in planes.chunks_exact_mut(area).enumerate() {
            for (line, row) in plane.chunks_exact_mut(size.width).zip(&rows) {
                for (value, cell) in line.iter_mut().zip(row) {
                    *value = cell[c];
                }
            }
        }
    }
    values
}

/// Philox4x32 with ten rounds.
fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut a, mut b, mut c, mut d] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let first = u64::from(a) * 0xD251_1F53;
        let second = u64::from(c) * 0xCD9E_8D57;
        (a, b, c, d) = (
            (second >> 32) as u32 ^ b ^ k0,
            second as u32,
            (first >> 32) as u32 ^ d ^ k1,
            first as u32,
        );
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [a, b, c, d]
}

fn four_gaussians(bits: [u32; 4]) -> [f32; 4] {
    let [a, b] = two_gaussians(bits[0], bits[1]);
    let [c, d] = two_gaussians(bits[2], bits[3]);
    [a, b, c, d]
}

/// Box and Muller's transform of two words.
fn two_gaussians(radius_bits: u32, angle_bits: u32) -> [f32; 2] {
    const STEP: f64 = 1.0 / 4_294_967_296.0;
    let radius = (-2.0 * ln((f64::from(radius_bits) + 0.5) * STEP)).sqrt();
    let (sin, cos) = sin_cos_of_turn(f64::from(angle_bits) * STEP);
    [(radius * cos) as f32, (radius * sin) as f32]
}

/// Natural logarithm of a positive normal number, within 1e-15 of its magnitude or 1e-16.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    // ln m = 2 artanh s with s = (m - 1) / (m + 1), |s| < 0.172.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut series = 0.0;
    for n in (0..10).rev() {
        series = series * square + 1.0 / f64::from(2 * n + 1);
    }
    2.0 * s * series + exponent as f64 * std::f64::consts::LN_2
}

/// Sine and cosine of a part of a full turn, 0 to 1.
fn sin_cos_of_turn(turn: f64) -> (f64, f64) {
    let quarter = (turn * 4.0).round();
    // At most an eighth of a turn is left, exactly: both are multiples of a power of two.
    let angle = (turn - quarter * 0.25) * std::f64::consts::TAU;
    let square = angle * angle;
    let (mut sin, mut cos) = (0.0, 0.0);
    for n in (0..9).rev() {
        let even = f64::from(2 * n + 1) * f64::from(2 * n + 2);
        let odd = f64::from(2 * n + 2) * f64::from(2 * n + 3);
        cos = 1.0 - cos * square / even;
        sin = 1.0 - sin * square / odd;
    }
    sin *= angle;
    match quarter as u32 % 4 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: LatentSize = LatentSize {
        height: 64,
        width: 96,
    };

    #[test]
    fn philox_gives_the_published_values() {
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn our_functions_agree_with_the_system_library() {
        for i in 0..10_000 {
            let x = (f64::from(i) + 0.5) / 10_000.0;
            assert!((ln(x) - x.ln()).abs() < 1e-14, "ln {x}");
            let (sin, cos) = sin_cos_of_turn(x);
            let angle = x * std::f64::consts::TAU;
            assert!((sin - angle.sin()).abs() < 1e-14, "sin {x}");
            assert!((cos - angle.cos()).abs() < 1e-14, "cos {x}");
        }
    }

    #[test]
    fn values_are_those_of_every_machine() {
        let values = gaussian(Seed(2024), Draw::Slot(1), 4, LatentSize { height: 1, width: 2 });
        let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits, KNOWN_BITS);
    }

    /// Recorded once; a change here changes every picture that anyone has a seed of.
    const KNOWN_BITS: [u32; 8] = [
        3213299922, 1070012083, 3214052554, 1032787406, 1057481131, 3181717405, 1066603620, 1062994264,
    ];

    #[test]
    fn noise_is_gaussian_and_each_purpose_has_its_own() {
        let statistics = |values: &[f32]| {
            let count = values.len() as f64;
            let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
            let variance = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / count;
            let fourth = values.iter().map(|&value| f64::from(value).powi(4)).sum::<f64>() / count;
            (mean, variance, fourth)
        };
        let noise = gaussian(Seed(7), Draw::Slot(0), 4, SIZE);
        let (mean, variance, fourth) = statistics(&noise);
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.03, "{variance}");
        assert!((fourth - 3.0).abs() < 0.2, "{fourth}");
        for other in [
            gaussian(Seed(7), Draw::Slot(1), 4, SIZE),
            gaussian(Seed(8), Draw::Slot(0), 4, SIZE),
            gaussian(Seed(7), Draw::Fresh(0), 4, SIZE),
            gaussian(Seed(7), Draw::Initial, 4, SIZE),
        ] {
            let products: Vec<f32> = noise.iter().zip(&other).map(|(a, b)| a * b).collect();
            assert!(statistics(&products).0.abs() < 0.03);
        }
    }

    #[test]
    fn a_larger_canvas_keeps_the_noise_it_had() {
        let small = gaussian(Seed(3), Draw::Slot(2), 4, LatentSize { height: 8, width: 8 });
        let large = gaussian(
            Seed(3),
            Draw::Slot(2),
            4,
            LatentSize {
                height: 16,
                width: 24,
            },
        );
        for c in 0..4 {
            for y in 0..8 {
                assert_eq!(small[(c * 8 + y) * 8..][..8], large[(c * 16 + y) * 24..][..8]);
            }
        }
    }
}
