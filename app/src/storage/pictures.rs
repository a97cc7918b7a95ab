//! Pictures and masks from files and back, within bounds.

use std::io::Cursor;

use anyhow::{Context as _, anyhow, bail};
use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer, images::Image as ResizeImage,
};
use image::{DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader};
use wordbrush_engine::api::{CanvasSize, MAX_CANVAS_SIDE, Mask, Picture};

/// The longest side of a picture that is still read; larger than a canvas, since photographs are scaled down.
const MAX_SOURCE_SIDE: u32 = 16_384;
/// What decoding one picture may take in memory.
const MAX_DECODED_BYTES: u64 = 1 << 30;

/// Reads a PNG, JPEG or WebP; one with a side beyond [`MAX_CANVAS_SIDE`] is scaled down to fit.
///
/// # Errors
/// If the bytes are no such picture, are damaged, or would take too much memory.
pub fn picture_from_bytes(bytes: &[u8]) -> anyhow::Result<Picture> {
    picture_from_image(&decode(bytes)?)
}

/// From a decoded image of any pixel format.
fn picture_from_image(image: &DynamicImage) -> anyhow::Result<Picture> {
    let rgba = image.to_rgba8();
    let (width, height) = rgba.dimensions();
    let longest = width.max(height);
    if longest <= MAX_CANVAS_SIDE {
        let size = CanvasSize::new(width, height)?;
        return Ok(Picture::new(size, rgba.into_raw())?);
    }
    let scaled =
        |side: u32| (u64::from(side) * u64::from(MAX_CANVAS_SIDE) / u64::from(longest)).max(1) as u32;
    let size = CanvasSize::new(scaled(width), scaled(height))?;
    let pixels = resize(rgba.into_raw(), (width, height), size, PixelType::U8x4)?;
    Ok(Picture::new(size, pixels)?)
}

/// A picture scaled to another size.
///
/// # Errors
/// If there is not enough memory for it.
pub fn scale_picture(picture: &Picture, size: CanvasSize) -> anyhow::Result<Picture> {
    if picture.size() == size {
        return Ok(picture.clone());
    }
    let from = (picture.size().width(), picture.size().height());
    let pixels = resize(picture.rgba().to_vec(), from, size, PixelType::U8x4)?;
    Ok(Picture::new(size, pixels)?)
}

/// A mask scaled to another canvas.
///
/// # Errors
/// If there is not enough memory for it.
pub fn scale_mask(mask: &Mask, size: CanvasSize) -> anyhow::Result<Mask> {
    if mask.size() == size {
        return Ok(mask.clone());
    }
    let from = (mask.size().width(), mask.size().height());
    let coverage = resize(mask.to_coverage(), from, size, PixelType::U8)?;
    Ok(Mask::from_coverage(size, &coverage)?)
}

/// Reads a mask of any size and scales it to the canvas.
///
/// What counts as painted: where the picture has transparency, what is opaque; in an opaque picture, what is white.
///
/// # Errors
/// If the bytes are no picture, are damaged, or would take too much memory.
pub fn mask_from_bytes(bytes: &[u8], canvas: CanvasSize) -> anyhow::Result<Mask> {
    let image = decode(bytes)?;
    let (width, height) = (image.width(), image.height());
    let coverage = coverage_of(&image);
    let coverage = if (width, height) == (canvas.width(), canvas.height()) {
        coverage
    } else {
        resize(coverage, (width, height), canvas, PixelType::U8)?
    };
    Ok(Mask::from_coverage(canvas, &coverage)?)
}

fn coverage_of(image: &DynamicImage) -> Vec<u8> {
    if image.color().has_alpha() {
        let pixels = image.to_luma_alpha8().into_raw();
        let is_opaque = pixels.chunks_exact(2).all(|pixel| pixel[1] == 255);
        let channel = usize::from(!is_opaque);
        pixels.chunks_exact(2).map(|pixel| pixel[channel]).collect()
    } else {
        image.to_luma8().into_raw()
    }
}

/// Decodes a PNG, JPEG or WebP after a look at its size.
fn decode(bytes: &[u8]) -> anyhow::Result<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .context("cannot read the picture")?;
    match reader.format() {
        Some(ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP) => {}
        _ => bail!("it is no PNG, JPEG or WebP picture"),
    }
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SOURCE_SIDE);
    limits.max_image_height = Some(MAX_SOURCE_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| match error {
        ImageError::Limits(_) => anyhow!(
            "the picture is too large: both sides must be 1 to {MAX_SOURCE_SIDE} pixels, and {} MB must hold it",
            MAX_DECODED_BYTES >> 20
        ),
        error => damaged(&error),
    })?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 || width > MAX_SOURCE_SIDE || height > MAX_SOURCE_SIDE {
        bail!(
            "a picture of {width} x {height} pixels is not possible: both sides must be 1 to {MAX_SOURCE_SIDE}"
        );
    }
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        bail!("a picture of {width} x {height} pixels takes too much memory: use a smaller one");
    }
    let orientation = decoder.orientation().ok();
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| damaged(&error))?;
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    Ok(image)
}

/// What a decoder says, without its sources: it repeats them in its own words.
fn damaged(error: &ImageError) -> anyhow::Error {
    anyhow!(error.to_string()).context("the picture is damaged")
}

/// The EXIF block of a picture, if it has one.
pub(crate) fn exif_data(bytes: &[u8]) -> Option<Vec<u8>> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    reader.into_decoder().ok()?.exif_metadata().ok()?
}

/// Coverage as a grey PNG, one byte a pixel.
pub(crate) fn png_from_mask(mask: &Mask) -> anyhow::Result<Vec<u8>> {
    encode_png(
        mask.size(),
        png::ColorType::Grayscale,
        &mask.to_coverage(),
        |_| Ok(()),
    )
}

/// A picture as an RGBA PNG.
pub(crate) fn png_from_picture(picture: &Picture) -> anyhow::Result<Vec<u8>> {
    encode_png(picture.size(), png::ColorType::Rgba, picture.rgba(), |_| Ok(()))
}

/// Encodes 8-bit pixels; `prepare` may add text chunks before the pixels are written.
pub(crate) fn encode_png(
    size: CanvasSize,
    colour_type: png::ColorType,
    pixels: &[u8],
    prepare: impl FnOnce(&mut png::Encoder<'_, &mut Vec<u8>>) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, size.width(), size.height());
    encoder.set_color(colour_type);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Balanced);
    prepare(&mut encoder)?;
    let mut writer = encoder.write_header().context("cannot encode the picture")?;
    writer
        .write_image_data(pixels)
        .context("cannot encode the picture")?;
    writer.finish().context("cannot encode the picture")?;
    Ok(bytes)
}

fn resize(
    pixels: Vec<u8>,
    (width, height): (u32, u32),
    to: CanvasSize,
    pixel_type: PixelType,
) -> anyhow::Result<Vec<u8>> {
    let source =
        ResizeImage::from_vec_u8(width, height, pixels, pixel_type).context("cannot scale the picture")?;
    let mut target = ResizeImage::new(to.width(), to.height(), pixel_type);
    // Sharper filters ring: a mask would get a faint halo.
    let filter = match pixel_type {
        PixelType::U8 => FilterType::Bilinear,
        _ => FilterType::Lanczos3,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    Resizer::new()
        .resize(&source, &mut target, &options)
        .context("cannot scale the picture")?;
    Ok(target.into_vec())
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, LumaA, Rgba, RgbaImage};

    use super::*;

    fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Vec::new();
        image
            .into()
            .write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png)
            .unwrap();
        bytes
    }

    fn size(width: u32, height: u32) -> CanvasSize {
        CanvasSize::new(width, height).unwrap()
    }

    #[test]
    fn opaque_masks_are_read_by_brightness_and_others_by_alpha() {
        let grey = GrayImage::from_fn(4, 1, |x, _| Luma([[0, 100, 200, 255][x as usize]]));
        let mask = mask_from_bytes(&png(grey), size(4, 1)).unwrap();
        assert_eq!(mask.to_coverage(), [0, 100, 200, 255]);

        let black_ink = RgbaImage::from_fn(2, 1, |x, _| Rgba([0, 0, 0, [0, 255][x as usize]]));
        let mask = mask_from_bytes(&png(black_ink), size(2, 1)).unwrap();
        assert_eq!(mask.to_coverage(), [0, 255]);

        let opaque = image::GrayAlphaImage::from_fn(2, 1, |x, _| LumaA([[7, 250][x as usize], 255]));
        let mask = mask_from_bytes(&png(opaque), size(2, 1)).unwrap();
        assert_eq!(mask.to_coverage(), [7, 250]);
    }

    #[test]
    fn masks_of_another_size_are_scaled_to_the_canvas() {
        let half = GrayImage::from_fn(2, 2, |x, _| Luma([if x == 0 { 255 } else { 0 }]));
        let mask = mask_from_bytes(&png(half), size(200, 100)).unwrap();
        assert_eq!(mask.coverage(0, 50), 255);
        assert_eq!(mask.coverage(199, 50), 0);
    }

    #[test]
    fn a_header_that_promises_a_giant_is_refused_without_taking_memory() {
        let mut bytes = png(GrayImage::new(1, 1));
        bytes[16..20].copy_from_slice(&100_000_u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&100_000_u32.to_be_bytes());
        let crc = crc32fast::hash(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        let error = picture_from_bytes(&bytes).unwrap_err();
        assert!(error.to_string().contains("too large"), "{error:#}");
    }

    #[test]
    fn other_formats_are_told_from_damaged_pictures() {
        for other in [
            &b"GIF89a\x01\0\x01\0\0\0\0;"[..],
            b"BM\0\0\0\0\0\0\0\0",
            b"hello",
            b"",
        ] {
            let error = picture_from_bytes(other).unwrap_err();
            assert_eq!(error.to_string(), "it is no PNG, JPEG or WebP picture");
        }
        let whole = png(GrayImage::new(9, 9));
        let error = picture_from_bytes(&whole[..whole.len() - 20]).unwrap_err();
        assert_eq!(error.to_string(), "the picture is damaged");
        let mut noise = whole;
        noise[12..16].copy_from_slice(b"XXXX");
        let told = format!("{:#}", picture_from_bytes(&noise).unwrap_err());
        assert_eq!(told.matches("XXXX").count(), 1, "it is said once: {told}");
    }

    #[test]
    fn pictures_beyond_the_canvas_limit_are_scaled_down() {
        let wide = GrayImage::new(MAX_CANVAS_SIDE + 8, 16);
        let picture = picture_from_bytes(&png(wide)).unwrap();
        assert_eq!(picture.size().width(), MAX_CANVAS_SIDE);
        assert_eq!(picture.size().height(), 15);
    }
}
