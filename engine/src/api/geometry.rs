//! Sizes and rectangles on the canvas, in whole pixels.

use serde::{Deserialize, Serialize};

use crate::Error;

/// The longest side a canvas may have, in pixels.
pub const MAX_CANVAS_SIDE: u32 = 8192;

/// The size of a canvas in pixels: both sides are 1 to [`MAX_CANVAS_SIDE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
pub struct CanvasSize {
    width: u32,
    height: u32,
}

impl CanvasSize {
    /// A canvas of `width` x `height` pixels.
    ///
    /// # Errors
    /// If a side is 0 or longer than [`MAX_CANVAS_SIDE`].
    pub fn new(width: u32, height: u32) -> Result<Self, Error> {
        let allowed = 1..=MAX_CANVAS_SIDE;
        if allowed.contains(&width) && allowed.contains(&height) {
            Ok(Self { width, height })
        } else {
            Err(Error::CanvasSize { width, height })
        }
    }

    /// Width in pixels.
    pub fn width(self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(self) -> u32 {
        self.height
    }

    /// Number of pixels.
    pub fn area(self) -> usize {
        self.width as usize * self.height as usize
    }

    /// The rectangle that covers the whole canvas.
    pub fn rect(self) -> PixelRect {
        PixelRect {
            x0: 0,
            y0: 0,
            x1: self.width,
            y1: self.height,
        }
    }
}

impl TryFrom<(u32, u32)> for CanvasSize {
    type Error = Error;

    fn try_from((width, height): (u32, u32)) -> Result<Self, Error> {
        Self::new(width, height)
    }
}

impl From<CanvasSize> for (u32, u32) {
    fn from(size: CanvasSize) -> Self {
        (size.width, size.height)
    }
}

/// A rectangle of pixels: `x0..x1` by `y0..y1`, the upper ends excluded. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PixelRect {
    /// Leftmost column.
    pub x0: u32,
    /// Topmost row.
    pub y0: u32,
    /// First column to the right of it.
    pub x1: u32,
    /// First row below it.
    pub y1: u32,
}

impl PixelRect {
    /// The rectangle, or `None` if it would hold no pixel.
    pub fn new(x0: u32, y0: u32, x1: u32, y1: u32) -> Option<Self> {
        (x0 < x1 && y0 < y1).then_some(Self { x0, y0, x1, y1 })
    }

    /// Width in pixels.
    pub fn width(self) -> u32 {
        self.x1 - self.x0
    }

    /// Height in pixels.
    pub fn height(self) -> u32 {
        self.y1 - self.y0
    }

    /// The smallest rectangle that holds both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            x0: self.x0.min(other.x0),
            y0: self.y0.min(other.y0),
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
        }
    }

    /// What both share.
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::new(
            self.x0.max(other.x0),
            self.y0.max(other.y0),
            self.x1.min(other.x1),
            self.y1.min(other.y1),
        )
    }

    /// Grown by `margin_px` on every side and cut at the canvas edge.
    #[must_use]
    pub fn grown(self, margin_px: u32, canvas: CanvasSize) -> Self {
        Self {
            x0: self.x0.saturating_sub(margin_px),
            y0: self.y0.saturating_sub(margin_px),
            x1: self.x1.saturating_add(margin_px).min(canvas.width),
            y1: self.y1.saturating_add(margin_px).min(canvas.height),
        }
    }
}
