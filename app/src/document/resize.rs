//! Another canvas size: every mask scaled or cut along, the background picture too.

use std::convert::Infallible;

use fast_image_resize as fir;
use wordbrush_engine::api::{CanvasSize, Mask, Picture, PixelRect};

use super::{BackgroundField, Document, Edit, RegionField, RegionLayer, edit::SizedMask};

/// What becomes of the painting when the canvas gets another size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResizeMode {
    /// It is stretched to the new size, and so are soft edges.
    #[default]
    Scale,
    /// It keeps its scale and its middle; the edges are cut or grown.
    Centre,
    /// It keeps its scale and its top left corner; right and bottom are cut or grown.
    TopLeft,
}

/// What takes its time of another canvas size: masks and background picture, made to fit.
#[derive(Clone, Debug)]
pub struct ResizedCanvas {
    size: CanvasSize,
    masks: Vec<SizedMask>,
    /// The background picture, if it was cut.
    cut_picture: Option<Picture>,
    /// What edges become softer by, so that they look as before.
    softness_factor: Option<f32>,
}

impl ResizedCanvas {
    /// Makes masks and background picture of a document fit another size. `check` is asked before each mask whether to go
    /// on.
    ///
    /// # Errors
    /// That of `check`.
    pub fn new<E>(
        document: &Document,
        size: CanvasSize,
        mode: ResizeMode,
        check: impl Fn() -> Result<(), E>,
    ) -> Result<Self, E> {
        let old = document.size;
        let offset = match mode {
            ResizeMode::Centre => (
                (i64::from(size.width()) - i64::from(old.width())).div_euclid(2),
                (i64::from(size.height()) - i64::from(old.height())).div_euclid(2),
            ),
            ResizeMode::Scale | ResizeMode::TopLeft => (0, 0),
        };
        let mut masks = Vec::with_capacity(document.regions.len());
        for region in &document.regions {
            check()?;
            masks.push(SizedMask {
                region: region.id,
                mask: match mode {
                    ResizeMode::Scale => scaled(&region.mask, size),
                    ResizeMode::Centre | ResizeMode::TopLeft => cropped(&region.mask, size, offset),
                },
            });
        }
        check()?;
        // The picture is always fitted to the canvas, so that only cutting needs a new one.
        let cut_picture = (document.background.image.as_ref())
            .filter(|_| mode != ResizeMode::Scale)
            .map(|picture| cropped_picture(&scaled_picture(picture, old), size, offset));
        let factor = (size.area() as f64 / old.area() as f64).sqrt() as f32;
        Ok(Self {
            size,
            masks,
            cut_picture,
            softness_factor: (mode == ResizeMode::Scale).then_some(factor),
        })
    }
}

impl Edit {
    /// Gives the canvas another size, with masks and the background picture made to fit.
    pub fn resize(document: &Document, size: CanvasSize, mode: ResizeMode) -> Self {
        let Ok(resized) = ResizedCanvas::new(document, size, mode, || Ok::<_, Infallible>(()));
        Self::resize_to(document, resized)
    }

    /// As [`Edit::resize`], with what was made of a document of the same masks and picture; softness is that of `document`.
    pub fn resize_to(document: &Document, resized: ResizedCanvas) -> Self {
        let ResizedCanvas {
            size,
            masks,
            cut_picture,
            softness_factor,
        } = resized;
        if size == document.size {
            return Self::NOTHING;
        }
        let mut edits = vec![Self::Size { size, masks }];
        if let Some(factor) = softness_factor {
            let softer = |region: &RegionLayer| {
                Self::Region(region.id, RegionField::MaskStd(region.mask_std_px * factor))
            };
            edits.extend(document.regions.iter().map(softer));
        }
        if let Some(cut) = cut_picture {
            edits.push(Self::Background(BackgroundField::Image(Some(cut))));
        }
        Self::Batch(edits)
    }
}

/// The mask with its content moved by `offset` (pixels right and down) on a canvas of another size.
pub(super) fn cropped(mask: &Mask, size: CanvasSize, offset: (i64, i64)) -> Mask {
    let Some((from, (left, top))) = overlap(mask.size(), size, offset) else {
        return Mask::new(size);
    };
    let part = mask.read_rect(from);
    let mut coverage = vec![0; size.area()];
    for (y, line) in part.chunks_exact(from.width() as usize).enumerate() {
        let start = (top as usize + y) * size.width() as usize + left as usize;
        coverage[start..start + line.len()].copy_from_slice(line);
    }
    Mask::from_coverage(size, &coverage).expect("coverage was made for this size")
}

/// Which part of the old canvas is seen on the new one, and where its corner lands there.
fn overlap(old: CanvasSize, new: CanvasSize, offset: (i64, i64)) -> Option<(PixelRect, (u32, u32))> {
    let along = |old: u32, new: u32, offset: i64| {
        let first = (-offset).clamp(0, i64::from(old));
        let last = (i64::from(new) - offset).clamp(0, i64::from(old));
        (first as u32, last as u32, (first + offset).max(0) as u32)
    };
    let (x0, x1, left) = along(old.width(), new.width(), offset.0);
    let (y0, y1, top) = along(old.height(), new.height(), offset.1);
    PixelRect::new(x0, y0, x1, y1).map(|rect| (rect, (left, top)))
}

fn scaled(mask: &Mask, size: CanvasSize) -> Mask {
    if mask.is_empty() {
        return Mask::new(size);
    }
    let coverage = resampled(&mask.to_coverage(), mask.size(), size, fir::PixelType::U8);
    Mask::from_coverage(size, &coverage).expect("coverage was made for this size")
}

fn scaled_picture(picture: &Picture, size: CanvasSize) -> Picture {
    if picture.size() == size {
        return picture.clone();
    }
    let rgba = resampled(picture.rgba(), picture.size(), size, fir::PixelType::U8x4);
    Picture::new(size, rgba).expect("pixels were made for this size")
}

fn cropped_picture(picture: &Picture, size: CanvasSize, offset: (i64, i64)) -> Picture {
    let mut rgba = [255, 255, 255, 255].repeat(size.area());
    if let Some((from, (left, top))) = overlap(picture.size(), size, offset) {
        let length = from.width() as usize * 4;
        for y in from.y0..from.y1 {
            let source = (y as usize * picture.size().width() as usize + from.x0 as usize) * 4;
            let line = (top + y - from.y0) as usize * size.width() as usize + left as usize;
            rgba[line * 4..line * 4 + length].copy_from_slice(&picture.rgba()[source..source + length]);
        }
    }
    Picture::new(size, rgba).expect("pixels were made for this size")
}

/// Area-correct bilinear resampling, so that thin strokes survive shrinking.
fn resampled(bytes: &[u8], from: CanvasSize, to: CanvasSize, pixel: fir::PixelType) -> Vec<u8> {
    let source = fir::images::ImageRef::new(from.width(), from.height(), bytes, pixel)
        .expect("the bytes belong to this size");
    let mut target = fir::images::Image::new(to.width(), to.height(), pixel);
    let options =
        fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear));
    fir::Resizer::new()
        .resize(&source, &mut target, &options)
        .expect("both images have the same pixel type");
    target.into_vec()
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::RegionId;

    use super::*;

    fn size(width: u32, height: u32) -> CanvasSize {
        CanvasSize::new(width, height).unwrap()
    }

    fn painted(canvas: CanvasSize, rect: PixelRect) -> Document {
        let mut document = Document::new(canvas);
        let (_, edit) = Edit::new_region(&document, "tree");
        document.apply(edit);
        let coverage: Vec<u8> = (0..canvas.area() as u32)
            .map(|i| {
                let (x, y) = (i % canvas.width(), i / canvas.width());
                let inside = (rect.x0..rect.x1).contains(&x) && (rect.y0..rect.y1).contains(&y);
                if inside { 255 } else { 0 }
            })
            .collect();
        let mask = Mask::from_coverage(canvas, &coverage).unwrap();
        let edit = Edit::set_mask(&document, RegionId(1), &mask);
        document.apply(edit);
        document
    }

    #[test]
    fn scaling_keeps_proportions_and_comes_back_whole() {
        let mut document = painted(size(128, 64), PixelRect::new(32, 16, 96, 48).unwrap());
        let before = document.clone();
        let edit = Edit::resize(&document, size(256, 128), ResizeMode::Scale);
        let inverse = document.apply(edit);
        assert_eq!(document.regions[0].mask.size(), size(256, 128));
        assert_eq!(document.regions[0].mask.coverage(128, 64), 255);
        assert_eq!(document.regions[0].mask.coverage(20, 10), 0);
        assert_eq!(document.regions[0].mask_std_px, 16.0);
        document.apply(inverse);
        assert_eq!(document, before);
    }

    #[test]
    fn cutting_keeps_the_middle_or_the_corner() {
        let document = painted(size(100, 100), PixelRect::new(40, 40, 60, 60).unwrap());
        for (mode, to, expected) in [
            (ResizeMode::Centre, size(200, 60), PixelRect::new(90, 20, 110, 40)),
            (ResizeMode::TopLeft, size(200, 50), PixelRect::new(40, 40, 60, 50)),
            (ResizeMode::Centre, size(10, 10), PixelRect::new(0, 0, 10, 10)),
        ] {
            let mut resized = document.clone();
            resized.apply(Edit::resize(&document, to, mode));
            assert_eq!(resized.regions[0].mask.bounds(), expected, "{mode:?} {to:?}");
        }
    }

    #[test]
    fn the_background_picture_is_cut_along() {
        let mut document = Document::new(size(4, 2));
        document.background.image = Some(Picture::solid(size(2, 1), [9, 8, 7, 255]));
        document.apply(Edit::resize(&document, size(6, 2), ResizeMode::Centre));
        let picture = document.background.image.unwrap();
        assert_eq!(picture.size(), size(6, 2));
        assert_eq!(picture.rgba()[..4], [255; 4]);
        assert_eq!(picture.rgba()[4..8], [9, 8, 7, 255]);
    }
}
