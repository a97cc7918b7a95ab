//! Kind `image-prep`: resizing of pictures and mask pictures to the canvas.

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use wordbrush_engine::low_level::image::{Filter, resize};

use super::case::Case;

/// Pixels are multiples of this.
const STEP: f64 = 1.0 / 255.0;
/// Room for the rounding of such a multiple.
const SLACK: f64 = 1e-6;

pub(crate) fn replay(case: &mut Case) -> Result<()> {
    for index in 0.. {
        let name = |part: &str| format!("{index}.{part}");
        if !case.has_input(&name("image")) {
            break;
        }
        let image = resized::<3>(case, &name("image"), &name("image_resized"), Filter::Bicubic)?;
        case.check_within(&name("image_resized"), &image, STEP + SLACK)?;

        let mask = resized::<1>(case, &name("mask_image"), &name("mask"), Filter::Bilinear)?;
        case.check_within(&name("mask"), &mask.affine(-1.0, 1.0)?, STEP + SLACK)?;

        // Red is the mask, green its inverse, blue the mask again: only the first channel may count.
        let source = case.input(&name("mask_image"))?.clone();
        let colours = Tensor::cat(&[&source, &source.affine(-1.0, 1.0)?, &source], 1)?;
        let mask = resize_tensor::<3>(case, &colours, &name("mask"), Filter::Bilinear)?;
        let mask = mask.narrow(1, 0, 1)?.affine(-1.0, 1.0)?;
        case.check_within(&name("mask_from_rgb_first_channel"), &mask, STEP + SLACK)?;
    }
    Ok(())
}

fn resized<const C: usize>(case: &Case, input: &str, target: &str, filter: Filter) -> Result<Tensor> {
    resize_tensor::<C>(case, case.input(input)?, target, filter)
}

/// Resizes `[1, C, H, W]` in 0..1 to the size that an expected tensor has.
fn resize_tensor<const C: usize>(
    case: &Case,
    source: &Tensor,
    target: &str,
    filter: Filter,
) -> Result<Tensor> {
    resized_to::<C>(source, case.recorded_size(target)?, filter)
}

/// Resizes `[1, C, H, W]` in 0..1 to a height and width, by way of bytes as Pillow does.
pub(crate) fn resized_to<const C: usize>(
    source: &Tensor,
    (new_height, new_width): (usize, usize),
    filter: Filter,
) -> Result<Tensor> {
    let (_, channels, height, width) = source.dims4()?;
    if channels != C || height == 0 || width == 0 {
        bail!("{:?} is no picture of {C} channels", source.dims());
    }
    let pixels: Vec<u8> = source
        .to_device(&Device::Cpu)?
        .to_dtype(DType::F32)?
        .squeeze(0)?
        .permute((1, 2, 0))?
        .flatten_all()?
        .to_vec1::<f32>()?
        .iter()
        .map(|value| (value * 255.0).round() as u8)
        .collect();
    let pixels = resize::<C>(&pixels, (width, height), (new_width, new_height), filter);
    let values: Vec<f32> = pixels.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    Ok(
        Tensor::from_vec(values, (new_height, new_width, C), &Device::Cpu)?
            .permute((2, 0, 1))?
            .unsqueeze(0)?
            .contiguous()?
            .to_device(source.device())?,
    )
}
