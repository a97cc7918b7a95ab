//! AutoencoderKL: the autoencoder that Stable Diffusion was trained with.

use candle_core::{DType, Module as _, Result, Tensor};
use candle_nn::{Linear, VarBuilder};

use super::{config::KlConfig, traits::ImageCodec};
use crate::nn::{
    AttentionMask, Conv, Downsample, GroupNorm, ResnetBlock, ResnetConfig, Upsample, attend,
    cells_of_picture, conv, group_norm, linear, linear_onto, picture_of_cells,
};

/// Latent cells that are decoded at once; larger canvases are cut into tiles.
const MAX_CELLS: usize = 96 * 96;
/// Side of a tile in latent cells.
const TILE: usize = 64;
/// Latent cells that neighbouring tiles share; over them one fades into the other.
const OVERLAP: usize = 16;

const NORM_EPS: f64 = 1e-6;

/// The lowest resolution looks at itself as a whole.
#[derive(Debug)]
struct SelfAttention {
    norm: GroupNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
}

impl SelfAttention {
    fn new(channels: usize, config: &KlConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let matrix = |name| linear(channels, channels, true, vb.pp(name));
        Ok(Self {
            norm: group_norm(config.norm_groups, channels, NORM_EPS, &vb.pp("group_norm"))?,
            q: matrix("to_q")?,
            k: matrix("to_k")?,
            v: matrix("to_v")?,
            out: matrix("to_out.0")?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (.., h, w) = x.dims4()?;
        let cells = cells_of_picture(&self.norm.forward(x)?)?;
        let (q, k, v) = (
            self.q.forward(&cells)?,
            self.k.forward(&cells)?,
            self.v.forward(&cells)?,
        );
        let seen = attend(&q, &k, &v, 1, AttentionMask::None, false)?;
        picture_of_cells(&linear_onto(&self.out, &seen, &cells_of_picture(x)?)?, (h, w))
    }
}

#[derive(Debug)]
struct Mid {
    first: ResnetBlock,
    attention: Option<SelfAttention>,
    second: ResnetBlock,
}

impl Mid {
    fn new(channels: usize, config: &KlConfig, resnets: &ResnetConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let resnet =
            |index: usize| ResnetBlock::new(channels, channels, resnets, &vb.pp("resnets").pp(index));
        let attention = config
            .has_attention
            .then(|| SelfAttention::new(channels, config, &vb.pp("attentions.0")))
            .transpose()?;
        Ok(Self {
            first: resnet(0)?,
            attention,
            second: resnet(1)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.first.forward(x, None)?;
        if let Some(attention) = &self.attention {
            x = attention.forward(&x)?;
        }
        self.second.forward(&x, None)
    }
}

#[derive(Debug)]
struct Encoder {
    conv_in: Conv,
    levels: Vec<(Vec<ResnetBlock>, Option<Downsample>)>,
    mid: Mid,
    norm_out: GroupNorm,
    conv_out: Conv,
}

#[derive(Debug)]
struct Decoder {
    conv_in: Conv,
    mid: Mid,
    levels: Vec<(Vec<ResnetBlock>, Option<Upsample>)>,
    norm_out: GroupNorm,
    conv_out: Conv,
}

/// Mean and logarithm of the variance of a picture's latents, not scaled, `[b, c, h, w]` each.
#[derive(Debug)]
pub struct LatentDistribution {
    /// The most likely latents.
    pub mean: Tensor,
    /// Logarithm of the variance, held within -30..20.
    pub logvar: Tensor,
}

impl LatentDistribution {
    /// The mean, or a sample from the given standard normal noise.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn latents(&self, noise: Option<&Tensor>) -> Result<Tensor> {
        match noise {
            None => Ok(self.mean.clone()),
            Some(noise) => {
                let std = (&self.logvar * 0.5)?.exp()?;
                &self.mean + (std * noise)?
            }
        }
    }
}

/// An AutoencoderKL.
#[derive(Debug)]
pub struct KlAutoencoder {
    config: KlConfig,
    encoder: Encoder,
    quant: Option<Conv>,
    post_quant: Option<Conv>,
    decoder: Decoder,
    /// Latent cells that are decoded at once; more are cut into tiles.
    most_cells: usize,
}

impl KlAutoencoder {
    /// Reads the weights.
    ///
    /// # Errors
    /// If a weight is missing or has another shape than the configuration says.
    pub(crate) fn new(config: KlConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let resnets = ResnetConfig {
            time_width: None,
            norm_groups: config.norm_groups,
            norm_eps: NORM_EPS,
            activation: config.activation,
        };
        let latent = config.latent_channels;
        let one_by_one = |channels: usize, name: &str| conv(channels, channels, 1, &vb.pp(name));
        let quant = config.has_quant.then(|| one_by_one(2 * latent, "quant_conv"));
        let post_quant = config
            .has_post_quant
            .then(|| one_by_one(latent, "post_quant_conv"));
        Ok(Self {
            encoder: Encoder::new(&config, &resnets, &vb.pp("encoder"))?,
            quant: quant.transpose()?,
            post_quant: post_quant.transpose()?,
            decoder: Decoder::new(&config, &resnets, &vb.pp("decoder"))?,
            config,
            most_cells: MAX_CELLS,
        })
    }

    /// Number format of the weights, in which it computes: not always that of the tensors it is given.
    fn dtype(&self) -> DType {
        self.decoder.conv_in.dtype()
    }

    /// The distribution of a picture's latents, not scaled.
    ///
    /// # Shapes
    /// `pictures`: `[b, 3, H, W]` in -1..1
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn encode_raw(&self, pictures: &Tensor) -> Result<LatentDistribution> {
        let (_, _, height, width) = pictures.dims4()?;
        let pictures = &pictures.to_dtype(self.dtype())?;
        let scale = self.config.downscale();
        let (h, w) = (height / scale, width / scale);
        let moments = if h * w <= MAX_CELLS {
            self.moments(pictures)?
        } else {
            let tiles = Tiling::new(h, w);
            tiles.run(1, |y, x, height, width| {
                let tile =
                    pictures
                        .narrow(2, y * scale, height * scale)?
                        .narrow(3, x * scale, width * scale)?;
                self.moments(&tile.contiguous()?)
            })?
        };
        let halves = moments.chunk(2, 1)?;
        Ok(LatentDistribution {
            mean: halves[0].contiguous()?,
            logvar: halves[1].clamp(-30.0, 20.0)?,
        })
    }

    fn moments(&self, pictures: &Tensor) -> Result<Tensor> {
        let moments = self.encoder.forward(pictures, &self.config)?;
        match &self.quant {
            Some(quant) => quant.forward(&moments),
            None => Ok(moments),
        }
    }

    /// The decoder alone: `[b, c, h, w]`, not scaled, to `[b, 3, H, W]` in about -1..1.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn decode_raw(&self, latents: &Tensor) -> Result<Tensor> {
        let (_, _, h, w) = latents.dims4()?;
        let latents = &latents.to_dtype(self.dtype())?;
        if h * w <= self.most_cells {
            self.decode_whole(latents)
        } else {
            Tiling::new(h, w).run(self.config.downscale(), |y, x, height, width| {
                let tile = latents.narrow(2, y, height)?.narrow(3, x, width)?;
                self.decode_whole(&tile.contiguous()?)
            })
        }
    }

    fn decode_whole(&self, latents: &Tensor) -> Result<Tensor> {
        match &self.post_quant {
            Some(conv) => self.decoder.forward(&conv.forward(latents)?, &self.config),
            None => self.decoder.forward(latents, &self.config),
        }
    }
}

impl Encoder {
    fn new(config: &KlConfig, resnets: &ResnetConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let first = config.channels[0];
        let mut channels = first;
        let mut levels = Vec::new();
        for (index, &out_channels) in config.channels.iter().enumerate() {
            let vb = vb.pp("down_blocks").pp(index);
            let mut blocks = Vec::new();
            for number in 0..config.layers {
                let vb = vb.pp("resnets").pp(number);
                blocks.push(ResnetBlock::new(channels, out_channels, resnets, &vb)?);
                channels = out_channels;
            }
            let is_last = index + 1 == config.channels.len();
            let downsample = (!is_last)
                .then(|| Downsample::new(channels, 0, &vb.pp("downsamplers.0")))
                .transpose()?;
            levels.push((blocks, downsample));
        }
        Ok(Self {
            conv_in: conv(3, first, 3, &vb.pp("conv_in"))?,
            levels,
            mid: Mid::new(channels, config, resnets, &vb.pp("mid_block"))?,
            norm_out: group_norm(config.norm_groups, channels, NORM_EPS, &vb.pp("conv_norm_out"))?,
            conv_out: conv(channels, 2 * config.latent_channels, 3, &vb.pp("conv_out"))?,
        })
    }

    fn forward(&self, pictures: &Tensor, config: &KlConfig) -> Result<Tensor> {
        let mut x = self.conv_in.forward(pictures)?;
        for (blocks, downsample) in &self.levels {
            for block in blocks {
                x = block.forward(&x, None)?;
            }
            if let Some(downsample) = downsample {
                x = downsample.forward(&x)?;
            }
        }
        let x = self
            .norm_out
            .forward_then(config.activation, &self.mid.forward(&x)?)?;
        self.conv_out.forward(&x)
    }
}

impl Decoder {
    fn new(config: &KlConfig, resnets: &ResnetConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let deepest = config.channels[config.channels.len() - 1];
        let mut channels = deepest;
        let mut levels = Vec::new();
        for (index, &out_channels) in config.channels.iter().rev().enumerate() {
            let vb = vb.pp("up_blocks").pp(index);
            let mut blocks = Vec::new();
            for number in 0..=config.layers {
                let vb = vb.pp("resnets").pp(number);
                blocks.push(ResnetBlock::new(channels, out_channels, resnets, &vb)?);
                channels = out_channels;
            }
            let is_last = index + 1 == config.channels.len();
            let upsample = (!is_last)
                .then(|| Upsample::new(channels, &vb.pp("upsamplers.0")))
                .transpose()?;
            levels.push((blocks, upsample));
        }
        Ok(Self {
            conv_in: conv(config.latent_channels, deepest, 3, &vb.pp("conv_in"))?,
            mid: Mid::new(deepest, config, resnets, &vb.pp("mid_block"))?,
            levels,
            norm_out: group_norm(config.norm_groups, channels, NORM_EPS, &vb.pp("conv_norm_out"))?,
            conv_out: conv(channels, 3, 3, &vb.pp("conv_out"))?,
        })
    }

    fn forward(&self, latents: &Tensor, config: &KlConfig) -> Result<Tensor> {
        let mut x = self.mid.forward(&self.conv_in.forward(latents)?)?;
        for (blocks, upsample) in &self.levels {
            for block in blocks {
                x = block.forward(&x, None)?;
            }
            if let Some(upsample) = upsample {
                let (.., h, w) = x.dims4()?;
                x = upsample.forward(&x, (2 * h, 2 * w))?;
            }
        }
        let x = self.norm_out.forward_then(config.activation, &x)?;
        self.conv_out.forward(&x)
    }
}

impl ImageCodec for KlAutoencoder {
    fn encode(&self, pictures: &Tensor, noise: Option<&Tensor>) -> Result<Tensor> {
        let dtype = pictures.dtype();
        let noise = noise.map(|noise| noise.to_dtype(self.dtype())).transpose()?;
        let latents = self.encode_raw(pictures)?.latents(noise.as_ref())?;
        let scaled = ((latents - self.config.shift_factor)? * self.config.scaling_factor)?;
        scaled.to_dtype(dtype)
    }

    fn decode(&mut self, latents: &Tensor) -> Result<Tensor> {
        let dtype = latents.dtype();
        let raw = ((latents / self.config.scaling_factor)? + self.config.shift_factor)?;
        self.decode_raw(&raw)?.to_dtype(dtype)
    }

    fn halve_pieces(&mut self) -> bool {
        let is_larger = self.most_cells > TILE * TILE;
        self.most_cells = TILE * TILE;
        is_larger
    }
}

/// Overlapping tiles over `h` x `w` latent cells.
struct Tiling {
    tops: Vec<usize>,
    lefts: Vec<usize>,
    height: usize,
    width: usize,
}

impl Tiling {
    fn new(h: usize, w: usize) -> Self {
        let starts = |length: usize| -> Vec<usize> {
            let last = length.saturating_sub(TILE);
            let mut starts: Vec<usize> = (0..last).step_by(TILE - OVERLAP).collect();
            starts.push(last);
            starts
        };
        Self {
            tops: starts(h),
            lefts: starts(w),
            height: h.min(TILE),
            width: w.min(TILE),
        }
    }

    /// Runs `tile(top, left, height, width)` on each and fades neighbours into each other. `scale` is the number of
    /// result cells per latent cell.
    fn run(
        &self,
        scale: usize,
        tile: impl Fn(usize, usize, usize, usize) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut rows: Option<Tensor> = None;
        for (row, &top) in self.tops.iter().enumerate() {
            let mut whole: Option<Tensor> = None;
            for (column, &left) in self.lefts.iter().enumerate() {
                let next = tile(top, left, self.height, self.width)?;
                let shared = column
                    .checked_sub(1)
                    .map_or(0, |before| self.lefts[before] + self.width - left);
                whole = Some(match whole {
                    None => next,
                    Some(before) => joined(&before, &next, 3, shared * scale)?,
                });
            }
            let Some(whole) = whole else { continue };
            let shared = row
                .checked_sub(1)
                .map_or(0, |before| self.tops[before] + self.height - top);
            rows = Some(match rows {
                None => whole,
                Some(before) => joined(&before, &whole, 2, shared * scale)?,
            });
        }
        rows.ok_or_else(|| candle_core::Error::msg("a canvas without cells"))
    }
}

/// Puts `next` behind `before` along `dim`, fading over the cells that both have.
fn joined(before: &Tensor, next: &Tensor, dim: usize, shared: usize) -> Result<Tensor> {
    if shared == 0 {
        return Tensor::cat(&[before, next], dim);
    }
    let length = before.dim(dim)?;
    let ramp: Vec<f32> = (0..shared)
        .map(|index| (index as f32 + 0.5) / shared as f32)
        .collect();
    let mut shape = [1; 4];
    shape[dim] = shared;
    let ramp = Tensor::from_vec(ramp, &shape, before.device())?.to_dtype(before.dtype())?;
    let old = before.narrow(dim, length - shared, shared)?;
    let new = next.narrow(dim, 0, shared)?;
    let faded = (&old + (new - &old)?.broadcast_mul(&ramp)?)?;
    let kept = before.narrow(dim, 0, length - shared)?;
    let rest = next.narrow(dim, shared, next.dim(dim)? - shared)?;
    Tensor::cat(&[&kept, &faded, &rest], dim)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn tiles_of_a_picture_make_the_picture() {
        for (h, w) in [(64, 64), (65, 130), (200, 64), (113, 97)] {
            let picture = Tensor::randn(0f32, 1.0, (1, 2, h * 2, w * 2), &Device::Cpu).unwrap();
            let tiled = Tiling::new(h, w)
                .run(2, |y, x, height, width| {
                    picture.narrow(2, 2 * y, 2 * height)?.narrow(3, 2 * x, 2 * width)
                })
                .unwrap();
            assert_eq!(tiled.dims(), picture.dims());
            let difference = (tiled - picture).unwrap().abs().unwrap().max_all().unwrap();
            assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);
        }
    }

    #[test]
    fn one_tile_fades_into_the_next() {
        let tiled = Tiling::new(64, 112)
            .run(1, |_, x, height, width| {
                Tensor::full(
                    if x == 0 { 0f32 } else { 1.0 },
                    (1, 1, height, width),
                    &Device::Cpu,
                )
            })
            .unwrap();
        let row = tiled
            .get(0)
            .unwrap()
            .get(0)
            .unwrap()
            .get(0)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert!(row.is_sorted());
        assert_eq!((row[47], row[64]), (0.0, 1.0));
    }
}
