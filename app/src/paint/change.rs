//! Changes of a whole mask, as data: they can be carried out on any thread, and again if the mask changed meanwhile.

use wordbrush_engine::api::{Mask, Picture};

use super::{
    Point, ShapeMode, Slope, colour_at, combined, feathered, fill_by_colour, fill_on_mask, grown, inverted,
    polygon_mask, select_colour, shrunk,
};

/// What becomes of a mask.
#[derive(Clone, Debug, PartialEq)]
pub enum MaskChange {
    /// Nothing is painted any more.
    Clear,
    /// Everything is painted.
    Cover,
    /// What was painted is not, and the other way round.
    Invert,
    /// Wider by pixels.
    Grow(f32),
    /// Narrower by pixels.
    Shrink(f32),
    /// Softer, by a standard deviation in pixels.
    Feather(f32),
    /// An area joins the mask.
    Join(MaskArea, ShapeMode),
}

/// An area that a shape or a fill names.
#[derive(Clone, Debug, PartialEq)]
pub enum MaskArea {
    /// Within a closed line; canvas pixels.
    Outline(Vec<Point>),
    /// The patch around a pixel that the mask itself encloses; see [`fill_on_mask`].
    Enclosed {
        /// The pixel.
        pixel: [u32; 2],
        /// How far coverage may differ, 0 to 255.
        tolerance: u8,
    },
    /// What has the colour of a pixel of the picture.
    Coloured {
        /// The picture, stretched over the canvas.
        picture: Picture,
        /// The pixel of the canvas.
        pixel: [u32; 2],
        /// How alike is alike, 0 to 1.
        tolerance: f32,
        /// Whether it must hang together with the pixel.
        is_connected: bool,
    },
}

impl MaskChange {
    /// Carries the change out.
    #[must_use]
    pub fn apply(&self, mask: &Mask) -> Mask {
        match self {
            Self::Clear => Mask::new(mask.size()),
            Self::Cover => Mask::full(mask.size()),
            Self::Invert => inverted(mask),
            Self::Grow(radius_px) => grown(mask, *radius_px),
            Self::Shrink(radius_px) => shrunk(mask, *radius_px),
            Self::Feather(std_px) => feathered(mask, *std_px),
            Self::Join(area, mode) => combined(mask, &area.to_mask(mask, *mode), *mode),
        }
    }
}

impl MaskArea {
    /// The area on the canvas of `mask`, for what is to become of it.
    fn to_mask(&self, mask: &Mask, mode: ShapeMode) -> Mask {
        let size = mask.size();
        match self {
            Self::Outline(outline) => polygon_mask(size, outline),
            Self::Enclosed { pixel, tolerance } => {
                let slope = match mode {
                    ShapeMode::Add | ShapeMode::Replace => Slope::Up,
                    ShapeMode::Subtract | ShapeMode::Intersect => Slope::Down,
                };
                fill_on_mask(mask, *pixel, *tolerance, slope)
            }
            Self::Coloured {
                picture,
                pixel,
                tolerance,
                is_connected: true,
            } => fill_by_colour(picture, size, *pixel, *tolerance),
            Self::Coloured {
                picture,
                pixel,
                tolerance,
                is_connected: false,
            } => colour_at(picture, size, *pixel).map_or_else(
                || Mask::new(size),
                |colour| select_colour(picture, size, colour, *tolerance),
            ),
        }
    }
}
