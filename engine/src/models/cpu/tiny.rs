//! `AutoencoderTiny` (TAESD): pictures to latents and back.
use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use half::bf16;
use parking_lot::Mutex;

use super::{
    CpuPrecision,
    layers::{Conv, DoublingConv, Finish, Layout},
    load::Loader,
    values::with_values,
};
use crate::{
    models::{
        config::{MAX_LEVELS, TinyConfig, TinyLevel},
        traits::ImageCodec,
    },
    ops::{
        Isa, Team, Workers,
        buffer::Buffer,
        element::Element,
        matmul::{Activation, Residual},
        picture::{
            Padded, Window, padded_from_padded, padded_from_planes, planes_from_rows, planes_from_window,
        },
    },
};

/// Latent cells that are encoded or decoded at once; more are cut into tiles, since every resolution is held whole, with
/// all its channels.
const MAX_CELLS: usize = 160 * 160;
/// Side of a tile in latent cells.
const TILE: usize = 96;

/// A tiny autoencoder on the processor.
///
/// It remembers the last picture it decoded: where the next latent differs from the last one only in a part, only those
/// pixels are computed anew that the part has to do with. They are exactly what decoding the whole gives.
pub(crate) struct CpuTinyAutoencoder {
    network: Box<dyn Network>,
    last: Option<Decoded>,
    workers: Arc<Workers>,
    latent_channels: usize,
    downscale: usize,
    scaling_factor: f32,
    shift_factor: f32,
    most_cells: usize,
    tile: usize,
}

/// A latent with its picture.
struct Decoded {
    latents: Vec<f32>,
    size: Padded,
    /// `[1, 3, H, W]`.
    picture: Tensor,
}

impl Decoded {
    /// Where another latent of this size differs; `None` if it is the same.
    fn difference(&self, latents: &[f32]) -> Option<Window> {
        let Padded { height, width } = self.size;
        let (mut top, mut bottom, mut left, mut right) = (height, 0, width, 0);
        let rows = self.latents.chunks_exact(width).zip(latents.chunks_exact(width));
        for (row, (old, new)) in rows.enumerate() {
            let differs = |column: &usize| old[*column].to_bits() != new[*column].to_bits();
            let Some(first) = (0..width).find(differs) else {
                continue;
            };
            let last = (first..width).rev().find(differs).unwrap_or(first);
            let y = row % height;
            (top, bottom) = (top.min(y), bottom.max(y + 1));
            (left, right) = (left.min(first), right.max(last + 1));
        }
        (top < bottom).then(|| Window {
            top,
            left,
            height: bottom - top,
            width: right - left,
        })
    }
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
            last: None,
            workers,
            latent_channels: config.latent_channels,
            downscale: config.downscale(),
            scaling_factor: config.scaling_factor as f32,
            shift_factor: config.shift_factor as f32,
            most_cells: MAX_CELLS,
            tile: TILE,
        })
    }

    /// Encodes one picture tile by tile, each with a margin as wide as the encoder looks: exactly what encoding the whole
    /// gives.
    fn encode_tiles(
        &self,
        planes: &[f32],
        size: Padded,
        last: &(dyn Fn(f32) -> f32 + Sync),
        output: &mut [f32],
    ) {
        let scale = self.downscale;
        let cells = self.latent_size(size);
        let mut pixels = Vec::new();
        for tile in tiles(Window::whole(cells), self.tile) {
            let around = tile.grown(self.network.encoder_reach().div_ceil(scale), cells);
            let (top, left) = (around.top * scale, around.left * scale);
            let window = Window {
                top,
                left,
                height: (around.height * scale).min(size.height - top),
                width: (around.width * scale).min(size.width - left),
            };
            part_of_planes(planes, size, window, &mut pixels);
            let (latent, found) = self.network.encode(&self.workers, &pixels, window.size(), last);
            debug_assert_eq!(found, around.size(), "a tile begins at a cell's first pixel");
            let (y, x) = around.corner_of(tile);
            let whole = output.chunks_exact_mut(cells.height * cells.width);
            for (plane, part) in whole.zip(latent.chunks_exact(around.area())) {
                for row in 0..tile.height {
                    let from = &part[(y + row) * around.width + x..][..tile.width];
                    plane[(tile.top + row) * cells.width + tile.left..][..tile.width].copy_from_slice(from);
                }
            }
        }
        self.network.release();
    }

    /// The size of the latent of a picture.
    fn latent_size(&self, size: Padded) -> Padded {
        Padded {
            height: size.height.div_ceil(self.downscale),
            width: size.width.div_ceil(self.downscale),
        }
    }

    /// Computes the pixels of a plan, tile by tile if they are many.
    fn decode_planned(
        &self,
        planes: &[f32],
        size: Padded,
        plan: &Plan,
        first: &(dyn Fn(f32) -> f32 + Sync),
        output: &mut [f32],
    ) {
        let (network, workers) = (&self.network, &self.workers);
        if plan.result.area() <= self.most_cells * self.downscale * self.downscale {
            return network.decode(workers, planes, size, plan, first, output);
        }
        for tile in tiles(plan.result, self.tile * self.downscale) {
            let plan = network.plan_of(tile, size);
            network.decode(workers, planes, size, &plan, first, output);
        }
        network.release();
    }
}

/// A window in rows of squares, those at its right and lower edges cut.
fn tiles(window: Window, side: usize) -> impl Iterator<Item = Window> {
    let rows = (0..window.height).step_by(side);
    rows.flat_map(move |y| {
        (0..window.width).step_by(side).map(move |x| Window {
            top: window.top + y,
            left: window.left + x,
            height: side.min(window.height - y),
            width: side.min(window.width - x),
        })
    })
}

/// Copies a window of all planes of a picture.
fn part_of_planes(planes: &[f32], size: Padded, window: Window, part: &mut Vec<f32>) {
    part.clear();
    for plane in planes.chunks_exact(size.height * size.width) {
        for row in window.top..window.top + window.height {
            part.extend_from_slice(&plane[row * size.width + window.left..][..window.width]);
        }
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
        let (scale, shift) = (self.scaling_factor, self.shift_factor);
        let size = Padded { height: h, width: w };
        let last = |value: f32| (value - shift) * scale;
        let cells = self.latent_size(size);
        let output = with_values(pictures, |planes| {
            if cells.height * cells.width <= self.most_cells {
                return Ok(self.network.encode(&self.workers, planes, size, &last).0);
            }
            let length = self.latent_channels * cells.height * cells.width;
            let mut output = vec![0.0; b * length];
            let latents = output.chunks_exact_mut(length);
            for (planes, latent) in planes.chunks_exact(c * h * w).zip(latents) {
                self.encode_tiles(planes, size, &last, latent);
            }
            Ok(output)
        })?;
        let shape = (b, self.latent_channels, cells.height, cells.width);
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
        let (scale, shift) = (1.0 / self.scaling_factor, self.shift_factor);
        let first = |value: f32| value * scale + shift;
        let size = Padded { height: h, width: w };
        let shape = (b, 3, h * self.downscale, w * self.downscale);
        let length = 3 * h * w * self.downscale * self.downscale;
        if b > 1 {
            let mut output = vec![0.0; b * length];
            with_values(latents, |planes| {
                let plan = self.network.plan(Window::whole(size), size);
                let pictures = output.chunks_exact_mut(length);
                for (planes, output) in planes.chunks_exact(c * h * w).zip(pictures) {
                    self.decode_planned(planes, size, &plan, &first, output);
                }
                Ok(())
            })?;
            return Tensor::from_vec(output, shape, latents.device())?.to_dtype(latents.dtype());
        }
        let last = self.last.take().filter(|last| last.size == size);
        if last.is_none() {
            // Of another size: what that one needed is not kept.
            self.network.release();
        }
        let network = &self.network;
        let decoded = with_values(latents, |planes| {
            let whole = network.plan(Window::whole(size), size);
            let mut output = Vec::new();
            let mut plan = whole;
            let mut kept = if let Some(last) = last {
                let Some(changed) = last.difference(planes) else {
                    return Ok(last);
                };
                let part = network.plan(changed, size);
                if pays(part.cost, whole.cost) {
                    output = with_values(&last.picture, |picture| Ok(picture.to_vec()))?;
                    plan = part;
                }
                last.latents
            } else {
                Vec::new()
            };
            output.resize(length, 0.0);
            self.decode_planned(planes, size, &plan, &first, &mut output);
            kept.clear();
            kept.extend_from_slice(planes);
            Ok(Decoded {
                latents: kept,
                size,
                picture: Tensor::from_vec(output, shape, latents.device())?,
            })
        })?;
        let picture = decoded.picture.to_dtype(latents.dtype());
        self.last = Some(decoded);
        picture
    }
}

/// Whether decoding a part is worth copying the rest: it takes at most three quarters of the multiplications.
fn pays(part: usize, whole: usize) -> bool {
    4 * part <= 3 * whole
}

/// What is computed to decode some of a picture, resolution by resolution.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Latent cells that are read.
    latents: Window,
    /// At every resolution: what its blocks take, and what is needed of their result.
    levels: [(Window, Window); MAX_LEVELS],
    /// Pixels that are written.
    result: Window,
    /// Multiplications.
    cost: usize,
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
    /// Pixels around a latent cell's own that the encoder sees.
    fn encoder_reach(&self) -> usize;
    /// What must be computed where only `changed` of a latent of `size` is new.
    fn plan(&self, changed: Window, size: Padded) -> Plan;
    /// What must be computed for some pixels of a latent of `size`.
    fn plan_of(&self, result: Window, size: Padded) -> Plan;
    /// Computes the pixels of a plan; the others of `output`, three planes, stay.
    fn decode(
        &self,
        workers: &Workers,
        planes: &[f32],
        size: Padded,
        plan: &Plan,
        first: &(dyn Fn(f32) -> f32 + Sync),
        output: &mut [f32],
    );
    /// Gives back the memory that is kept from call to call.
    fn release(&self);
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
    /// Of the planes, where not all of them are read.
    part: Vec<f32>,
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

    /// Every resolution of the decoder, for a latent of a size.
    fn sizes(&self, latent: Padded) -> [Padded; MAX_LEVELS] {
        let mut sizes = [latent; MAX_LEVELS];
        for (index, level) in self.decoder.iter().enumerate() {
            if level.double.is_some() {
                let Padded { height, width } = sizes[index];
                sizes[index + 1] = Padded {
                    height: 2 * height,
                    width: 2 * width,
                };
            }
        }
        sizes
    }

    /// Puts a window of planes into `scratch.picture` after a first convolution.
    fn begin(
        team: Team<'_>,
        planes: &[f32],
        conv: &Conv<E>,
        size: Padded,
        window: Window,
        first: &(dyn Fn(f32) -> f32 + Sync),
        activation: Activation,
        scratch: &mut Scratch<E>,
    ) {
        let from = planes.len() / (size.height * size.width);
        let input = scratch.between[0].rows(window.size().positions(), from);
        if window == Window::whole(size) {
            padded_from_planes(team, planes, 1, from, size, first, input);
        } else {
            part_of_planes(planes, size, window, &mut scratch.part);
            padded_from_planes(team, &scratch.part, 1, from, window.size(), first, input);
        }
        let size = window.size();
        let picture = scratch.picture.rows(size.positions(), conv.channels());
        size.clear_frame(picture, conv.channels());
        let finish = Finish::<f32> {
            activation,
            ..Finish::bias(&conv.bias)
        };
        conv.run(team, input, &[], 1, size, finish, picture, Layout::Padded);
    }

    /// Cuts `scratch.picture` down to a window, if that saves something; answers with what it is then.
    fn cut(team: Team<'_>, from: Window, to: Window, channels: usize, scratch: &mut Scratch<E>) -> Window {
        if 10 * to.area() > 9 * from.area() {
            return from;
        }
        let part = scratch.between[0].rows(to.size().positions(), channels);
        padded_from_padded(team, scratch.picture.get(), from, to, channels, part);
        std::mem::swap(&mut scratch.picture, &mut scratch.between[0]);
        to
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
                Window::whole(size),
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

    fn encoder_reach(&self) -> usize {
        let mut reach = 1;
        for level in self.encoder.iter().rev() {
            reach += 3 * level.blocks.len();
            if level.halve.is_some() {
                reach = 2 * reach + 1;
            }
        }
        reach + 1
    }

    fn plan(&self, changed: Window, size: Padded) -> Plan {
        // A 3x3 convolution makes a change reach one pixel further. Forwards: which pixels are another.
        let sizes = self.sizes(size);
        let mut reached = changed.grown(1, size);
        for (index, level) in self.decoder.iter().enumerate() {
            reached = reached.grown(3 * level.blocks.len(), sizes[index]);
            if level.double.is_some() {
                reached = reached.doubled().grown(1, sizes[index + 1]);
            }
        }
        let last = self.decoder.len().saturating_sub(1);
        self.plan_of(reached.grown(1, sizes[last]), size)
    }

    fn plan_of(&self, result: Window, size: Padded) -> Plan {
        // Backwards: what the pixels are made of.
        let sizes = self.sizes(size);
        let last = self.decoder.len().saturating_sub(1);
        let mut levels = [(result, result); MAX_LEVELS];
        let width = self.decoder_in.channels();
        let mut needed = result.grown(1, sizes[last]);
        let mut cost = 9 * width * needed.area() * self.decoder_out.channels();
        for (index, level) in self.decoder.iter().enumerate().rev() {
            if level.double.is_some() {
                needed = needed.grown(1, sizes[index + 1]).halved();
                cost += 16 * width * width * needed.area();
            }
            let input = needed.grown(3 * level.blocks.len(), sizes[index]);
            levels[index] = (input, needed);
            needed = input;
            cost += 27 * width * width * level.blocks.len() * input.area();
        }
        Plan {
            latents: needed.grown(1, size),
            levels,
            result,
            cost,
        }
    }

    fn decode(
        &self,
        workers: &Workers,
        planes: &[f32],
        size: Padded,
        plan: &Plan,
        first: &(dyn Fn(f32) -> f32 + Sync),
        output: &mut [f32],
    ) {
        let team = Team::Full(workers);
        let scratch = &mut *self.scratch.lock();
        // Latents are squeezed softly into -3..3.
        let first = |value: f32| (first(value) / 3.0).tanh() * 3.0;
        let mut window = plan.latents;
        Self::begin(
            team,
            planes,
            &self.decoder_in,
            size,
            window,
            &first,
            self.activation,
            scratch,
        );
        let channels = self.decoder_in.channels();
        let mut size = size;
        for (DecoderLevel { blocks, double }, &(input, needed)) in self.decoder.iter().zip(&plan.levels) {
            window = Self::cut(team, window, input, channels, scratch);
            for block in blocks {
                block.run(team, window.size(), self.activation, scratch);
            }
            window = Self::cut(team, window, needed, channels, scratch);
            if let Some(conv) = double {
                let twice = window.doubled();
                let to = scratch.between[0].rows(twice.size().positions(), channels);
                twice.size().clear_frame(to, channels);
                conv.run(team, scratch.picture.get(), 1, window.size(), to, Layout::Padded);
                std::mem::swap(&mut scratch.picture, &mut scratch.between[0]);
                window = twice;
                size = Padded {
                    height: 2 * size.height,
                    width: 2 * size.width,
                };
            }
        }
        let channels = self.decoder_out.channels();
        let rows = scratch.last.rows(window.area(), channels);
        let finish = Finish::<f32>::bias(&self.decoder_out.bias);
        let picture = scratch.picture.get();
        self.decoder_out
            .run(team, picture, &[], 1, window.size(), finish, rows, Layout::List);
        let last = |value| 2.0 * value - 1.0;
        planes_from_window(team, rows, window, plan.result, channels, last, output, size);
    }

    fn release(&self) {
        *self.scratch.lock() = Scratch::default();
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use proptest::prelude::*;

    use super::*;
    use crate::weights::{LoadProgress, LoadWatch, random_weights};

    /// A decoder with three resolutions that looks five cells far.
    fn codec(isa: Isa, precision: CpuPrecision) -> CpuTinyAutoencoder {
        let json =
            br#"{"encoder_block_out_channels": [20, 20, 20], "decoder_block_out_channels": [20, 20, 20],
            "num_encoder_blocks": [1, 1, 1], "num_decoder_blocks": [1, 1, 0]}"#;
        let config = TinyConfig::from_json(json).unwrap();
        let ignore = |_: LoadProgress<'_>| {};
        let cancel = false.into();
        let watch = LoadWatch::new(&ignore, &cancel);
        let weights = random_weights("codec", DType::F32, &Device::Cpu, &watch);
        let workers = Arc::new(Workers::new(2));
        CpuTinyAutoencoder::load_for(isa, &config, weights, precision, workers).unwrap()
    }

    fn bits(codec: &mut CpuTinyAutoencoder, latents: &[f32], (height, width): (usize, usize)) -> Vec<u32> {
        let latents = Tensor::from_slice(latents, (1, 4, height, width), &Device::Cpu).unwrap();
        let picture = codec.decode(&latents).unwrap();
        with_values(&picture, |values| {
            Ok(values.iter().map(|value| value.to_bits()).collect())
        })
        .unwrap()
    }

    fn numbers(seed: u32, count: usize) -> Vec<f32> {
        let mut state = u64::from(seed) * 2 + 1;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(next).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn decoding_what_changed_gives_the_bytes_of_decoding_all(
            size in (1_usize..40, 1_usize..40),
            corner in (0.0..1.0, 0.0..1.0),
            sides in (0.0..1.0, 0.0..1.0),
            seed: u32,
        ) {
            let (height, width) = size;
            let within = |share: f64, length: usize| (share * length as f64) as usize;
            let (top, left) = (within(corner.0, height), within(corner.1, width));
            // Small rectangles are the rule.
            let rows = within(sides.0 * sides.0, height - top) + 1;
            let columns = within(sides.1 * sides.1, width - left) + 1;
            let before = numbers(seed, 4 * height * width);
            let fresh = numbers(seed ^ 0x5555, 4 * height * width);
            let mut after = before.clone();
            for (index, value) in after.iter_mut().enumerate() {
                let (y, x) = (index / width % height, index % width);
                if (top..top + rows).contains(&y) && (left..left + columns).contains(&x) {
                    *value = fresh[index];
                }
            }
            for (isa, precision) in [
                (Isa::best(), CpuPrecision::F32),
                (Isa::best(), CpuPrecision::Bf16),
                (Isa::Portable, CpuPrecision::F32),
            ] {
                let mut codec = codec(isa, precision);
                bits(&mut codec, &before, size);
                let in_part = bits(&mut codec, &after, size);
                let again = bits(&mut codec, &after, size);
                codec.last = None;
                let whole = bits(&mut codec, &after, size);
                prop_assert!(in_part == whole, "{isa:?} {precision:?}");
                prop_assert!(again == whole, "{isa:?} {precision:?} again");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        #[test]
        fn tiles_give_the_bytes_of_the_whole(
            size in (1_usize..24, 1_usize..24),
            odd in (0_usize..4, 0_usize..4),
            tile in 4_usize..20,
            seed: u32,
        ) {
            let (height, width) = size;
            let before = numbers(seed, 4 * height * width);
            let mut after = before.clone();
            after[0] += 1.0;
            // Pictures whose sides do not halve evenly, too.
            let side = |cells: usize, odd: usize| 4 * cells - odd;
            let shape = (1, 3, side(height, odd.0), side(width, odd.1));
            let pixels = numbers(seed ^ 0x5555, shape.1 * shape.2 * shape.3);
            let pixels = Tensor::from_vec(pixels, shape, &Device::Cpu).unwrap();
            for (isa, precision) in [
                (Isa::best(), CpuPrecision::F32),
                (Isa::best(), CpuPrecision::Bf16),
                (Isa::Portable, CpuPrecision::F32),
            ] {
                let mut whole = codec(isa, precision);
                let mut tiled = codec(isa, precision);
                (tiled.most_cells, tiled.tile) = (0, tile);
                prop_assert!(
                    bits(&mut tiled, &before, size) == bits(&mut whole, &before, size),
                    "{isa:?} {precision:?}"
                );
                prop_assert!(
                    bits(&mut tiled, &after, size) == bits(&mut whole, &after, size),
                    "{isa:?} {precision:?} in part"
                );
                let latents = |codec: &CpuTinyAutoencoder| -> Vec<u32> {
                    let latents = codec.encode(&pixels, None).unwrap();
                    let values: Vec<f32> = latents.flatten_all().unwrap().to_vec1().unwrap();
                    values.into_iter().map(f32::to_bits).collect()
                };
                prop_assert!(latents(&tiled) == latents(&whole), "{isa:?} {precision:?} encoded");
            }
        }
    }

    #[test]
    fn a_small_change_of_a_large_picture_costs_little_and_a_large_one_is_decoded_whole() {
        let codec = codec(Isa::best(), CpuPrecision::F32);
        let size = Padded {
            height: 64,
            width: 48,
        };
        let whole = codec.network.plan(Window::whole(size), size);
        assert_eq!(
            whole.result.size(),
            Padded {
                height: 256,
                width: 192
            }
        );
        let cost_of = |height: usize, width: usize| {
            let changed = Window {
                top: (64 - height) / 2,
                left: (48 - width) / 2,
                height,
                width,
            };
            codec.network.plan(changed, size).cost
        };
        assert!(cost_of(1, 1) * 4 < whole.cost);
        assert!(pays(cost_of(8, 8), whole.cost));
        assert!(!pays(cost_of(40, 28), whole.cost));
        assert!(cost_of(1, 1) < cost_of(2, 3));
    }
}
