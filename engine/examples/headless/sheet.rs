//! Pictures side by side, differences, and PNG files.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use wordbrush_engine::api::{CanvasSize, Picture};

/// White between the pictures of a sheet, in pixels.
const GAP_PX: usize = 6;

/// Pictures of one size in rows; white where a row is shorter than the longest.
pub(crate) fn sheet(rows: &[Vec<Picture>]) -> Result<Picture> {
    let first = rows.iter().flatten().next().context("no picture")?;
    let (width, height) = (first.size().width() as usize, first.size().height() as usize);
    ensure!(
        rows.iter()
            .flatten()
            .all(|picture| picture.size() == first.size()),
        "the pictures of a sheet have one size"
    );
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let (full_width, full_height) = (
        columns * (width + GAP_PX) - GAP_PX,
        rows.len() * (height + GAP_PX) - GAP_PX,
    );
    let mut rgba = vec![255; full_width * full_height * 4];
    for (row, pictures) in rows.iter().enumerate() {
        for (column, picture) in pictures.iter().enumerate() {
            for (y, line) in picture.rgba().chunks_exact(width * 4).enumerate() {
                let start = (row * (height + GAP_PX) + y) * full_width + column * (width + GAP_PX);
                rgba[start * 4..][..line.len()].copy_from_slice(line);
            }
        }
    }
    let size = CanvasSize::new(full_width as u32, full_height as u32)?;
    Ok(Picture::new(size, rgba)?)
}

/// How far two pictures are apart, brighter by a factor.
pub(crate) fn difference(a: &Picture, b: &Picture, factor: u32) -> Result<Picture> {
    let rgba: Vec<u8> = a
        .rgba()
        .iter()
        .zip(b.rgba())
        .enumerate()
        .map(|(i, (&a, &b))| {
            if i % 4 == 3 {
                255
            } else {
                (u32::from(a.abs_diff(b)) * factor).min(255) as u8
            }
        })
        .collect();
    Ok(Picture::new(a.size(), rgba)?)
}

/// Values in 0..1 as grey, each a square of `side` pixels.
pub(crate) fn grey_cells(values: &[f32], columns: usize, side: usize) -> Result<Picture> {
    let (width, height) = (columns * side, values.len() / columns * side);
    let rgba: Vec<u8> = (0..width * height)
        .flat_map(|i| {
            let value = values[i / width / side * columns + i % width / side];
            let grey = (value.clamp(0.0, 1.0) * 255.0).round() as u8;
            [grey, grey, grey, 255]
        })
        .collect();
    Ok(Picture::new(CanvasSize::new(width as u32, height as u32)?, rgba)?)
}

/// Writes a picture as PNG.
pub(crate) fn write_png(path: &Path, picture: &Picture) -> Result<()> {
    let file = std::fs::File::create(path).with_context(|| format!("writing {}", path.display()))?;
    let mut encoder = png::Encoder::new(
        std::io::BufWriter::new(file),
        picture.size().width(),
        picture.size().height(),
    );
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(picture.rgba())?;
    Ok(())
}
