//! The two ends of a step: latents rolled to the centre, and a decoded picture as bytes.

use candle_core::{DType, Result, Shape, Tensor};

use super::operation::{
    Argument::{Input, Output, Whole},
    Launch, Operation, Plan, run,
};

struct Roll {
    rows: usize,
    channels: usize,
    height: usize,
    width: usize,
}

/// Rolls each row by its own number of cells, downwards and to the right.
///
/// # Shapes
/// - `x`: `[b, c, h, w]`, returned in the same shape
/// - `shifts`: `[b, 2]`, whole numbers in 0..h and 0..w
///
/// # Errors
/// If a tensor operation fails.
pub(crate) fn roll(x: &Tensor, shifts: &Tensor) -> Result<Tensor> {
    let (rows, channels, height, width) = x.dims4()?;
    let operation = Roll {
        rows,
        channels,
        height,
        width,
    };
    run(operation, &[Some(x), Some(shifts)])
}

impl Operation for Roll {
    const NAME: &'static str = "roll";
    const IS_MIXED: bool = true;

    fn shape(&self) -> Shape {
        (self.rows, self.channels, self.height, self.width).into()
    }

    fn plan(&self, _: DType) -> Plan {
        let sizes = [self.rows, self.channels, self.height, self.width].map(Whole);
        let arguments = [&[Input(0), Input(1), Output], &sizes[..]].concat();
        Launch::for_each("roll", self.shape().elem_count(), arguments).into()
    }

    fn twin(&self, inputs: &[Option<Vec<f32>>]) -> Vec<f32> {
        let [Some(x), Some(shifts)] = inputs else {
            return Vec::new();
        };
        let mut y = vec![0.0; x.len()];
        let area = self.height * self.width;
        for (plane, (x, y)) in x.chunks_exact(area).zip(y.chunks_exact_mut(area)).enumerate() {
            let row = plane / self.channels;
            let (down, right) = (shifts[row * 2] as usize, shifts[row * 2 + 1] as usize);
            for (at, x) in x.iter().enumerate() {
                let (line, column) = (at / self.width, at % self.width);
                let (line, column) = ((line + down) % self.height, (column + right) % self.width);
                y[line * self.width + column] = *x;
            }
        }
        y
    }
}

struct Rgba {
    height: usize,
    width: usize,
    /// Numbers from one channel, line and pixel to the next.
    strides: [usize; 3],
}

/// The top left part of a picture in -1..1 as opaque RGBA bytes.
///
/// # Shapes
/// - `picture`: `[1, 3, H, W]`
/// - returns `[height, width, 4]` bytes
///
/// # Errors
/// If the picture is smaller, or a tensor operation fails.
pub(crate) fn rgba(picture: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (count, channels, whole_height, whole_width) = picture.dims4()?;
    if count != 1 || channels != 3 || whole_height < height || whole_width < width {
        candle_core::bail!("no picture of {width} x {height} in {:?}", picture.shape());
    }
    // As it lies, if it is one of the two usual ways.
    let last = channels_last_of(picture)?;
    let (stored, strides) = match last {
        Some(last) => (last, [1, whole_width * 3, 3]),
        None => (
            picture.contiguous()?,
            [whole_height * whole_width, whole_width, 1],
        ),
    };
    let operation = Rgba {
        height,
        width,
        strides,
    };
    run(operation, &[Some(&stored)])
}

/// A picture with channels-last strides as the contiguous tensor that it is.
fn channels_last_of(picture: &Tensor) -> Result<Option<Tensor>> {
    let last = picture.permute((0, 2, 3, 1))?;
    Ok(last.is_contiguous().then_some(last))
}

impl Operation for Rgba {
    const NAME: &'static str = "rgba";

    fn shape(&self) -> Shape {
        (self.height, self.width, 4).into()
    }

    fn result_type(&self) -> Option<DType> {
        Some(DType::U8)
    }

    fn plan(&self, _: DType) -> Plan {
        let [channel, line, column] = self.strides.map(Whole);
        let sizes = [Whole(self.height), Whole(self.width), channel, line, column];
        let arguments = [&[Input(0), Output], &sizes[..]].concat();
        Launch::for_each("rgba", self.height * self.width, arguments).into()
    }

    fn twin(&self, inputs: &[Option<Vec<f32>>]) -> Vec<f32> {
        let [Some(x)] = inputs else { return Vec::new() };
        let [channel, line, column] = self.strides;
        let mut y = Vec::with_capacity(self.height * self.width * 4);
        for row in 0..self.height {
            for place in 0..self.width {
                let colour = (0..3).map(|c| x[c * channel + row * line + place * column]);
                y.extend(colour.map(|value| (value * 127.5 + 128.0).clamp(0.0, 255.0).floor()));
                y.push(255.0);
            }
        }
        y
    }
}
