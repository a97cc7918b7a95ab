//! The only border between pixels and tensors, and resizing of pixels.
//!
//! Pixels are RGBA8 sRGB, row-major; tensors are `[1, 3, H, W]` in -1..1. Resizing follows Pillow bit for bit (antialiased
//! filters, 8-bit intermediate), because that is what the reference prepares its pictures with.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::{
    Result,
    api::{CanvasSize, Picture},
    error::Doing as _,
    ops::cuda,
};

/// How pixels are interpolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A triangle over two pixels; masks.
    Bilinear,
    /// A cubic over four pixels; pictures.
    Bicubic,
}

impl Filter {
    /// Reach in source pixels when nothing is made smaller.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic => {
                const A: f64 = -0.5;
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
        }
    }
}

/// Fractional bits of the fixed-point weights.
const WEIGHT_BITS: u32 = 22;

/// The source pixels of one output pixel and their fixed-point weights.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

fn taps(from: usize, to: usize, filter: Filter) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    (0..to)
        .map(|i| {
            let center = (i as f64 + 0.5) * scale;
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let weights: Vec<f64> = (start..end)
                .map(|x| filter.weight((x as f64 - center + 0.5) / stretch))
                .collect();
            let sum: f64 = weights.iter().sum();
            let sum = if sum == 0.0 { 1.0 } else { sum };
            let to_fixed = |weight: &f64| (weight / sum * f64::from(1 << WEIGHT_BITS)).round() as i32;
            Taps {
                start,
                // Half away from zero, as Pillow rounds.
                weights: weights.iter().map(to_fixed).collect(),
            }
        })
        .collect()
}

fn to_byte(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// Resizes interleaved 8-bit pixels of `C` channels from `(width, height)` to another size.
///
/// Rows are resized first, unless the height shrinks by more than twice as many pixels as the width: Pillow's order,
/// which shows because the pixels in between are 8-bit.
///
/// # Panics
/// If `pixels` does not hold `width * height * C` bytes or a side is 0.
pub fn resize<const C: usize>(
    pixels: &[u8],
    from: (usize, usize),
    to: (usize, usize),
    filter: Filter,
) -> Vec<u8> {
    assert_eq!(pixels.len(), from.0 * from.1 * C, "pixels of the given size");
    let lost = (from.0 as i64 - to.0 as i64, from.1 as i64 - to.1 as i64);
    if lost.1 > 0 && lost.1 > 2 * lost.0 {
        let lowered = resize_height(pixels, from.0 * C, from.1, to.1, filter);
        resize_width::<C>(&lowered, from.0, to.0, filter)
    } else {
        let narrowed = resize_width::<C>(pixels, from.0, to.0, filter);
        resize_height(&narrowed, to.0 * C, from.1, to.1, filter)
    }
}

/// Half of the last bit that is kept, for rounding.
const HALF: i32 = 1 << (WEIGHT_BITS - 1);

fn resize_width<const C: usize>(pixels: &[u8], from: usize, to: usize, filter: Filter) -> Vec<u8> {
    if from == to {
        return pixels.to_vec();
    }
    let taps = taps(from, to, filter);
    let mut out = vec![0; pixels.len() / from * to];
    out.par_chunks_exact_mut(to * C)
        .zip(pixels.par_chunks_exact(from * C))
        .for_each(|(out, line)| {
            for (out, taps) in out.as_chunks_mut::<C>().0.iter_mut().zip(&taps) {
                let mut sums = [HALF; C];
                let source = line[taps.start * C..].as_chunks::<C>().0;
                for (pixel, &weight) in source.iter().zip(&taps.weights) {
                    for c in 0..C {
                        sums[c] += i32::from(pixel[c]) * weight;
                    }
                }
                *out = sums.map(to_byte);
            }
        });
    out
}

fn resize_height(pixels: &[u8], stride: usize, from: usize, to: usize, filter: Filter) -> Vec<u8> {
    if from == to {
        return pixels.to_vec();
    }
    let taps = taps(from, to, filter);
    let mut out = vec![0; stride * to];
    out.par_chunks_exact_mut(stride)
        .zip(&taps)
        .for_each(|(out, taps)| {
            let mut sums = vec![HALF; stride];
            let lines = pixels[taps.start * stride..].chunks_exact(stride);
            for (line, &weight) in lines.zip(&taps.weights) {
                for (sum, &byte) in sums.iter_mut().zip(line) {
                    *sum += i32::from(byte) * weight;
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = to_byte(sum);
            }
        });
    out
}

/// A picture as it looks on white, which is what transparency means everywhere here; one without any is only shared.
pub fn over_white(picture: &Picture) -> Picture {
    let pixels = picture.rgba().as_chunks::<4>().0;
    if pixels.iter().all(|pixel| pixel[3] == 255) {
        return picture.clone();
    }
    let laid: Vec<u8> = pixels
        .iter()
        .flat_map(|&[r, g, b, alpha]| {
            let over = |value: u8| {
                let (value, alpha) = (u32::from(value), u32::from(alpha));
                ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
            };
            [over(r), over(g), over(b), 255]
        })
        .collect();
    Picture::new(picture.size(), laid).expect("each pixel stays one")
}

/// A picture at another size, its proportions given up. Transparency is laid over white first: mixed by itself, the colour
/// under what is transparent, mostly black, would show along the edges.
pub fn stretched(picture: &Picture, size: CanvasSize) -> Picture {
    if picture.size() == size {
        return picture.clone();
    }
    let picture = over_white(picture);
    let pixels = resize::<4>(
        picture.rgba(),
        sides(picture.size()),
        sides(size),
        Filter::Bicubic,
    );
    Picture::new(size, pixels).expect("resizing gives four bytes per pixel")
}

/// A picture that fills the canvas: its proportions are kept, and what is too much is cut off evenly on both sides.
pub fn fitted(picture: &Picture, canvas: CanvasSize) -> Picture {
    let (width, height) = sides(picture.size());
    let scale = (f64::from(canvas.width()) / width as f64).max(f64::from(canvas.height()) / height as f64);
    let kept = (
        ((f64::from(canvas.width()) / scale).round() as usize).clamp(1, width),
        ((f64::from(canvas.height()) / scale).round() as usize).clamp(1, height),
    );
    if kept == (width, height) {
        return stretched(picture, canvas);
    }
    let picture = over_white(picture);
    let (left, top) = ((width - kept.0) / 2, (height - kept.1) / 2);
    let mut pixels = Vec::with_capacity(kept.0 * kept.1 * 4);
    for line in picture.rgba().chunks_exact(width * 4).skip(top).take(kept.1) {
        pixels.extend_from_slice(&line[left * 4..(left + kept.0) * 4]);
    }
    let pixels = resize::<4>(&pixels, kept, sides(canvas), Filter::Bicubic);
    Picture::new(canvas, pixels).expect("resizing gives four bytes per pixel")
}

/// Width and height as indexes.
fn sides(size: CanvasSize) -> (usize, usize) {
    (size.width() as usize, size.height() as usize)
}

/// A picture as `[1, 3, height, width]` in -1..1. What is transparent is white; beyond the picture's right and lower
/// edges its last pixels repeat.
///
/// # Errors
/// If the device has no room.
pub fn tensor_from_picture(
    picture: &Picture,
    height: usize,
    width: usize,
    device: &Device,
) -> Result<Tensor> {
    let (picture_width, picture_height) = sides(picture.size());
    let mut values = vec![0.0_f32; 3 * height * width];
    for (c, plane) in values.chunks_exact_mut(height * width).enumerate() {
        for (y, line) in plane.chunks_exact_mut(width).enumerate() {
            let row = y.min(picture_height - 1) * picture_width;
            for (x, value) in line.iter_mut().enumerate() {
                let pixel = &picture.rgba()[(row + x.min(picture_width - 1)) * 4..][..4];
                let alpha = f32::from(pixel[3]) / 255.0;
                let over_white = f32::from(pixel[c]) * alpha + 255.0 * (1.0 - alpha);
                *value = over_white / 127.5 - 1.0;
            }
        }
    }
    Tensor::from_vec(values, (1, 3, height, width), device).doing("bringing a picture to the device")
}

/// The top left part of a tensor `[1, 3, H, W]` in -1..1 as a picture of a size, which is at most `W x H`.
///
/// # Errors
/// If the tensor has another shape or is smaller than the picture.
pub fn picture_from_tensor(tensor: &Tensor, size: CanvasSize) -> Result<Picture> {
    if cuda::are_used_on(tensor.device()) {
        // The bytes are made on the card: nothing else is copied.
        let (width, height) = sides(size);
        let rgba = cuda::rgba(tensor, height, width)
            .and_then(|bytes| bytes.flatten_all()?.to_vec1::<u8>())
            .doing("bringing a picture from the device")?;
        return Picture::new(size, rgba);
    }
    let planes = planes_from_tensor(tensor, size).doing("bringing a picture from the device")?;
    let area = size.area();
    let mut rgba = vec![255_u8; area * 4];
    let (red, rest) = planes.split_at(area);
    let (green, blue) = rest.split_at(area);
    for (i, pixel) in rgba.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *pixel = [red[i], green[i], blue[i], 255];
    }
    Picture::new(size, rgba)
}

fn planes_from_tensor(tensor: &Tensor, size: CanvasSize) -> candle_core::Result<Vec<u8>> {
    let (width, height) = sides(size);
    let tensor = tensor
        .squeeze(0)?
        .narrow(1, 0, height)?
        .narrow(2, 0, width)?
        .contiguous()?;
    if tensor.dim(0)? != 3 {
        candle_core::bail!("a picture has 3 channels, not {}", tensor.dim(0)?);
    }
    // On a graphics card the bytes are made there: a quarter of the values to copy.
    if tensor.device().is_cpu() {
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(values
            .iter()
            .map(|value| (value * 127.5 + 128.0).clamp(0.0, 255.0) as u8)
            .collect())
    } else {
        tensor
            .to_dtype(DType::F32)?
            .affine(127.5, 128.0)?
            .clamp(0.0, 255.0)?
            .to_dtype(DType::U8)?
            .flatten_all()?
            .to_vec1::<u8>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u32, height: u32) -> CanvasSize {
        CanvasSize::new(width, height).unwrap()
    }

    #[test]
    fn pictures_survive_the_way_to_the_device_and_back() {
        let rgba: Vec<u8> = (0..5 * 3 * 4)
            .map(|i| if i % 4 == 3 { 255 } else { (i * 17 % 256) as u8 })
            .collect();
        let picture = Picture::new(size(5, 3), rgba).unwrap();
        let tensor = tensor_from_picture(&picture, 8, 8, &Device::Cpu).unwrap();
        assert_eq!(tensor.dims(), [1, 3, 8, 8]);
        assert_eq!(picture_from_tensor(&tensor, size(5, 3)).unwrap(), picture);
    }

    #[test]
    fn what_is_transparent_is_white() {
        let picture = Picture::solid(size(1, 1), [10, 20, 30, 0]);
        let tensor = tensor_from_picture(&picture, 1, 1, &Device::Cpu).unwrap();
        assert_eq!(tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [1.0; 3]);
    }

    #[test]
    fn a_cut_out_picture_has_no_dark_rim_at_another_size() {
        // A red half beside nothing, which is black underneath.
        let rgba: Vec<u8> = (0..16 * 16)
            .flat_map(|i| if i % 16 < 8 { [255, 0, 0, 255] } else { [0; 4] })
            .collect();
        let picture = Picture::new(size(16, 16), rgba).unwrap();
        for resized in [
            stretched(&picture, size(37, 9)),
            fitted(&picture, size(40, 30)),
            over_white(&picture),
        ] {
            for pixel in resized.rgba().as_chunks::<4>().0 {
                assert!(pixel[0] > 250 && pixel[3] == 255, "{pixel:?}");
            }
        }
        let opaque = Picture::solid(size(3, 3), [1, 2, 3, 255]);
        assert!(over_white(&opaque).is_same(&opaque));
        let half = over_white(&Picture::solid(size(1, 1), [0, 255, 100, 128]));
        assert_eq!(half.rgba(), [127, 255, 177, 255]);
    }

    #[test]
    fn a_fitted_picture_keeps_its_proportions() {
        let mut rgba = vec![0_u8; 30 * 10 * 4];
        for (i, pixel) in rgba.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let is_middle = (10..20).contains(&(i % 30));
            *pixel = [if is_middle { 200 } else { 0 }, 0, 0, 255];
        }
        let picture = Picture::new(size(30, 10), rgba).unwrap();
        let fit = fitted(&picture, size(10, 10));
        assert!(fit.rgba().as_chunks::<4>().0.iter().all(|pixel| pixel[0] == 200));
    }

    #[test]
    fn flat_colours_survive_resizing_exactly() {
        let picture = Picture::solid(size(7, 11), [3, 128, 255, 255]);
        for target in [size(1, 1), size(64, 3), size(5, 40)] {
            assert_eq!(
                stretched(&picture, target),
                Picture::solid(target, [3, 128, 255, 255])
            );
        }
    }
}
