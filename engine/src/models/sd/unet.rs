//! The UNet of Stable Diffusion 1.x, 2.x, XL and of the pocket model.

use std::sync::Arc;

use candle_core::{DType, Device, Module as _, Result, Shape, Tensor};
use candle_nn::{Linear, VarBuilder};

use super::transformer::{KeysAndValues, Transformer};
use crate::{
    device::keep_uploads,
    models::{
        config::{LevelConfig, UNetConfig},
        traits::{Conditioning, Denoiser, PreparedPrompt, Row},
    },
    nn::{
        Conv, Downsample, GroupNorm, ResnetBlock, ResnetConfig, TimestepEmbedding, Trace, Upsample, conv,
        group_norm, join_channels, linear, sinusoids,
    },
    ops::cuda::{Recording, channels_first, channels_last, give_recording_up, is_recorded_on},
};

/// A batch that comes so often will come again.
const CALLS_BEFORE_RECORDING: usize = 4;
/// Rows of all batches that are kept on a card: two whole batches, or the passes of one, of the common sizes.
const ROWS_KEPT: usize = 32;

/// Guidance that distilled LCMs are told they run at: what their makers' pipeline takes by default, minus one.
const DISTILLED_GUIDANCE: f64 = 7.5;

/// A residual block with the attention behind it.
#[derive(Debug)]
struct Layer {
    resnet: ResnetBlock,
    attention: Option<Transformer>,
}

#[derive(Debug)]
struct DownLevel {
    layers: Vec<Layer>,
    downsample: Option<Downsample>,
}

#[derive(Debug)]
struct UpLevel {
    layers: Vec<Layer>,
    upsample: Option<Upsample>,
}

#[derive(Debug)]
struct Mid {
    first: ResnetBlock,
    attention: Option<Transformer>,
    second: Option<ResnetBlock>,
}

/// Conditioning of SDXL: the pooled prompt and six numbers about sizes.
#[derive(Debug)]
struct AddedConditioning {
    time_width: usize,
    pooled_width: usize,
    embedding: TimestepEmbedding,
}

/// What a prompt means to one UNet.
#[derive(Debug)]
struct UNetPrompt {
    layers: Vec<KeysAndValues>,
    /// Added to the time embedding, `[time_width]` (SDXL).
    added: Option<Tensor>,
}

/// The prompts of a batch as tensors with one row each.
struct StackedPrompts {
    rows: Vec<Arc<UNetPrompt>>,
    layers: Vec<KeysAndValues>,
    added: Option<Tensor>,
}

/// A batch that may come again: a stream shows the same prompts at the same size, step after step.
struct Batch {
    prompts: StackedPrompts,
    /// Of the latents.
    shape: Shape,
    /// Times it was computed.
    calls: usize,
    recording: Recorded,
}

/// What is computed from a batch's latents and time embedding, on a card; it reads the keys and values of its prompts.
enum Recorded {
    /// Not yet.
    No,
    As(Recording),
    /// It cannot be: it is not tried again.
    Refused,
}

/// A UNet2DConditionModel.
pub struct UNet {
    config: UNetConfig,
    conv_in: Conv,
    time_embedding: TimestepEmbedding,
    guidance: Option<Linear>,
    added: Option<AddedConditioning>,
    down: Vec<DownLevel>,
    mid: Option<Mid>,
    up: Vec<UpLevel>,
    norm_out: GroupNorm,
    conv_out: Conv,
    dtype: DType,
    device: Device,
    /// The last ones, newest first.
    batches: Vec<Batch>,
}

impl UNet {
    /// Reads the weights.
    ///
    /// # Errors
    /// If a weight is missing or has another shape than the configuration says.
    pub(crate) fn new(config: UNetConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let resnets = ResnetConfig {
            time_width: Some(config.time_width),
            norm_groups: config.norm_groups,
            norm_eps: config.norm_eps,
            activation: config.activation,
        };
        let first = config.down[0].channels;
        let builder = Builder {
            config: &config,
            resnets,
        };
        // Channels of the results that the way up will take from the way down.
        let mut skips = vec![first];
        let mut channels = first;
        let mut down = Vec::new();
        for (index, level) in config.down.iter().enumerate() {
            let is_last = index + 1 == config.down.len();
            let vb = vb.pp("down_blocks").pp(index);
            down.push(builder.down(level, channels, is_last, &mut skips, &vb)?);
            channels = level.channels;
        }
        let mid = builder.mid(channels, &vb.pp("mid_block"))?;
        let mut up = Vec::new();
        for (index, level) in config.up.iter().enumerate() {
            let is_last = index + 1 == config.up.len();
            let vb = vb.pp("up_blocks").pp(index);
            up.push(builder.up(level, channels, is_last, &mut skips, &vb)?);
            channels = level.channels;
        }
        let added = config
            .added
            .as_ref()
            .map(|added| -> Result<AddedConditioning> {
                let in_width = added.pooled_width + 6 * added.time_width;
                let vb = vb.pp("add_embedding");
                Ok(AddedConditioning {
                    time_width: added.time_width,
                    pooled_width: added.pooled_width,
                    embedding: TimestepEmbedding::new(in_width, config.time_width, config.activation, &vb)?,
                })
            })
            .transpose()?;
        let guidance = config
            .guidance_width
            .map(|width| linear(width, first, false, vb.pp("time_embedding.cond_proj")))
            .transpose()?;
        Ok(Self {
            conv_in: conv(config.in_channels, first, config.in_kernel, &vb.pp("conv_in"))?,
            time_embedding: TimestepEmbedding::new(
                first,
                config.time_width,
                config.activation,
                &vb.pp("time_embedding"),
            )?,
            guidance,
            added,
            down,
            mid,
            up,
            norm_out: group_norm(
                config.norm_groups,
                channels,
                config.norm_eps,
                &vb.pp("conv_norm_out"),
            )?,
            conv_out: conv(
                channels,
                config.out_channels,
                config.out_kernel,
                &vb.pp("conv_out"),
            )?,
            dtype: vb.dtype(),
            device: vb.device().clone(),
            batches: Vec::new(),
            config,
        })
    }

    /// As [`Denoiser::predict`], keeping intermediate results in `trace`.
    ///
    /// # Errors
    /// If a tensor operation fails or a prompt was prepared by another denoiser.
    pub fn predict_traced(&mut self, latents: &Tensor, rows: &[Row<'_>], trace: &Trace) -> Result<Tensor> {
        let (b, ..) = latents.dims4()?;
        if b != rows.len() {
            candle_core::bail!("{b} latents for {} rows", rows.len());
        }
        // What is uploaded for a call must be found again while the same call is recorded.
        let may_record = is_recorded_on(&self.device) && !trace.is_on();
        let _uploads = may_record.then(|| keep_uploads(&self.device));
        let mut batch = self.batch(latents.shape(), rows)?;
        let timesteps: Vec<f64> = rows.iter().map(|row| row.timestep).collect();
        let time = self.time(&timesteps, batch.prompts.added.as_ref(), trace)?;
        let out = if may_record {
            self.forward_or_launch(latents, &time, &mut batch)
        } else {
            batch.recording = Recorded::No;
            self.forward(latents, &time, &batch.prompts.layers, trace)
        };
        self.keep(batch, if may_record { ROWS_KEPT } else { 0 });
        out
    }

    /// The last batch like this, or a new one.
    fn batch(&mut self, shape: &Shape, rows: &[Row<'_>]) -> Result<Batch> {
        let mut prompts = Vec::with_capacity(rows.len());
        for row in rows {
            match Arc::clone(&row.prompt.0).downcast::<UNetPrompt>() {
                Ok(prompt) => prompts.push(prompt),
                Err(_) => candle_core::bail!("a prompt was prepared by another denoiser"),
            }
        }
        let is_same = |batch: &Batch| {
            let rows = &batch.prompts.rows;
            batch.shape == *shape
                && rows.len() == prompts.len()
                && rows.iter().zip(&prompts).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        if let Some(place) = self.batches.iter().position(is_same) {
            return Ok(self.batches.remove(place));
        }
        Ok(Batch {
            prompts: StackedPrompts::new(prompts)?,
            shape: shape.clone(),
            calls: 0,
            recording: Recorded::No,
        })
    }

    /// Keeps a batch for the next call, and of earlier ones as many as have `rows` rows together.
    fn keep(&mut self, batch: Batch, rows: usize) {
        self.batches.insert(0, batch);
        let mut sum = 0;
        let mut place = 0;
        self.batches.retain(|batch| {
            sum += batch.prompts.rows.len();
            place += 1;
            place == 1 || sum <= rows
        });
    }

    /// As [`Self::forward`], recorded once it has come often enough.
    fn forward_or_launch(&self, latents: &Tensor, time: &Tensor, batch: &mut Batch) -> Result<Tensor> {
        // As the first convolution takes them: were they turned while recording, the strides of that copy would have to
        // be uploaded, and a call to which they come so already has not done that.
        let latents = channels_last(latents)?;
        let inputs = [&latents, time];
        if let Recorded::As(recording) = &batch.recording {
            match recording.launch(&inputs) {
                Ok(out) => return Ok(out),
                Err(error) => give_recording_up(&error),
            }
            batch.recording = Recorded::Refused;
        }
        let layers = &batch.prompts.layers;
        let call = |latents: &Tensor, time: &Tensor| {
            self.forward(&channels_first(latents)?, time, layers, &Trace::OFF)
        };
        let out = call(&latents, time)?;
        batch.calls += 1;
        if batch.calls >= CALLS_BEFORE_RECORDING && !matches!(batch.recording, Recorded::Refused) {
            match Recording::of(&inputs, &out, |inputs| call(&inputs[0], &inputs[1])) {
                Ok(Some(recording)) => batch.recording = Recorded::As(recording),
                Ok(None) => {}
                Err(error) => {
                    give_recording_up(&error);
                    batch.recording = Recorded::Refused;
                }
            }
        }
        Ok(out)
    }

    /// The time embedding of every row with the nonlinearity of the residual blocks applied, `[b, time_width]`.
    fn time(&self, timesteps: &[f64], added: Option<&Tensor>, trace: &Trace) -> Result<Tensor> {
        let width = self.config.down[0].channels;
        let mut frequencies = self.sinusoids(timesteps, width)?;
        trace.keep(format_args!("time_proj"), &frequencies);
        if let (Some(projection), Some(width)) = (&self.guidance, self.config.guidance_width) {
            let scaled = [DISTILLED_GUIDANCE * 1000.0];
            let guidance = sinusoids(&scaled, width, false, 1.0, self.dtype, &self.device)?;
            frequencies = frequencies.broadcast_add(&projection.forward(&guidance)?)?;
        }
        let mut time = self.time_embedding.forward(&frequencies)?;
        trace.keep(format_args!("time_embedding"), &time);
        if let Some(added) = added {
            trace.keep(format_args!("add_embedding"), added);
            time = (time + added)?;
        }
        self.config.activation.apply(&time)
    }

    fn sinusoids(&self, numbers: &[f64], width: usize) -> Result<Tensor> {
        sinusoids(
            numbers,
            width,
            self.config.cosine_first,
            self.config.frequency_shift,
            self.dtype,
            &self.device,
        )
    }

    fn forward(
        &self,
        latents: &Tensor,
        time: &Tensor,
        prompts: &[KeysAndValues],
        trace: &Trace,
    ) -> Result<Tensor> {
        // Every attention layer takes its own share of the prompts' keys and values, in the order of `prepare`.
        let mut prompts = prompts;
        let mut x = self.conv_in.forward(latents)?;
        trace.keep(format_args!("conv_in"), &x);
        let mut skips = vec![x.clone()];
        for (index, level) in self.down.iter().enumerate() {
            for (number, layer) in level.layers.iter().enumerate() {
                x = layer.resnet.forward(&x, Some(time))?;
                trace.keep(format_args!("down_blocks.{index}.resnets.{number}"), &x);
                if let Some(attention) = &layer.attention {
                    x = attention.forward(&x, take(&mut prompts, attention.depth()), trace)?;
                    trace.keep(format_args!("down_blocks.{index}.attentions.{number}"), &x);
                }
                skips.push(x.clone());
            }
            if let Some(downsample) = &level.downsample {
                x = downsample.forward(&x)?;
                skips.push(x.clone());
            }
            trace.keep(format_args!("down_blocks.{index}"), &x);
        }
        if let Some(mid) = &self.mid {
            x = mid.first.forward(&x, Some(time))?;
            if let Some(attention) = &mid.attention {
                x = attention.forward(&x, take(&mut prompts, attention.depth()), trace)?;
            }
            if let Some(second) = &mid.second {
                x = second.forward(&x, Some(time))?;
            }
            trace.keep(format_args!("mid_block"), &x);
        }
        for (index, level) in self.up.iter().enumerate() {
            for layer in &level.layers {
                let Some(skip) = skips.pop() else {
                    candle_core::bail!("the way up is longer than the way down");
                };
                x = join_channels(&x, &skip)?;
                x = layer.resnet.forward(&x, Some(time))?;
                if let Some(attention) = &layer.attention {
                    x = attention.forward(&x, take(&mut prompts, attention.depth()), trace)?;
                }
            }
            if let Some(upsample) = &level.upsample {
                let (_, _, h, w) = match skips.last() {
                    Some(skip) => skip.dims4()?,
                    None => candle_core::bail!("the way up is longer than the way down"),
                };
                x = upsample.forward(&x, (h, w))?;
            }
            trace.keep(format_args!("up_blocks.{index}"), &x);
        }
        if trace.is_on() {
            trace.keep(format_args!("conv_norm_out"), &self.norm_out.forward(&x)?);
        }
        self.conv_out
            .forward(&self.norm_out.forward_then(self.config.activation, &x)?)
    }

    fn attentions(&self) -> impl Iterator<Item = &Transformer> {
        let down = self.down.iter().flat_map(|level| &level.layers);
        let up = self.up.iter().flat_map(|level| &level.layers);
        let mid = self.mid.iter().flat_map(|mid| &mid.attention);
        down.filter_map(|layer| layer.attention.as_ref())
            .chain(mid)
            .chain(up.filter_map(|layer| layer.attention.as_ref()))
    }

    fn prepare_added(&self, added: &AddedConditioning, conditioning: &Conditioning) -> Result<Tensor> {
        let Some(pooled) = &conditioning.pooled else {
            candle_core::bail!("this model needs the pooled embedding of a prompt");
        };
        let Some(time_ids) = conditioning.time_ids else {
            candle_core::bail!("this model needs the sizes of the picture");
        };
        if pooled.dims() != [added.pooled_width] {
            candle_core::bail!(
                "a pooled embedding of shape {:?} where the model needs [{}]",
                pooled.dims(),
                added.pooled_width
            );
        }
        let sizes = self
            .sinusoids(&time_ids.map(f64::from), added.time_width)?
            .flatten_all()?;
        let joined = Tensor::cat(&[&pooled.to_dtype(self.dtype)?, &sizes], 0)?;
        added.embedding.forward(&joined.unsqueeze(0)?)?.squeeze(0)
    }
}

impl StackedPrompts {
    fn new(rows: Vec<Arc<UNetPrompt>>) -> Result<Self> {
        let layer_count = rows.first().map_or(0, |prompt| prompt.layers.len());
        let mut layers = Vec::with_capacity(layer_count);
        for layer in 0..layer_count {
            let keys: Vec<&Tensor> = rows.iter().map(|prompt| &prompt.layers[layer].keys).collect();
            let values: Vec<&Tensor> = rows.iter().map(|prompt| &prompt.layers[layer].values).collect();
            layers.push(KeysAndValues {
                keys: Tensor::stack(&keys, 0)?,
                values: Tensor::stack(&values, 0)?,
            });
        }
        let added: Vec<&Tensor> = rows.iter().filter_map(|prompt| prompt.added.as_ref()).collect();
        let added = (!added.is_empty())
            .then(|| Tensor::stack(&added, 0))
            .transpose()?;
        Ok(Self { rows, layers, added })
    }
}

impl Denoiser for UNet {
    fn prepare(&self, conditioning: &Conditioning) -> Result<PreparedPrompt> {
        let context = conditioning.context.to_dtype(self.dtype)?;
        let mut layers = Vec::new();
        for attention in self.attentions() {
            attention.prepare(&context, &mut layers)?;
        }
        let added = match &self.added {
            Some(added) => Some(self.prepare_added(added, conditioning)?),
            None => None,
        };
        Ok(PreparedPrompt(Arc::new(UNetPrompt { layers, added })))
    }

    fn predict(&mut self, latents: &Tensor, rows: &[Row<'_>]) -> Result<Tensor> {
        self.predict_traced(latents, rows, &Trace::OFF)
    }
}

/// Splits off the first `count`.
fn take<'a>(prompts: &mut &'a [KeysAndValues], count: usize) -> &'a [KeysAndValues] {
    let (mine, rest) = prompts.split_at(count.min(prompts.len()));
    *prompts = rest;
    mine
}

/// Makes the blocks of a UNet.
struct Builder<'a> {
    config: &'a UNetConfig,
    resnets: ResnetConfig,
}

impl Builder<'_> {
    fn layer(
        &self,
        index: usize,
        in_channels: usize,
        level: &LevelConfig,
        vb: &VarBuilder<'_>,
    ) -> Result<Layer> {
        let attention = level
            .attention
            .as_ref()
            .map(|attention| {
                let depth = attention.depths[index];
                let vb = vb.pp("attentions").pp(index);
                Transformer::new(level.channels, attention.heads, depth, self.config, &vb)
            })
            .transpose()?;
        let vb = vb.pp("resnets").pp(index);
        Ok(Layer {
            resnet: ResnetBlock::new(in_channels, level.channels, &self.resnets, &vb)?,
            attention,
        })
    }

    fn down(
        &self,
        level: &LevelConfig,
        in_channels: usize,
        is_last: bool,
        skips: &mut Vec<usize>,
        vb: &VarBuilder<'_>,
    ) -> Result<DownLevel> {
        let mut layers = Vec::new();
        for index in 0..level.layers {
            let channels = if index == 0 { in_channels } else { level.channels };
            layers.push(self.layer(index, channels, level, vb)?);
            skips.push(level.channels);
        }
        let downsample = (!is_last)
            .then(|| {
                let vb = vb.pp("downsamplers.0");
                Downsample::new(level.channels, self.config.downsample_padding, &vb)
            })
            .transpose()?;
        if downsample.is_some() {
            skips.push(level.channels);
        }
        Ok(DownLevel { layers, downsample })
    }

    fn mid(&self, channels: usize, vb: &VarBuilder<'_>) -> Result<Option<Mid>> {
        let Some(config) = &self.config.mid else {
            return Ok(None);
        };
        let resnet = |index: usize| {
            let vb = vb.pp("resnets").pp(index);
            ResnetBlock::new(channels, channels, &self.resnets, &vb)
        };
        let attention = config
            .attention
            .map(|(heads, depth)| {
                let vb = vb.pp("attentions.0");
                Transformer::new(channels, heads, depth, self.config, &vb)
            })
            .transpose()?;
        // Blocks without attention come with one residual block or with two.
        let has_second = attention.is_some() || vb.contains_tensor("resnets.1.conv1.weight");
        Ok(Some(Mid {
            first: resnet(0)?,
            attention,
            second: has_second.then(|| resnet(1)).transpose()?,
        }))
    }

    fn up(
        &self,
        level: &LevelConfig,
        in_channels: usize,
        is_last: bool,
        skips: &mut Vec<usize>,
        vb: &VarBuilder<'_>,
    ) -> Result<UpLevel> {
        let mut layers = Vec::new();
        for index in 0..level.layers {
            let channels = if index == 0 { in_channels } else { level.channels };
            let Some(skip) = skips.pop() else {
                candle_core::bail!("the way up is longer than the way down");
            };
            layers.push(self.layer(index, channels + skip, level, vb)?);
        }
        let upsample = (!is_last)
            .then(|| Upsample::new(level.channels, &vb.pp("upsamplers.0")))
            .transpose()?;
        Ok(UpLevel { layers, upsample })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn unet() -> UNet {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/parity/models/tiny-sd15/unet");
        let config = std::fs::read(folder.join("config.json")).unwrap();
        let weights = folder.join("diffusion_pytorch_model.safetensors");
        let tensors = candle_core::safetensors::load(weights, &Device::Cpu).unwrap();
        let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        UNet::new(UNetConfig::from_json(&config).unwrap(), &vb).unwrap()
    }

    fn prompt(unet: &UNet, value: f32) -> PreparedPrompt {
        let context = Tensor::full(value, (77, unet.config.context_width), &Device::Cpu).unwrap();
        unet.prepare(&Conditioning {
            context,
            pooled: None,
            time_ids: None,
        })
        .unwrap()
    }

    /// As on a card, where more than the last batch is kept: those of `rows` rows.
    fn predict(unet: &mut UNet, prompts: &[&PreparedPrompt], side: usize, rows: usize) -> Vec<f32> {
        let latents = Tensor::full(0.5_f32, (prompts.len(), 4, side, side), &Device::Cpu).unwrap();
        let row = |prompt| Row {
            timestep: 300.0,
            prompt,
        };
        let shown: Vec<Row<'_>> = prompts.iter().copied().map(row).collect();
        let batch = unet.batch(latents.shape(), &shown).unwrap();
        let time = unet.time(&vec![300.0; shown.len()], None, &Trace::OFF).unwrap();
        let out = unet.forward(&latents, &time, &batch.prompts.layers, &Trace::OFF);
        unet.keep(batch, rows);
        out.unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn batches_that_take_turns_are_told_apart() {
        let mut unet = unet();
        let (a, b) = (prompt(&unet, 0.3), prompt(&unet, -0.7));
        let turns: [(&[&PreparedPrompt], usize); 4] =
            [(&[&a, &b], 8), (&[&b, &a], 8), (&[&a, &b], 16), (&[&b], 8)];
        let fresh: Vec<Vec<f32>> = turns
            .iter()
            .map(|(prompts, side)| {
                unet.batches.clear();
                predict(&mut unet, prompts, *side, 0)
            })
            .collect();
        assert_ne!(fresh[0], fresh[1]);
        for _ in 0..2 {
            for ((prompts, side), fresh) in turns.iter().zip(&fresh) {
                assert_eq!(&predict(&mut unet, prompts, *side, 7), fresh);
            }
            assert_eq!(unet.batches.len(), turns.len());
        }
    }

    #[test]
    fn batches_are_kept_up_to_a_number_of_rows() {
        let mut unet = unet();
        let (a, b) = (prompt(&unet, 0.3), prompt(&unet, -0.7));
        let rows = |unet: &UNet| -> Vec<usize> {
            unet.batches
                .iter()
                .map(|batch| batch.prompts.rows.len())
                .collect()
        };
        let batch = |count: usize| {
            let prompts: Vec<Arc<UNetPrompt>> = [&a, &b][..count]
                .iter()
                .map(|prompt| Arc::clone(&prompt.0).downcast().unwrap())
                .collect();
            Batch {
                prompts: StackedPrompts::new(prompts).unwrap(),
                shape: Shape::from((count, 4, 8, 8)),
                calls: 0,
                recording: Recorded::No,
            }
        };
        for count in [1, 2, 2] {
            unet.keep(batch(count), 4);
        }
        assert_eq!(rows(&unet), [2, 2]);
        unet.keep(batch(2), 0);
        assert_eq!(rows(&unet), [2]);
    }
}
