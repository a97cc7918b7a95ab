//! The denoiser as the pipeline calls it: batches within a bound, 32-bit latents on both sides.

use candle_core::{DType, Tensor};

use crate::{
    Result,
    error::Doing as _,
    models::traits::{Denoiser, Row},
};

/// A denoiser with the bounds that it is called within.
pub struct Network<'a> {
    /// The denoiser.
    pub denoiser: &'a mut dyn Denoiser,
    /// Its number format.
    pub dtype: DType,
    /// Rows of one call, at most; at least 1.
    pub most_rows: usize,
}

impl Network<'_> {
    /// Predicts a batch of any length: `[b, c, h, w]` in 32 bits, both ways.
    pub(super) fn predict(&mut self, latents: &Tensor, rows: &[Row<'_>]) -> Result<Tensor> {
        const DOING: &str = "denoising";
        let latents = latents
            .to_dtype(self.dtype)
            .and_then(|latents| latents.contiguous())
            .doing(DOING)?;
        let mut outputs = Vec::new();
        let mut start = 0;
        for rows in rows.chunks(self.most_rows.max(1)) {
            let part = latents.narrow(0, start, rows.len()).doing(DOING)?;
            outputs.push(self.denoiser.predict(&part, rows).doing(DOING)?);
            start += rows.len();
        }
        let output = match outputs.as_slice() {
            [only] => Ok(only.clone()),
            several => Tensor::cat(several, 0),
        };
        output.and_then(|output| output.to_dtype(DType::F32)).doing(DOING)
    }
}
