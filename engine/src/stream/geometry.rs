//! From the canvas to the model's grid and back.

use crate::{
    Result,
    api::{CanvasSize, Picture},
    image,
    models::traits::ModelSpec,
    stream::masks::LatentSize,
};

/// Fewest latent cells on a side: smaller canvases are computed with some surroundings.
const MIN_CELLS: usize = 8;

/// How a canvas of any size lies on the latent grid.
///
/// The canvas is padded on the right and below to whole cells. A canvas that is far too large for the model is computed
/// at a smaller working size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Size of masks and of the finished picture.
    pub canvas: CanvasSize,
    /// Size at which the picture is computed.
    pub working: CanvasSize,
    /// Size of a latent.
    pub latent: LatentSize,
    /// Pixels per cell.
    pub downscale: usize,
    /// The mask pixel column that each cell column samples.
    pub columns: Vec<usize>,
    /// The mask pixel row that each cell row samples.
    pub rows: Vec<usize>,
}

impl Geometry {
    /// Lays a canvas on a model's grid.
    pub fn new(canvas: CanvasSize, spec: &ModelSpec) -> Self {
        let largest = u64::from(spec.largest_side);
        Self::at_size(canvas, limited(canvas, largest * largest), spec)
    }

    /// Lays a canvas on the grid of a picture of another size.
    pub fn at_size(canvas: CanvasSize, working: CanvasSize, spec: &ModelSpec) -> Self {
        let downscale = spec.downscale.max(1);
        let cells = |pixels: u32| (pixels as usize).div_ceil(downscale).max(MIN_CELLS);
        let latent = LatentSize {
            height: cells(working.height()),
            width: cells(working.width()),
        };
        let samples = |cells: usize, working: u32, canvas: u32| {
            (0..cells)
                .map(|cell| {
                    let pixel = (cell * downscale) as u64 * u64::from(canvas) / u64::from(working);
                    (pixel as usize).min(canvas as usize - 1)
                })
                .collect()
        };
        Self {
            columns: samples(latent.width, working.width(), canvas.width()),
            rows: samples(latent.height, working.height(), canvas.height()),
            canvas,
            working,
            latent,
            downscale,
        }
    }

    /// What models with added conditioning are told of the whole picture: its size, no crop, the size that is wanted.
    pub fn time_ids(&self) -> [f32; 6] {
        let (height, width) = self.padded();
        let (height, width) = (height as f32, width as f32);
        [height, width, 0.0, 0.0, height, width]
    }

    /// Height and width in pixels of what the model sees.
    pub fn padded(&self) -> (usize, usize) {
        (
            self.latent.height * self.downscale,
            self.latent.width * self.downscale,
        )
    }

    /// The picture of a decoded tensor `[1, 3, H, W]`, cut and enlarged to the canvas.
    ///
    /// # Errors
    /// If the tensor is smaller than the working size.
    pub fn picture(&self, decoded: &candle_core::Tensor) -> Result<Picture> {
        let picture = image::picture_from_tensor(decoded, self.working)?;
        Ok(image::stretched(&picture, self.canvas))
    }
}

/// The largest size of the same proportions with at most `area` pixels.
fn limited(canvas: CanvasSize, area: u64) -> CanvasSize {
    if canvas.area() as u64 <= area {
        return canvas;
    }
    let scale = (area as f64 / canvas.area() as f64).sqrt();
    let side = |pixels: u32| ((f64::from(pixels) * scale) as u32).max(1);
    CanvasSize::new(side(canvas.width()), side(canvas.height())).unwrap_or(canvas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::toy;

    fn geometry(width: u32, height: u32) -> Geometry {
        Geometry::new(CanvasSize::new(width, height).unwrap(), &toy::spec())
    }

    #[test]
    fn cells_sample_the_top_left_pixel_of_their_block() {
        let geometry = geometry(100, 72);
        assert_eq!((geometry.latent.height, geometry.latent.width), (9, 13));
        assert_eq!(
            geometry.columns,
            [0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96]
        );
        assert_eq!(geometry.working, geometry.canvas);
    }

    #[test]
    fn a_single_pixel_is_sampled_everywhere() {
        let geometry = geometry(1, 1);
        assert_eq!(geometry.latent.area(), 64);
        assert_eq!(geometry.columns, [0; 8]);
    }

    #[test]
    fn huge_canvases_are_computed_smaller() {
        let geometry = geometry(8192, 4096);
        assert!(geometry.working.area() <= 256 * 256);
        assert!(geometry.columns.iter().all(|&column| column < 8192));
        assert!(geometry.columns.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
