//! Canvases to begin with: prompts the pocket model knows, under masks drawn by formulas.
//!
//! Their pictures in the gallery are the model's own; `cargo run --release -p wordbrush --example paint_samples -- assets/samples`
//! paints them anew.

mod canvases;
mod shapes;

use wordbrush_engine::api::{CanvasSize, Mask, RegionId, Seed};

use crate::document::{Document, RegionLayer, region_colour};
pub use canvases::SAMPLES;
use shapes::Shape;

/// Every sample's canvas, in pixels: what the pocket model was trained for.
const SIZE: (u32, u32) = (256, 256);
/// Objects keep their outlines better than with one.
const BOOTSTRAP_STEPS: u8 = 2;

/// A canvas of the gallery.
#[derive(Debug)]
pub struct Sample {
    /// Its name.
    pub name: &'static str,
    /// What one can learn from it.
    pub teaches: &'static str,
    /// Its finished picture as a JPEG, half as large as its canvas.
    pub picture: &'static [u8],
    seed: u64,
    /// From back to front.
    regions: &'static [SampleRegion],
}

#[derive(Debug)]
struct SampleRegion {
    name: &'static str,
    prompt: &'static str,
    shape: Shape,
    softness_px: f32,
}

/// A sample's document.
pub fn document(sample: &Sample) -> Document {
    let size = CanvasSize::new(SIZE.0, SIZE.1).expect("samples have a possible size");
    let mut document = Document::new(size);
    document.seed = Seed(sample.seed);
    document.settings.bootstrap_steps = BOOTSTRAP_STEPS;
    for (index, region) in sample.regions.iter().enumerate() {
        let id = RegionId(index as u64 + 1);
        let mut layer = RegionLayer::new(id, size, region_colour(index), region.prompt);
        region.name.clone_into(&mut layer.name);
        layer.mask = mask(&region.shape, size);
        layer.mask_std_px = region.softness_px;
        document.regions.push(layer);
    }
    document.next_region_id = sample.regions.len() as u64 + 1;
    document
}

fn mask(shape: &Shape, size: CanvasSize) -> Mask {
    let (width, height) = (size.width() as usize, size.height() as usize);
    let mut coverage = Vec::with_capacity(size.area());
    for row in 0..height {
        for column in 0..width {
            coverage.push((shape.coverage_at(column, row, width, height) * 255.0).round() as u8);
        }
    }
    Mask::from_coverage(size, &coverage).expect("one value for each pixel")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panels::words::POCKET;

    #[test]
    fn every_sample_has_a_picture_of_its_proportions() {
        for sample in SAMPLES {
            let picture = image::load_from_memory(sample.picture).unwrap();
            assert_eq!(
                (picture.width() * 2, picture.height() * 2),
                SIZE,
                "{}",
                sample.name
            );
        }
    }

    #[test]
    fn every_sample_has_painted_masks_and_known_words() {
        assert!(SAMPLES.len() >= 6);
        for sample in SAMPLES {
            let document = document(sample);
            for region in &document.regions {
                assert!(!region.mask.is_empty(), "{}: {}", sample.name, region.name);
                let unknown = POCKET.unknown(&region.prompt);
                assert!(
                    unknown.is_empty(),
                    "{}: {:?} is not known",
                    sample.name,
                    region.prompt
                );
            }
        }
    }
}
