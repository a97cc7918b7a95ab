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

/// A picture made small: the average of the pixels under each pixel of the result.
pub fn picture_image(picture: &Picture, side: usize) -> ColorImage {
    let (width, height) = (picture.size().width() as usize, picture.size().height() as usize);
    let [columns, rows] = fitted(width as u32, height as u32, side);
    let mut pixels = Vec::with_capacity(columns * rows);
    for row in 0..rows {
        for column in 0..columns {
            let xs =
                column * width / columns..((column + 1) * width / columns).max(column * width / columns + 1);
            let ys = row * height / rows..((row + 1) * height / rows).max(row * height / rows + 1);
            let mut sum = [0u32; 3];
            let mut count = 0;
            for y in ys {
                for x in xs.clone() {
                    let at = (y.min(height - 1) * width + x.min(width - 1)) * 4;
                    let Some(pixel) = picture.rgba().get(at..at + 3) else {
                        continue;
                    };
                    for (total, &channel) in sum.iter_mut().zip(pixel) {
                        *total += u32::from(channel);
                    }
                    count += 1;
                }
            }
            let [red, green, blue] = sum.map(|total| (total / count.max(1)) as u8);
            pixels.push(Color32::from_rgb(red, green, blue));
        }
    }
    ColorImage::new([columns, rows], pixels)
}
