//! The brush engine: pure functions from pen samples and shapes to coverage in mask tiles.
//!
//! ```text
//! PenSample ─▶ Stabiliser ─▶ path (curve, even spacing) ─▶ Dab × symmetry ─▶ StrokeBuffer ─▶ MaskTiles
//! MaskChange: polygon, flood fill, colour choice ─▶ Mask ─▶ combine / grow / shrink / feather / invert ─▶ Mask
//! ```
//!
//! A [`Stroke`] gathers its dabs in a buffer of its own and lays that over the mask as it was before the stroke,
//! so that opacity caps the whole stroke and undo is just the old tiles. A [`MaskChange`] touches the whole mask and
//! may take longer than a frame of the window; it is data, so that another thread can carry it out. Coordinates are canvas pixels with the
//! origin at the top left corner of the top left pixel. Nothing here knows windows, threads or graphics cards.

mod brush;
mod change;
mod fill;
mod morphology;
mod raster;
mod shape;
mod stabiliser;
mod stroke;
mod symmetry;

pub use brush::{BrushSettings, PressureCurve};
pub use change::{MaskArea, MaskChange};
pub use fill::{Slope, colour_at, fill_by_colour, fill_on_mask, select_colour};
pub use morphology::{feathered, grown, inverted, shrunk};
pub use raster::{Dab, Ink, StrokeBuffer, StrokeInk};
pub use shape::{ShapeMode, combined, ellipse_outline, polygon_mask, rectangle_outline};
pub use stabiliser::Stabiliser;
pub use stroke::{PenSample, Stroke};
pub use symmetry::Symmetry;

/// A point on the canvas in pixels.
pub type Point = [f32; 2];
