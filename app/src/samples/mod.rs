//! Canvases to begin with: prompts the pocket model knows, under masks drawn by formulas.

mod shapes;

use eframe::egui::{Color32, ColorImage};
use wordbrush_engine::api::{CanvasSize, Mask, RegionId, Seed};

use crate::document::{Document, RegionLayer, region_colour};
use shapes::Shape;

/// A canvas of the gallery.
#[derive(Debug)]
pub struct Sample {
    /// Its name.
    pub name: &'static str,
    /// What one can learn from it.
    pub teaches: &'static str,
    width: u32,
    height: u32,
    background: &'static str,
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

const fn region(name: &'static str, prompt: &'static str, shape: Shape, softness_px: f32) -> SampleRegion {
    SampleRegion {
        name,
        prompt,
        shape,
        softness_px,
    }
}

/// The gallery; the first is shown at the first start.
pub const SAMPLES: &[Sample] = &[
    Sample {
        name: "Meadow",
        teaches: "Land, sky and things: where regions overlap, the front one wins.",
        width: 320,
        height: 256,
        background: "",
        seed: 7,
        regions: &[
            region("Sky", "blue sky", Shape::Above { y: 0.62, wave: 0.02 }, 10.0),
            region("Meadow", "grass", Shape::Below { y: 0.58, wave: 0.035 }, 6.0),
            region(
                "Sun",
                "sun",
                Shape::Ellipse {
                    x: 0.76,
                    y: 0.21,
                    rx: 0.14,
                    ry: 0.175,
                },
                4.0,
            ),
            region(
                "Tree",
                // The embedded model paints foliage better than it draws a tree.
                "forest",
                Shape::Tree {
                    x: 0.3,
                    y: 0.86,
                    height: 0.68,
                },
                4.0,
            ),
        ],
    },
    Sample {
        name: "Harbour",
        teaches: "Try another prompt for the sky: sunset, night sky, clouds.",
        width: 320,
        height: 256,
        background: "",
        seed: 12,
        regions: &[
            region("Sky", "sunset sky", Shape::Above { y: 0.52, wave: 0.0 }, 10.0),
            region("Sea", "sea", Shape::Below { y: 0.5, wave: 0.012 }, 6.0),
            region(
                "Boat",
                "boat",
                Shape::Ellipse {
                    x: 0.36,
                    y: 0.5,
                    rx: 0.2,
                    ry: 0.2,
                },
                4.0,
            ),
        ],
    },
    Sample {
        name: "Winter night",
        teaches: "Edge softness: see how far the snow melts into the sky.",
        width: 320,
        height: 256,
        background: "",
        seed: 3,
        regions: &[
            region("Night", "night sky", Shape::Above { y: 0.6, wave: 0.03 }, 12.0),
            region("Snow", "snow", Shape::Below { y: 0.56, wave: 0.05 }, 10.0),
            region(
                "House",
                "house",
                Shape::Rectangle {
                    x0: 0.52,
                    y0: 0.34,
                    x1: 0.86,
                    y1: 0.82,
                },
                4.0,
            ),
            region(
                "Tree",
                // The embedded model paints foliage better than it draws a tree.
                "forest",
                Shape::Tree {
                    x: 0.22,
                    y: 0.84,
                    height: 0.6,
                },
                4.0,
            ),
        ],
    },
    Sample {
        name: "Lava gate",
        teaches: "Materials: any material can fill any shape.",
        width: 256,
        height: 256,
        background: "",
        seed: 21,
        regions: &[
            region(
                "Wall",
                "brick wall",
                Shape::Rectangle {
                    x0: 0.0,
                    y0: 0.0,
                    x1: 1.0,
                    y1: 1.0,
                },
                0.0,
            ),
            region(
                "Gate",
                "night sky",
                Shape::Arch {
                    x: 0.5,
                    y: 1.0,
                    width: 0.46,
                    height: 0.78,
                },
                4.0,
            ),
            region("Lava", "lava", Shape::Below { y: 0.82, wave: 0.03 }, 6.0),
        ],
    },
    Sample {
        name: "Still life",
        teaches: "Objects on white: hide the table to see what the background does.",
        width: 320,
        height: 256,
        background: "",
        seed: 5,
        regions: &[
            region("Wall", "orange clouds", Shape::Above { y: 0.66, wave: 0.0 }, 10.0),
            region("Table", "snow", Shape::Below { y: 0.64, wave: 0.0 }, 4.0),
            region(
                "Apple",
                "red apple",
                Shape::Ellipse {
                    x: 0.32,
                    y: 0.58,
                    rx: 0.17,
                    ry: 0.21,
                },
                4.0,
            ),
            region(
                "Flower",
                "flower",
                Shape::Ellipse {
                    x: 0.68,
                    y: 0.5,
                    rx: 0.18,
                    ry: 0.26,
                },
                4.0,
            ),
        ],
    },
    Sample {
        name: "Forest floor",
        teaches: "Reroll one region only: the mushroom changes, the forest stays.",
        width: 320,
        height: 256,
        background: "",
        seed: 9,
        regions: &[
            region("Forest", "forest", Shape::Above { y: 0.7, wave: 0.03 }, 10.0),
            region("Grass", "grass", Shape::Below { y: 0.66, wave: 0.04 }, 8.0),
            region(
                "Mushroom",
                "mushroom",
                Shape::Ellipse {
                    x: 0.58,
                    y: 0.62,
                    rx: 0.17,
                    ry: 0.22,
                },
                4.0,
            ),
        ],
    },
    Sample {
        name: "Balloons",
        teaches: "Colours in prompts: red, teal, purple. Duplicate one with Ctrl+J.",
        width: 320,
        height: 256,
        background: "",
        seed: 15,
        regions: &[
            region("Clouds", "clouds", Shape::Above { y: 0.8, wave: 0.02 }, 10.0),
            region("Sea", "sea", Shape::Below { y: 0.78, wave: 0.015 }, 8.0),
            region(
                "Red balloon",
                "red balloon",
                Shape::Ellipse {
                    x: 0.28,
                    y: 0.4,
                    rx: 0.15,
                    ry: 0.24,
                },
                4.0,
            ),
            region(
                "Purple balloon",
                "purple balloon",
                Shape::Ellipse {
                    x: 0.7,
                    y: 0.34,
                    rx: 0.13,
                    ry: 0.21,
                },
                4.0,
            ),
        ],
    },
    Sample {
        name: "Aquarium",
        teaches: "A full background region below, small things above.",
        width: 320,
        height: 256,
        background: "",
        seed: 4,
        regions: &[
            region(
                "Water",
                "sea",
                Shape::Rectangle {
                    x0: 0.0,
                    y0: 0.0,
                    x1: 1.0,
                    y1: 1.0,
                },
                0.0,
            ),
            region(
                "Fish",
                "orange fish",
                Shape::Ellipse {
                    x: 0.36,
                    y: 0.42,
                    rx: 0.2,
                    ry: 0.18,
                },
                6.0,
            ),
            region(
                "Small fish",
                "blue fish",
                Shape::Ellipse {
                    x: 0.75,
                    y: 0.68,
                    rx: 0.14,
                    ry: 0.13,
                },
                6.0,
            ),
        ],
    },
];

/// A sample's document.
pub fn document(sample: &Sample) -> Document {
    let size = CanvasSize::new(sample.width, sample.height).expect("samples have possible sizes");
    let mut document = Document::new(size);
    document.seed = Seed(sample.seed);
    sample.background.clone_into(&mut document.background.prompt);
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

/// What a sample's masks look like, in their colours.
pub fn preview(sample: &Sample) -> ColorImage {
    const SIDE: usize = 180;
    let (width, height) = (SIDE, SIDE * 112 / 180);
    let mut pixels = vec![Color32::WHITE; width * height];
    for (index, region) in sample.regions.iter().enumerate() {
        let [red, green, blue] = region_colour(index);
        let colour = Color32::from_rgb(red, green, blue);
        for (at, pixel) in pixels.iter_mut().enumerate() {
            let coverage = region.shape.coverage_at(at % width, at / width, width, height);
            *pixel = pixel.lerp_to_gamma(colour, coverage * 0.85);
        }
    }
    ColorImage::new([width, height], pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panels::words::POCKET;

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
