//! From a timestep to the biases of all residual blocks.

use candle_core::{DType, Result, bail};

use super::{
    super::{layers::Linear, load::Loader},
    prompt_of,
};
use crate::{
    models::{
        config::{self, UNetConfig},
        traits::{Conditioning, Row},
    },
    ops::{
        Isa, Team,
        buffer::Buffer,
        matmul::{Activation, Residual},
        pack::{Columns, PackedMatrix},
        picture::silu_rows,
    },
};

/// From a timestep to the biases of all residual blocks.
pub(super) struct TimeEmbedding {
    /// Channels of the sinusoids.
    width: usize,
    cosine_first: bool,
    frequency_shift: f64,
    linear1: Linear<f32>,
    linear2: Linear<f32>,
    added: Option<(config::AddedConditioningConfig, Linear<f32>, Linear<f32>)>,
    /// All residual blocks' projections on top of each other, their first convolution's bias included.
    projections: Linear<f32>,
}

/// Memory of the time embedding.
#[derive(Default)]
pub(super) struct TimeScratch {
    sinusoids: Buffer<f32>,
    hidden: Buffer<f32>,
    embedding: Buffer<f32>,
    added: Buffer<f32>,
    /// `[rows, projections]`.
    pub(super) biases: Vec<f32>,
}

/// Collects what all residual blocks add to the time projections while they are loaded.
#[derive(Default)]
pub(super) struct TimeProjections {
    pub(super) rows: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl TimeEmbedding {
    pub(super) fn load(
        config: &UNetConfig,
        loader: &Loader<'_>,
        width: usize,
        time: TimeProjections,
    ) -> Result<Self> {
        let place = loader.at("time_embedding");
        let added = match &config.added {
            None => None,
            Some(added) => {
                let place = loader.at("add_embedding");
                let from = 6 * added.time_width + added.pooled_width;
                Some((
                    added.clone(),
                    Linear::load(&place.at("linear_1"), config.time_width, from)?,
                    Linear::load(&place.at("linear_2"), config.time_width, config.time_width)?,
                ))
            }
        };
        let count = time.bias.len();
        let inner = [config.time_width];
        let weights = PackedMatrix::new(loader.isa, &time.rows, count, &inner, Columns::Plain);
        Ok(Self {
            width,
            cosine_first: config.cosine_first,
            frequency_shift: config.frequency_shift,
            linear1: Linear::load(&place.at("linear_1"), config.time_width, width)?,
            linear2: Linear::load(&place.at("linear_2"), config.time_width, config.time_width)?,
            added,
            projections: Linear {
                weights,
                bias: time.bias,
            },
        })
    }

    /// The biases of all residual blocks, `[rows, projections]`.
    pub(super) fn biases<E: 'static>(
        &self,
        team: Team<'_>,
        isa: Isa,
        rows: &[Row<'_>],
        scratch: &mut TimeScratch,
    ) {
        let count = rows.len();
        let none = Residual::<f32>::None;
        let input = scratch.sinusoids.rows(count, self.width);
        for (row, input) in rows.iter().zip(input.chunks_exact_mut(self.width)) {
            self.sinusoids(row.timestep, input);
        }
        let width = self.linear2.weights.channels;
        let hidden = scratch.hidden.rows(count, width);
        let embedding = scratch.embedding.rows(count, width);
        self.linear1
            .run(team, input, count, none, Activation::Silu, hidden);
        self.linear2
            .run(team, hidden, count, none, Activation::None, embedding);
        if let Some((_, linear1, linear2)) = &self.added {
            let added_width = linear1.weights.parts[0];
            let added = scratch.added.rows(count, added_width);
            for (row, to) in rows.iter().zip(added.chunks_exact_mut(added_width)) {
                if let Some(from) = &prompt_of::<E>(row).added {
                    to.copy_from_slice(from);
                }
            }
            linear1.run(team, added, count, none, Activation::Silu, hidden);
            linear2.run(
                team,
                hidden,
                count,
                Residual::<f32>::Target,
                Activation::None,
                embedding,
            );
        }
        silu_rows(isa, embedding, hidden);
        scratch
            .biases
            .resize(count * self.projections.weights.channels, 0.0);
        self.projections
            .run(team, hidden, count, none, Activation::None, &mut scratch.biases);
    }

    /// Values of a row.
    pub(super) fn len(&self) -> usize {
        self.projections.weights.channels
    }

    fn sinusoids(&self, value: f64, output: &mut [f32]) {
        sinusoids(value, self.cosine_first, self.frequency_shift, output);
    }

    /// The pooled embedding and the sinusoids of the six time ids, one after the other.
    pub(super) fn added(&self, conditioning: &Conditioning) -> Result<Option<Vec<f32>>> {
        let Some((config, ..)) = &self.added else {
            return Ok(None);
        };
        let (Some(pooled), Some(ids)) = (&conditioning.pooled, conditioning.time_ids) else {
            bail!("this model needs a pooled prompt and time ids");
        };
        let mut added: Vec<f32> = pooled.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        if added.len() != config.pooled_width {
            bail!(
                "a pooled prompt has {} values where {} are expected",
                added.len(),
                config.pooled_width
            );
        }
        let mut waves = vec![0.0; config.time_width];
        for id in ids {
            sinusoids(f64::from(id), self.cosine_first, self.frequency_shift, &mut waves);
            added.extend_from_slice(&waves);
        }
        Ok(Some(added))
    }
}

/// Cosines and sines of `value` at frequencies that fall from 1 to 1/10000.
fn sinusoids(value: f64, cosine_first: bool, frequency_shift: f64, output: &mut [f32]) {
    let half = output.len() / 2;
    for index in 0..half {
        let exponent = -(10_000.0_f64.ln()) * index as f64 / (half as f64 - frequency_shift);
        let angle = value * f64::from(exponent.exp() as f32);
        let (sine, cosine) = (angle.sin() as f32, angle.cos() as f32);
        let (first, second) = if cosine_first {
            (cosine, sine)
        } else {
            (sine, cosine)
        };
        output[index] = first;
        output[half + index] = second;
    }
}
