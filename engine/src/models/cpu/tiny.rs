//! `AutoencoderTiny` (TAESD): pictures to latents and back.
use std::sync::Arc;

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::VarBuilder;
use half::bf16;
use parking_lot::Mutex;

use super::{
    CpuPrecision,
    layers::{Conv, DoublingConv, Finish, Layout},
    load::Loader,
};
use crate::{
    models::{
        config::{TinyConfig, TinyLevel},
        traits::ImageCodec,
    },
    ops::{
        Isa, Team, Workers,
        buffer::Buffer,
        element::Element,
        matmul::{Activation, Residual},
        picture::{Padded, padded_from_planes, planes_from_rows},
    },
};

/// A tiny autoencoder on the processor.
pub(crate) struct CpuTinyAutoencoder {
    network: Box<dyn Network>,
    workers: Arc<Workers>,
    latent_channels: usize,
    downscale: usize,
    scaling_factor: f32,
    shift_factor: f32,
}

impl CpuTinyAutoencoder {
    /// Whether there is a fast way for this configuration.
    pub(crate) fn supports(config: &TinyConfig) -> bool {
        let same = |levels: &[TinyLevel]| levels.windows(2).all(|pair| pair[0].channels == pair[1].channels);
        config.upsampling == 2 && same(&config.encoder) && same(&config.decoder)
    }

    /// Loads and packs the weights.
    ///
    /// # Errors
    /// If a weight is missing or has another shape than the configuration says.
    pub(crate) fn load(
        config: &TinyConfig,
        weights: VarBuilder<'_>,
        precision: CpuPrecision,
        workers: Arc<Workers>,
    ) -> Result<Self> {
        Self::load_for(Isa::best(), config, weights, precision, workers)
    }

    /// As [`Self::load`], for instructions other than the best.
    pub(crate) fn load_for(
        isa: Isa,
        config: &TinyConfig,
        weights: VarBuilder<'_>,
        precision: CpuPrecision,
        workers: Arc<Workers>,
    ) -> Result<Self> {
        let loader = Loader::new(weights, isa);
        let network: Box<dyn Network> = match precision {
            CpuPrecision::F32 => Box::new(Tiny::<f32>::load(config, &loader)?),
            CpuPrecision::Bf16 => Box::new(Tiny::<bf16>::load(config, &loader)?),
        };
        Ok(Self {
            network,
            workers,
            latent_channels: config.latent_channels,
            downscale: config.downscale(),
            scaling_factor: config.scaling_factor as f32,
            shift_factor: config.shift_factor as f32,
        })
    }
}

impl ImageCodec for CpuTinyAutoencoder {
    fn encode(&self, pictures: &Tensor, _noise: Option<&Tensor>) -> Result<Tensor> {
        let (b, c, h, w) = pictures.dims4()?;
        if c != 3 || b == 0 || h == 0 || w == 0 {
            bail!(
                "pictures have the shape {:?} where [b, 3, H, W] is expected",
                pictures.dims()
            );
        }
        let planes: Vec<f32> = pictures.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let (scale, shift) = (self.scaling_factor, self.shift_factor);
        let (output, size) =
            self.network
                .encode(&self.workers, &planes, Padded { height: h, width: w }, &|value| {
                    (value - shift) * scale
                });
        let shape = (b, self.latent_channels, size.height, size.width);
        Tensor::from_vec(output, shape, pictures.device())?.to_dtype(pictures.dtype())
    }

    fn decode(&mut self, latents: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = latents.dims4()?;
        if c != self.latent_channels || b == 0 || h == 0 || w == 0 {
            bail!(
                "latents have the shape {:?} where {} channels are expected",
                latents.dims(),
                self.latent_channels
            );
        }
        let planes: Vec<f32> = latents.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let (scale, shift) = (1.0 / self.scaling_factor, self.shift_factor);
        let size = Padded { height: h, width: w };
        let output = self
            .network
            .decode(&self.workers, &planes, size, &|value| value * scale + shift);
        let shape = (b, 3, h * self.downscale, w * self.downscale);
        Tensor::from_vec(output, shape, latents.device())?.to_dtype(latents.dtype())
    }
}

/// A [`Tiny`] in one number format or the other.
trait Network: Send {
    fn encode(
        &self,
        workers: &Workers,
        planes: &[f32],
        size: Padded,
        last: &(dyn Fn(f32) -> f32 + Sync),
    ) -> (Vec<f32>, Padded);
    fn decode(
        &self,
        workers: &Workers,
        planes: &[f32],
        size: Padded,
        first: &(dyn Fn(f32) -> f32 + Sync),
    ) -> Vec<f32>;
}

struct Tiny<E> {
    activation: Activation,
    encoder_in: Conv<E>,
    encoder: Vec<EncoderLevel<E>>,
    encoder_out: Conv<E>,
    decoder_in: Conv<E>,
    decoder: Vec<DecoderLevel<E>>,
    decoder_out: Conv<E>,
    scratch: Mutex<Scratch<E>>,
}

/// Absent at the first level: the halving convolution.
struct EncoderLevel<E> {
    halve: Option<Conv<E>>,
    blocks: Vec<Block<E>>,
}

/// Absent at the last level: the doubling convolution.
struct DecoderLevel<E> {
    blocks: Vec<Block<E>>,
    double: Option<DoublingConv<E>>,
}

#[derive(Default)]
struct Scratch<E> {
    picture: Buffer<E>,
    between: [Buffer<E>; 2],
    last: Buffer<f32>,
}

/// Three convolutions and a shortcut.
struct Block<E>([Conv<E>; 3]);

impl<E: Element> Block<E> {
    fn load(place: &Loader<'_>, channels: usize) -> Result<Self> {
        let conv = |index: usize| Conv::load(&place.at("conv").at(index), channels, channels);
        Ok(Self([conv(0)?, conv(2)?, conv(4)?]))
    }

    fn run(&self, team: Team<'_>, size: Padded, activation: Activation, scratch: &mut Scratch<E>) {
        let Self([first, second, third]) = self;
        let channels = first.channels();
        let positions = size.positions();
        let [a, b] = &mut scratch.between;
        let (a, b) = (a.rows(positions, channels), b.rows(positions, channels));
        size.clear_frame(a, channels);
        size.clear_frame(b, channels);
        let finish = |conv, residual, activation| Finish::<E> {
            bias: conv,
            bias_image_stride: 0,
            residual,
            activation,
        };
        let picture = scratch.picture.rows(positions, channels);
        let early = finish(&first.bias[..], Residual::None, activation);
        first.run(team, picture, &[], 1, size, early, a, Layout::Padded);
        let early = finish(&second.bias[..], Residual::None, activation);
        second.run(team, a, &[], 1, size, early, b, Layout::Padded);
        // The last one is a rectifier whatever the others are.
        let last = finish(&third.bias[..], Residual::Target, Activation::Relu);
        third.run(team, b, &[], 1, size, last, picture, Layout::Padded);
    }
}

impl<E: Element> Tiny<E> {
    fn load(config: &TinyConfig, loader: &Loader<'_>) -> Result<Self> {
        let activation = Activation::from(config.activation);
        if !CpuTinyAutoencoder::supports(config) {
            bail!("this configuration of a tiny autoencoder has no fast way on the processor");
        }
        let channels = |levels: &[TinyLevel]| levels.first().map_or(0, |level| level.channels);
        let mut place = Numbered {
            place: loader.at("encoder.layers"),
            next: 0,
        };
        let width = channels(&config.encoder);
        let encoder_in = Conv::load(&place.take(1), width, 3)?;
        let mut encoder = Vec::new();
        for (index, level) in config.encoder.iter().enumerate() {
            let halve = match index {
                0 => None,
                _ => Some(Conv::load_without_bias(&place.take(1), width, width)?),
            };
            let blocks = (0..level.blocks)
                .map(|_| Block::load(&place.take(1), width))
                .collect::<Result<_>>()?;
            encoder.push(EncoderLevel { halve, blocks });
        }
        let encoder_out = Conv::load(&place.take(1), config.latent_channels, width)?;

        let mut place = Numbered {
            place: loader.at("decoder.layers"),
            next: 0,
        };
        let width = channels(&config.decoder);
        // The activation has a number too.
        let decoder_in = Conv::load(&place.take(2), width, config.latent_channels)?;
        let mut decoder = Vec::new();
        for (index, level) in config.decoder.iter().enumerate() {
            let blocks = (0..level.blocks)
                .map(|_| Block::load(&place.take(1), width))
                .collect::<Result<_>>()?;
            let double = if index + 1 < config.decoder.len() {
                // The enlargement has a number too.
                place.next += 1;
                let place = place.take(1);
                let plain = Conv::load_without_bias(&place, width, width)?;
                Some(DoublingConv::new(&place, plain)?)
            } else {
                None
            };
            decoder.push(DecoderLevel { blocks, double });
        }
        let decoder_out = Conv::load(&place.take(1), 3, width)?;
        Ok(Self {
            activation,
            encoder_in,
            encoder,
            encoder_out,
            decoder_in,
            decoder,
            decoder_out,
            scratch: Mutex::default(),
        })
    }

    /// Puts planes into `scratch.picture` after a first convolution.
    fn begin(
        team: Team<'_>,
        planes: &[f32],
        conv: &Conv<E>,
        size: Padded,
        first: &(dyn Fn(f32) -> f32 + Sync),
        activation: Activation,
        scratch: &mut Scratch<E>,
    ) {
        let from = planes.len() / (size.height * size.width);
        let input = scratch.between[0].rows(size.positions(), from);
        padded_from_planes(team, planes, 1, from, size, first, input);
        let picture = scratch.picture.rows(size.positions(), conv.channels());
        size.clear_frame(picture, conv.channels());
        let finish = Finish::<f32> {
            activation,
            ..Finish::bias(&conv.bias)
        };
        conv.run(team, input, &[], 1, size, finish, picture, Layout::Padded);
    }

    /// The last convolution, to planes.
    fn end(
        team: Team<'_>,
        conv: &Conv<E>,
        size: Padded,
        last: &(dyn Fn(f32) -> f32 + Sync),
        scratch: &mut Scratch<E>,
        output: &mut [f32],
    ) {
        let (area, channels) = (size.height * size.width, conv.channels());
        let rows = scratch.last.rows(area, channels);
        let finish = Finish::<f32>::bias(&conv.bias);
        conv.run(
            team,
            scratch.picture.get(),
            &[],
            1,
            size,
            finish,
            rows,
            Layout::List,
        );
        planes_from_rows(team, rows, 1, channels, area, last, output);
    }
}

/// Layers of a list, taken one after the other.
struct Numbered<'a> {
    place: Loader<'a>,
    next: usize,
}

impl<'a> Numbered<'a> {
    /// The next layer; `count` numbers are used up.
    fn take(&mut self, count: usize) -> Loader<'a> {
        let layer = self.place.at(self.next);
        self.next += count;
        layer
    }
}

impl<E: Element> Network for Tiny<E> {
    fn encode(
        &self,
        workers: &Workers,
        planes: &[f32],
        size: Padded,
        last: &(dyn Fn(f32) -> f32 + Sync),
    ) -> (Vec<f32>, Padded) {
        let team = Team::Full(workers);
        let scratch = &mut *self.scratch.lock();
        let from = 3 * size.height * size.width;
        let mut output = Vec::new();
        let mut small = size;
        for planes in planes.chunks_exact(from) {
            let mut size = size;
            let first = |value: f32| f32::midpoint(value, 1.0);
            Self::begin(
                team,
                planes,
                &self.encoder_in,
                size,
                &first,
                Activation::None,
                scratch,
            );
            for EncoderLevel { halve, blocks } in &self.encoder {
                if let Some(conv) = halve {
                    let half = super::layers::halved(size, 1);
                    let channels = conv.channels();
                    let to = scratch.between[0].rows(half.positions(), channels);
                    half.clear_frame(to, channels);
                    let picture = scratch.picture.get();
                    conv.run_halving(team, picture, 1, size, 1, Activation::None, to, Layout::Padded);
                    std::mem::swap(&mut scratch.picture, &mut scratch.between[0]);
                    size = half;
                }
                for block in blocks {
                    block.run(team, size, self.activation, scratch);
                }
            }
            let start = output.len();
            output.resize(
                start + self.encoder_out.channels() * size.height * size.width,
                0.0,
            );
            Self::end(team, &self.encoder_out, size, last, scratch, &mut output[start..]);
            small = size;
        }
        (output, small)
    }

    fn decode(
        &self,
        workers: &Workers,
        planes: &[f32],
        size: Padded,
        first: &(dyn Fn(f32) -> f32 + Sync),
    ) -> Vec<f32> {
        let team = Team::Full(workers);
        let scratch = &mut *self.scratch.lock();
        let from = self.encoder_out.channels() * size.height * size.width;
        let mut output = Vec::new();
        for planes in planes.chunks_exact(from) {
            let mut size = size;
            // Latents are squeezed softly into -3..3.
            let first = |value: f32| (first(value) / 3.0).tanh() * 3.0;
            Self::begin(
                team,
                planes,
                &self.decoder_in,
                size,
                &first,
                self.activation,
                scratch,
            );
            for DecoderLevel { blocks, double } in &self.decoder {
                for block in blocks {
                    block.run(team, size, self.activation, scratch);
                }
                if let Some(conv) = double {
                    let twice = Padded {
                        height: 2 * size.height,
                        width: 2 * size.width,
                    };
                    let to = scratch.between[0].rows(twice.positions(), conv.channels());
                    twice.clear_frame(to, conv.channels());
                    conv.run(team, scratch.picture.get(), 1, size, to, Layout::Padded);
                    std::mem::swap(&mut scratch.picture, &mut scratch.between[0]);
                    size = twice;
                }
            }
            let start = output.len();
            output.resize(start + 3 * size.height * size.width, 0.0);
            Self::end(
                team,
                &self.decoder_out,
                size,
                &|value| 2.0 * value - 1.0,
                scratch,
                &mut output[start..],
            );
        }
        output
    }
}
