//! Pictures that cross the engine's border.

use std::sync::Arc;

use super::geometry::CanvasSize;
use crate::Error;

/// An RGBA8 sRGB picture, row-major, straight alpha. Cloning shares the pixels.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    size: CanvasSize,
    rgba: Arc<[u8]>,
}

impl Picture {
    /// From row-major RGBA, four bytes a pixel.
    ///
    /// # Errors
    /// If `rgba` does not hold exactly four bytes per pixel.
    pub fn new(size: CanvasSize, rgba: impl Into<Arc<[u8]>>) -> Result<Self, Error> {
        let rgba = rgba.into();
        if rgba.len() == size.area() * 4 {
            Ok(Self { size, rgba })
        } else {
            Err(Error::PictureLength {
                expected: size.area() * 4,
                found: rgba.len(),
            })
        }
    }

    /// One colour everywhere.
    pub fn solid(size: CanvasSize, rgba: [u8; 4]) -> Self {
        Self {
            size,
            rgba: rgba.repeat(size.area()).into(),
        }
    }

    /// Size in pixels.
    pub fn size(&self) -> CanvasSize {
        self.size
    }

    /// The pixels, row-major RGBA.
    pub fn rgba(&self) -> &[u8] {
        &self.rgba
    }

    /// Whether both share the same pixels in memory.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rgba, &other.rgba)
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Picture")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
