//! Small pictures of masks and frames, made anew only when what they show has changed.

use std::collections::BTreeMap;

use eframe::egui::{self, Color32, ColorImage, TextureHandle, TextureOptions};
use wordbrush_engine::api::{Mask, Picture, RegionId};

use crate::document::Document;

/// Longer side of a mask's thumbnail in pixels.
const SIDE: usize = 48;

/// The thumbnails of all regions and of the background.
#[derive(Default)]
pub struct Thumbnails {
    regions: BTreeMap<RegionId, MaskThumbnail>,
    background: Option<(Picture, TextureHandle)>,
}

struct MaskThumbnail {
    mask: Mask,
    colour: [u8; 3],
    texture: TextureHandle,
}

impl Thumbnails {
    /// Brings the thumbnails up to the document.
    pub fn update(&mut self, ctx: &egui::Context, document: &Document) {
        self.regions.retain(|id, _| document.region(*id).is_some());
        for region in &document.regions {
            let fresh = self
                .regions
                .get(&region.id)
                .is_some_and(|known| known.colour == region.colour && known.mask == region.mask);
            if fresh {
                continue;
            }
            let image = mask_image(&region.mask, region.colour);
            let texture = match self.regions.remove(&region.id) {
                Some(mut known) => {
                    known.texture.set(image, TextureOptions::LINEAR);
                    known.texture
                }
                None => ctx.load_texture("mask thumbnail", image, TextureOptions::LINEAR),
            };
            let thumbnail = MaskThumbnail {
                mask: region.mask.clone(),
                colour: region.colour,
                texture,
            };
            self.regions.insert(region.id, thumbnail);
        }
        let known = self.background.as_ref().map(|(picture, _)| picture);
        let is_same = match (known, &document.background.image) {
            (Some(known), Some(image)) => known.is_same(image),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            self.background = document.background.image.as_ref().map(|picture| {
                let texture = ctx.load_texture(
                    "background thumbnail",
                    picture_image(picture, SIDE),
                    TextureOptions::LINEAR,
                );
                (picture.clone(), texture)
            });
        }
    }

    /// A region's thumbnail.
    pub fn region(&self, id: RegionId) -> Option<&TextureHandle> {
        self.regions.get(&id).map(|known| &known.texture)
    }

    /// The background picture's thumbnail.
    pub fn background(&self) -> Option<&TextureHandle> {
        self.background.as_ref().map(|(_, texture)| texture)
    }
}

fn fitted(width: u32, height: u32, side: usize) -> [usize; 2] {
    let longest = width.max(height).max(1) as f32;
    [width, height].map(|length| ((length as f32 / longest * side as f32).round() as usize).max(1))
}

fn mask_image(mask: &Mask, colour: [u8; 3]) -> ColorImage {
    let (width, height) = (mask.size().width(), mask.size().height());
    let [columns, rows] = fitted(width, height, SIDE);
    let mut pixels = Vec::with_capacity(columns * rows);
    for row in 0..rows {
        for column in 0..columns {
            let x = (column as u32 * 2 + 1) * width / (columns as u32 * 2);
            let y = (row as u32 * 2 + 1) * height / (rows as u32 * 2);
            let [red, green, blue] = colour;
            pixels.push(Color32::from_rgba_unmultiplied(
                red,
                green,
                blue,
                mask.coverage(x, y),
            ));
        }
    }
    ColorImage::new([columns, rows], pixels)
}

/// A picture made small: each pixel is the average of up to 16 that lie under it, so that the cost does not grow with
/// the picture.
pub fn picture_image(picture: &Picture, side: usize) -> ColorImage {
    let (width, height) = (picture.size().width(), picture.size().height());
    let [columns, rows] = fitted(width, height, side);
    let (xs, ys) = (samples(width as usize, columns), samples(height as usize, rows));
    let mut pixels = Vec::with_capacity(columns * rows);
    for ys in &ys {
        for xs in &xs {
            let mut sum = [0u32; 3];
            for at in ys
                .iter()
                .flat_map(|y| xs.iter().map(move |x| (y * width as usize + x) * 4))
            {
                for (total, &channel) in sum.iter_mut().zip(&picture.rgba()[at..at + 3]) {
                    *total += u32::from(channel);
                }
            }
            let count = (xs.len() * ys.len()) as u32;
            let [red, green, blue] = sum.map(|total| (total / count) as u8);
            pixels.push(Color32::from_rgb(red, green, blue));
        }
    }
    ColorImage::new([columns, rows], pixels)
}

/// For each of `count` parts of a length, one to four places in it, evenly spread.
fn samples(length: usize, count: usize) -> Vec<Vec<usize>> {
    const MOST: usize = 4;
    (0..count)
        .map(|part| {
            let from = part * length / count;
            let to = ((part + 1) * length / count).max(from + 1);
            let taken = (to - from).min(MOST);
            (0..taken)
                .map(|index| from + (2 * index + 1) * (to - from) / (2 * taken))
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::CanvasSize;

    use super::*;

    #[test]
    fn small_pictures_show_the_average_and_keep_their_shape() {
        let size = CanvasSize::new(640, 320).unwrap();
        // Columns of black and white by turns, white on the right half.
        let rgba: Vec<u8> = (0..size.area())
            .flat_map(|index| {
                let x = index % 640;
                let value = if x >= 320 || x % 2 == 0 { 255 } else { 0 };
                [value, value, value, 255]
            })
            .collect();
        let small = picture_image(&Picture::new(size, rgba).unwrap(), 64);
        assert_eq!(small.size, [64, 32]);
        assert!((100..156).contains(&small.pixels[3].r()), "{:?}", small.pixels[3]);
        assert_eq!(small.pixels[60].r(), 255);
        let dot = Picture::solid(CanvasSize::new(1, 1).unwrap(), [7, 8, 9, 255]);
        assert!(
            picture_image(&dot, 8)
                .pixels
                .iter()
                .all(|pixel| *pixel == Color32::from_rgb(7, 8, 9))
        );
    }
}
