//! AutoencoderTiny (TAESD): pictures to latents and back in a few convolutions.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;

use super::{
    config::{Activation, TinyConfig, TinyLevel},
    traits::ImageCodec,
};
use crate::nn::{After, Bias, Conv, ConvShape, conv};

/// Latents are squeezed into this range before decoding.
const LATENT_MAGNITUDE: f64 = 3.0;
/// Latent cells that are decoded at once; more are cut into tiles.
const MAX_CELLS: usize = 160 * 160;
/// Side of a tile in latent cells, and the least that it may become.
const TILE: usize = 96;
const LEAST_TILE: usize = 24;

/// Three convolutions beside a shortcut.
#[derive(Debug)]
struct Block {
    convs: [Conv; 3],
    activation: Activation,
}

impl Block {
    fn new(channels: usize, activation: Activation, vb: &VarBuilder<'_>) -> Result<Self> {
        let conv = |index: usize| conv(channels, channels, 3, &vb.pp("conv").pp(index));
        Ok(Self {
            convs: [conv(0)?, conv(2)?, conv(4)?],
            activation,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [first, second, third] = &self.convs;
        let activated = After {
            activation: Some(self.activation),
            ..After::default()
        };
        let hidden = first.run(x, activated)?;
        let hidden = second.run(&hidden, activated)?;
        let residual = Some(x);
        third.run(
            &hidden,
            After {
                residual,
                ..activated
            },
        )
    }
}

#[derive(Debug)]
enum Layer {
    Conv(Conv),
    Block(Block),
    Activation(Activation),
    /// Repeats every cell this many times in each direction, for the convolution behind it.
    Upsample(usize),
}

/// Adds numbered layers as the files number them.
struct Stack<'a> {
    layers: Vec<Layer>,
    vb: VarBuilder<'a>,
}

impl<'a> Stack<'a> {
    fn new(vb: VarBuilder<'a>) -> Self {
        Self {
            layers: Vec::new(),
            vb,
        }
    }

    fn next(&self) -> VarBuilder<'a> {
        self.vb.pp(self.layers.len())
    }

    fn conv(&mut self, in_channels: usize, out_channels: usize) -> Result<()> {
        let conv = conv(in_channels, out_channels, 3, &self.next())?;
        self.layers.push(Layer::Conv(conv));
        Ok(())
    }

    fn conv_without_bias(&mut self, in_channels: usize, out_channels: usize, stride: usize) -> Result<()> {
        let shape = ConvShape {
            stride,
            ..ConvShape::same(3)
        };
        let conv = Conv::new(in_channels, out_channels, shape, Bias::None, &self.next())?;
        self.layers.push(Layer::Conv(conv));
        Ok(())
    }

    fn blocks(&mut self, level: TinyLevel, activation: Activation) -> Result<()> {
        for _ in 0..level.blocks {
            let block = Block::new(level.channels, activation, &self.next())?;
            self.layers.push(Layer::Block(block));
        }
        Ok(())
    }
}

fn run(layers: &[Layer], x: &Tensor) -> Result<Tensor> {
    let mut x = x.clone();
    let mut size = None;
    for layer in layers {
        x = match layer {
            Layer::Conv(conv) => {
                let size = size.take();
                conv.run(
                    &x,
                    After {
                        size,
                        ..After::default()
                    },
                )?
            }
            Layer::Block(block) => block.forward(&x)?,
            Layer::Activation(activation) => activation.apply(&x)?,
            Layer::Upsample(factor) => {
                let (.., h, w) = x.dims4()?;
                size = Some((h * factor, w * factor));
                x
            }
        };
    }
    Ok(x)
}

/// An AutoencoderTiny.
#[derive(Debug)]
pub struct TinyAutoencoder {
    config: TinyConfig,
    encoder: Vec<Layer>,
    decoder: Vec<Layer>,
    /// Of the weights.
    dtype: DType,
    most_cells: usize,
    tile: usize,
}

impl TinyAutoencoder {
    /// Reads the weights.
    ///
    /// # Errors
    /// If a weight is missing or has another shape than the configuration says.
    pub(crate) fn new(config: TinyConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            encoder: encoder(&config, vb.pp("encoder.layers"))?,
            decoder: decoder(&config, vb.pp("decoder.layers"))?,
            config,
            dtype: vb.dtype(),
            most_cells: MAX_CELLS,
            tile: TILE,
        })
    }

    /// The encoder alone: `[b, 3, H, W]` in -1..1 to `[b, c, h, w]`, not scaled.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn encode_raw(&self, pictures: &Tensor) -> Result<Tensor> {
        let pictures = pictures.to_dtype(self.dtype)?;
        run(&self.encoder, &((pictures + 1.0)? / 2.0)?)
    }

    /// The decoder alone: `[b, c, h, w]`, not scaled, to `[b, 3, H, W]` in about -1..1.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn decode_raw(&self, latents: &Tensor) -> Result<Tensor> {
        let (_, _, h, w) = latents.dims4()?;
        let latents = &latents.to_dtype(self.dtype)?;
        if h * w <= self.most_cells {
            self.decode_whole(latents)
        } else {
            self.decode_tiles(latents)
        }
    }

    fn decode_whole(&self, latents: &Tensor) -> Result<Tensor> {
        let squeezed = ((latents / LATENT_MAGNITUDE)?.tanh()? * LATENT_MAGNITUDE)?;
        (run(&self.decoder, &squeezed)? * 2.0)? - 1.0
    }

    /// Tile by tile, each with a margin as wide as the decoder looks, so that the result is the whole one's exactly.
    fn decode_tiles(&self, latents: &Tensor) -> Result<Tensor> {
        let tile_side = self.tile;
        let (_, _, h, w) = latents.dims4()?;
        let margin = self.decoder_reach();
        let scale = self.config.downscale();
        let mut rows = Vec::new();
        for top in (0..h).step_by(tile_side) {
            let mut row = Vec::new();
            for left in (0..w).step_by(tile_side) {
                let (y0, x0) = (top.saturating_sub(margin), left.saturating_sub(margin));
                let (height, width) = (tile_side.min(h - top), tile_side.min(w - left));
                let (y1, x1) = ((top + height + margin).min(h), (left + width + margin).min(w));
                let tile = latents.narrow(2, y0, y1 - y0)?.narrow(3, x0, x1 - x0)?;
                let picture = self.decode_whole(&tile.contiguous()?)?;
                row.push(picture.narrow(2, (top - y0) * scale, height * scale)?.narrow(
                    3,
                    (left - x0) * scale,
                    width * scale,
                )?);
            }
            rows.push(Tensor::cat(&row, 3)?);
        }
        Tensor::cat(&rows, 2)
    }

    /// Latent cells around a cell that its pixels depend on.
    fn decoder_reach(&self) -> usize {
        let mut reach = 1.0; // in latent cells
        let mut cell = 1.0; // size of a cell of the present resolution, in latent cells
        for level in &self.config.decoder {
            reach += cell * (3 * level.blocks + 1) as f64;
            cell /= self.config.upsampling as f64;
        }
        reach.ceil() as usize + 1
    }
}

fn encoder(config: &TinyConfig, vb: VarBuilder<'_>) -> Result<Vec<Layer>> {
    let mut stack = Stack::new(vb);
    let mut channels = 3;
    for (index, level) in config.encoder.iter().enumerate() {
        if index == 0 {
            stack.conv(channels, level.channels)?;
        } else {
            stack.conv_without_bias(channels, level.channels, 2)?;
        }
        channels = level.channels;
        stack.blocks(*level, config.activation)?;
    }
    stack.conv(channels, config.latent_channels)?;
    Ok(stack.layers)
}

fn decoder(config: &TinyConfig, vb: VarBuilder<'_>) -> Result<Vec<Layer>> {
    let mut stack = Stack::new(vb);
    let levels = &config.decoder;
    stack.conv(config.latent_channels, levels[0].channels)?;
    stack.layers.push(Layer::Activation(config.activation));
    for (index, level) in levels.iter().enumerate() {
        stack.blocks(*level, config.activation)?;
        match levels.get(index + 1) {
            Some(next) => {
                stack.layers.push(Layer::Upsample(config.upsampling));
                stack.conv_without_bias(level.channels, next.channels, 1)?;
            }
            None => stack.conv(level.channels, 3)?,
        }
    }
    Ok(stack.layers)
}

impl ImageCodec for TinyAutoencoder {
    fn encode(&self, pictures: &Tensor, _noise: Option<&Tensor>) -> Result<Tensor> {
        let raw = self.encode_raw(pictures)?.to_dtype(pictures.dtype())?;
        (raw - self.config.shift_factor)? * self.config.scaling_factor
    }

    fn decode(&mut self, latents: &Tensor) -> Result<Tensor> {
        let raw = ((latents / self.config.scaling_factor)? + self.config.shift_factor)?;
        self.decode_raw(&raw)?.to_dtype(latents.dtype())
    }

    fn halve_pieces(&mut self) -> bool {
        if self.tile / 2 < LEAST_TILE {
            return false;
        }
        self.tile /= 2;
        self.most_cells = self.tile * self.tile;
        true
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::weights::{LoadProgress, LoadWatch, random_weights};

    #[test]
    fn tiles_give_exactly_what_the_whole_gives() {
        let json = br#"{"encoder_block_out_channels": [4, 4], "decoder_block_out_channels": [4, 4],
            "num_encoder_blocks": [1, 1], "num_decoder_blocks": [2, 1]}"#;
        let config = TinyConfig::from_json(json).unwrap();
        let ignore = |_: LoadProgress<'_>| {};
        let cancel = false.into();
        let watch = LoadWatch::new(&ignore, &cancel);
        let vb = random_weights("codec", DType::F32, &Device::Cpu, &watch);
        let mut codec = TinyAutoencoder::new(config, &vb).unwrap();
        let latents = Tensor::randn(0f32, 1.0, (1, 4, 100, 210), &Device::Cpu).unwrap();
        let whole = codec.decode_whole(&latents).unwrap();
        let tiled = codec.decode_tiles(&latents).unwrap();
        assert_eq!(whole.dims(), tiled.dims());
        let difference = (whole - tiled).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);

        while codec.halve_pieces() {}
        let smallest = codec.decode_raw(&latents).unwrap();
        let difference = (smallest - codec.decode_whole(&latents).unwrap()).unwrap();
        let difference = difference.abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);
    }
}
