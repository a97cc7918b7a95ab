//! The UNet of Stable Diffusion.

mod blocks;
mod time;

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use blocks::{CrossAttentions, Resnet, Transformer};
use candle_core::{DType, Result, Tensor, bail};
use candle_nn::VarBuilder;
use half::bf16;
use parking_lot::Mutex;
use time::{TimeEmbedding, TimeProjections, TimeScratch};

use super::{
    CpuPrecision,
    layers::{Conv, DoublingConv, Finish, Layout, Linear, Norm, halved},
    load::Loader,
    values::with_values,
};
use crate::{
    models::{
        config::{self, UNetConfig},
        traits::{Conditioning, Denoiser, PreparedPrompt, Row},
    },
    ops::{
        Isa, Team, Workers,
        attention::{Heads, MAX_HEAD, pack_keys_and_values},
        buffer::Buffer,
        element::Element,
        matmul::{Activation, Residual},
        norm::{GroupNorm, NormTarget, group_norm},
        picture::{Padded, convert_rows, padded_from_planes, padded_from_rows, planes_from_rows},
    },
};

/// Most rows of a batch that one thread computes at once: weights are read once for all of them.
const ROWS_AT_ONCE: usize = 2;

/// A UNet on the processor.
pub(crate) struct CpuUnet {
    network: Box<dyn Network>,
    workers: Arc<Workers>,
}

impl CpuUnet {
    /// Whether there is a fast way for this configuration; the plain network does without one.
    pub(crate) fn supports(config: &UNetConfig) -> bool {
        config.in_kernel == 3
            && config.out_kernel == 3
            && config.activation == config::Activation::Silu
            && config.guidance_width.is_none()
            && attentions(config).all(|(channels, heads, depth)| channels / heads <= MAX_HEAD && depth > 0)
    }

    /// Loads and packs the weights.
    ///
    /// # Errors
    /// If a weight is missing or has another shape than the configuration says, or the configuration asks for
    /// something without a fast way (see [`Self::supports`]).
    pub(crate) fn load(
        config: &UNetConfig,
        weights: VarBuilder<'_>,
        precision: CpuPrecision,
        workers: Arc<Workers>,
    ) -> Result<Self> {
        Self::load_for(Isa::best(), config, weights, precision, workers)
    }

    /// As [`Self::load`], for instructions other than the best.
    pub(crate) fn load_for(
        isa: Isa,
        config: &UNetConfig,
        weights: VarBuilder<'_>,
        precision: CpuPrecision,
        workers: Arc<Workers>,
    ) -> Result<Self> {
        let loader = Loader::new(weights, isa);
        let network: Box<dyn Network> = match precision {
            CpuPrecision::F32 => Box::new(Unet::<f32>::load(config, &loader)?),
            CpuPrecision::Bf16 => Box::new(Unet::<bf16>::load(config, &loader)?),
        };
        Ok(Self { network, workers })
    }
}

impl Denoiser for CpuUnet {
    fn prepare(&self, conditioning: &Conditioning) -> Result<PreparedPrompt> {
        self.network.prepare(&self.workers, conditioning)
    }

    fn predict(&mut self, latents: &Tensor, rows: &[Row<'_>]) -> Result<Tensor> {
        let (b, c, h, w) = latents.dims4()?;
        if b != rows.len() || b == 0 {
            bail!("{b} latents for {} rows", rows.len());
        }
        let (from, to) = self.network.channels();
        if c != from || h == 0 || w == 0 {
            bail!(
                "latents have the shape {:?} where [b, {from}, h, w] is expected",
                latents.dims()
            );
        }
        let mut output = vec![0.0; b * to * h * w];
        let (network, workers) = (&mut self.network, &self.workers);
        with_values(latents, |planes| {
            network.predict(workers, planes, rows, (h, w), &mut output)
        })?;
        Tensor::from_vec(output, (b, to, h, w), latents.device())?.to_dtype(latents.dtype())
    }
}

/// A [`Unet`] in one number format or the other.
trait Network: Send {
    fn channels(&self) -> (usize, usize);
    fn prepare(&self, workers: &Workers, conditioning: &Conditioning) -> Result<PreparedPrompt>;
    fn predict(
        &mut self,
        workers: &Workers,
        planes: &[f32],
        rows: &[Row<'_>],
        size: (usize, usize),
        output: &mut [f32],
    ) -> Result<()>;
}

struct Unet<E> {
    /// Tells prompts prepared by this network from others'.
    id: u64,
    isa: Isa,
    in_channels: usize,
    groups: usize,
    downsample_padding: usize,
    time: TimeEmbedding,
    conv_in: Conv<E>,
    down: Vec<Level<E>>,
    mid: Option<Mid<E>>,
    up: Vec<Level<E>>,
    norm_out: Norm,
    conv_out: Conv<E>,
    context_width: usize,
    /// Numbers of heads of all cross-attentions, in order.
    cross_heads: Vec<Heads>,
    cross: Vec<Linear<f32>>,
    scratch: Vec<Mutex<Scratch<E>>>,
    time_scratch: TimeScratch,
}

/// The lowest resolution.
struct Mid<E> {
    first: Resnet<E>,
    attention: Option<Transformer<E>>,
    second: Option<Resnet<E>>,
}

struct Level<E> {
    layers: Vec<(Resnet<E>, Option<Transformer<E>>)>,
    end: LevelEnd<E>,
}

enum LevelEnd<E> {
    None,
    Halve(Conv<E>),
    Double(Box<DoublingConv<E>>),
}

/// A prompt's keys and values for every cross-attention.
struct CpuPrompt<E> {
    id: u64,
    tokens: usize,
    layers: Vec<Vec<E>>,
    /// Pooled embedding and time ids, where the model takes them.
    added: Option<Vec<f32>>,
}

/// Memory of one thread.
#[derive(Default)]
struct Scratch<E> {
    statistics: Vec<f32>,
    padded: Buffer<E>,
    raw: Buffer<E>,
    hidden: Buffer<f32>,
    rows: Buffer<E>,
    wide: Buffer<E>,
    packed: Buffer<E>,
    attended: Buffer<E>,
    tokens: Buffer<f32>,
    /// The picture on its way, and another to write to.
    current: Buffer<f32>,
    next: Buffer<f32>,
    /// What the way up takes up again, and its numbers of channels.
    skips: Vec<Buffer<f32>>,
    skip_channels: Vec<usize>,
    /// Sizes of all resolutions from the first one down.
    sizes: Vec<Padded>,
}

/// Channels, heads and blocks of all transformers.
fn attentions(config: &UNetConfig) -> impl Iterator<Item = (usize, usize, usize)> {
    let levels = config.down.iter().chain(&config.up);
    let levels = levels.filter_map(|level| Some((level.channels, level.attention.as_ref()?)));
    let levels = levels.flat_map(|(channels, attention)| {
        let depths = attention.depths.iter();
        depths.map(move |&depth| (channels, attention.heads, depth))
    });
    let last = config.down.last().map_or(0, |level| level.channels);
    let mid = config.mid.as_ref().and_then(|mid| mid.attention);
    levels.chain(mid.map(|(heads, depth)| (last, heads, depth)))
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// Rows that are computed together.
struct Batch<'a> {
    isa: Isa,
    groups: usize,
    rows: &'a [Row<'a>],
    time_biases: &'a [f32],
    time_stride: usize,
}

/// The prompt of a row that [`Unet::predict`] has looked at.
fn prompt_of<'a, E: 'static>(row: &Row<'a>) -> &'a CpuPrompt<E> {
    let prompt = row.prompt.0.downcast_ref();
    prompt.expect("a call begins with looking at all prompts")
}

impl<E: Element> Unet<E> {
    fn load(config: &UNetConfig, loader: &Loader<'_>) -> Result<Self> {
        if !CpuUnet::supports(config) {
            bail!("this configuration of a UNet has no fast way on the processor");
        }
        let mut time = TimeProjections::default();
        let mut cross = CrossAttentions {
            context_width: config.context_width,
            heads: Vec::new(),
            linears: Vec::new(),
        };
        let first = config.down.first().map_or(0, |level| level.channels);
        let conv_in = Conv::load(&loader.at("conv_in"), first, config.in_channels)?;
        // Channels of everything the way up takes up again.
        let mut skips = vec![first];
        let mut channels = first;
        let mut down = Vec::new();
        for (index, level) in config.down.iter().enumerate() {
            let place = loader.at("down_blocks").at(index);
            let mut layers = Vec::new();
            for layer in 0..level.layers {
                let resnet = place.at("resnets").at(layer);
                let resnet = Resnet::load(&resnet, config, channels, level.channels, &mut time)?;
                channels = level.channels;
                layers.push((resnet, transformer(&place, layer, level, &mut cross)?));
                skips.push(channels);
            }
            let end = if index + 1 < config.down.len() {
                skips.push(channels);
                LevelEnd::Halve(Conv::load(&place.at("downsamplers.0.conv"), channels, channels)?)
            } else {
                LevelEnd::None
            };
            down.push(Level { layers, end });
        }
        let mid = match &config.mid {
            None => None,
            Some(mid) => {
                let place = loader.at("mid_block");
                let first = Resnet::load(&place.at("resnets.0"), config, channels, channels, &mut time)?;
                let attention = match mid.attention {
                    None => None,
                    Some((heads, depth)) => {
                        let place = place.at("attentions.0");
                        Some(Transformer::load(&place, channels, heads, depth, &mut cross)?)
                    }
                };
                // Blocks without attention come with one residual block or with two.
                let second = place.at("resnets.1");
                let second = if attention.is_some() || second.at("conv1").has("weight") {
                    Some(Resnet::load(&second, config, channels, channels, &mut time)?)
                } else {
                    None
                };
                Some(Mid {
                    first,
                    attention,
                    second,
                })
            }
        };
        let mut up = Vec::new();
        for (index, level) in config.up.iter().enumerate() {
            let place = loader.at("up_blocks").at(index);
            let mut layers = Vec::new();
            for layer in 0..level.layers {
                let Some(skip) = skips.pop() else {
                    bail!("the way up is longer than the way down")
                };
                let resnet = place.at("resnets").at(layer);
                let resnet = Resnet::load(&resnet, config, channels + skip, level.channels, &mut time)?;
                channels = level.channels;
                layers.push((resnet, transformer(&place, layer, level, &mut cross)?));
            }
            let end = if index + 1 < config.up.len() {
                let place = place.at("upsamplers.0.conv");
                let plain = Conv::load(&place, channels, channels)?;
                LevelEnd::Double(Box::new(DoublingConv::new(&place, plain)?))
            } else {
                LevelEnd::None
            };
            up.push(Level { layers, end });
        }
        if !skips.is_empty() {
            bail!("the way up is shorter than the way down");
        }
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            isa: loader.isa,
            in_channels: config.in_channels,
            groups: config.norm_groups,
            downsample_padding: config.downsample_padding,
            time: TimeEmbedding::load(config, loader, first, time)?,
            conv_in,
            down,
            mid,
            up,
            norm_out: Norm::load(&loader.at("conv_norm_out"), channels, config.norm_eps as f32)?,
            conv_out: Conv::load(&loader.at("conv_out"), config.out_channels, channels)?,
            context_width: config.context_width,
            cross_heads: cross.heads,
            cross: cross.linears,
            scratch: Vec::new(),
            time_scratch: TimeScratch::default(),
        })
    }

    /// Computes some rows: latents to predictions, both as planes.
    fn run(
        &self,
        team: Team<'_>,
        batch: &Batch<'_>,
        planes: &[f32],
        size: Padded,
        scratch: &mut Scratch<E>,
        output: &mut [f32],
    ) {
        let images = batch.rows.len();
        let mut size = size;
        let mut sizes = std::mem::take(&mut scratch.sizes);
        sizes.clear();
        sizes.push(size);
        let mut skips = std::mem::take(&mut scratch.skips);
        let mut used = 0;
        let mut next_skip = |skips: &mut Vec<Buffer<f32>>| {
            if skips.len() == used {
                skips.push(Buffer::default());
            }
            used += 1;
            used - 1
        };
        let mut channels = self.conv_in.channels();
        let padded = scratch.padded.rows(images * size.positions(), self.in_channels);
        padded_from_planes(
            team,
            planes,
            images,
            self.in_channels,
            size,
            |value| value,
            padded,
        );
        let slot = next_skip(&mut skips);
        let out = skips[slot].rows(images * size.height * size.width, channels);
        let finish = Finish::<f32>::bias(&self.conv_in.bias);
        self.conv_in
            .run(team, padded, &[], images, size, finish, out, Layout::List);
        let mut shapes = std::mem::take(&mut scratch.skip_channels);
        shapes.clear();
        shapes.push(channels);
        for level in &self.down {
            for (resnet, transformer) in &level.layers {
                let slot = next_skip(&mut skips);
                let mut out = std::mem::take(&mut skips[slot]);
                let source = [(skips[slot - 1].get(), channels)];
                resnet.run(team, batch, size, &source, scratch, &mut out);
                channels = resnet.out_channels();
                if let Some(transformer) = transformer {
                    transformer.run(team, batch, size, &mut out, scratch);
                }
                skips[slot] = out;
                shapes.push(channels);
            }
            if let LevelEnd::Halve(conv) = &level.end {
                let slot = next_skip(&mut skips);
                let mut out = std::mem::take(&mut skips[slot]);
                let padded = scratch.padded.rows(images * size.positions(), channels);
                let source = skips[slot - 1].get();
                padded_from_rows(
                    team,
                    self.isa,
                    source,
                    images,
                    channels,
                    (size.height, size.width),
                    size,
                    padded,
                );
                let half = halved(size, self.downsample_padding);
                let to = out.rows(images * half.height * half.width, channels);
                let padding = self.downsample_padding;
                conv.run_halving(
                    team,
                    padded,
                    images,
                    size,
                    padding,
                    Activation::None,
                    to,
                    Layout::List,
                );
                skips[slot] = out;
                shapes.push(channels);
                size = half;
                sizes.push(size);
            }
        }
        let mut current = std::mem::take(&mut scratch.current);
        let mut next = std::mem::take(&mut scratch.next);
        // The picture on its way is the last skip until something else was made of it.
        let mut is_skip = self.mid.is_none();
        if let Some(Mid {
            first,
            attention,
            second,
        }) = &self.mid
        {
            let source = [(skips[shapes.len() - 1].get(), channels)];
            first.run(team, batch, size, &source, scratch, &mut next);
            if let Some(transformer) = attention {
                transformer.run(team, batch, size, &mut next, scratch);
            }
            match second {
                Some(second) => second.run(
                    team,
                    batch,
                    size,
                    &[(next.get(), channels)],
                    scratch,
                    &mut current,
                ),
                None => std::mem::swap(&mut current, &mut next),
            }
        }
        let mut last = shapes.len();
        for level in &self.up {
            for (resnet, transformer) in &level.layers {
                last -= 1;
                let skip = skips[last].get();
                let source = if is_skip { skip } else { current.get() };
                let sources = [(source, channels), (skip, shapes[last])];
                resnet.run(team, batch, size, &sources, scratch, &mut next);
                std::mem::swap(&mut current, &mut next);
                is_skip = false;
                channels = resnet.out_channels();
                if let Some(transformer) = transformer {
                    transformer.run(team, batch, size, &mut current, scratch);
                }
            }
            if let LevelEnd::Double(conv) = &level.end {
                sizes.pop();
                let from = size;
                size = sizes.last().copied().unwrap_or(size);
                let area = images * size.height * size.width;
                let is_double = size.height == 2 * from.height && size.width == 2 * from.width;
                let between = if is_double { from } else { size };
                let padded = scratch.padded.rows(images * between.positions(), channels);
                let sides = (from.height, from.width);
                padded_from_rows(
                    team,
                    self.isa,
                    current.get(),
                    images,
                    channels,
                    sides,
                    between,
                    padded,
                );
                let to = next.rows(area, conv.channels());
                if is_double {
                    conv.run(team, padded, images, from, to, Layout::List);
                } else {
                    let finish = Finish::<f32>::bias(&conv.plain().bias);
                    conv.plain()
                        .run(team, padded, &[], images, size, finish, to, Layout::List);
                }
                std::mem::swap(&mut current, &mut next);
            }
        }
        let norm = GroupNorm {
            sources: &[(current.get(), channels)],
            images,
            size,
            groups: self.groups,
            epsilon: self.norm_out.epsilon,
            weight: &self.norm_out.weight,
            bias: &self.norm_out.bias,
            silu: true,
        };
        let padded = scratch.padded.rows(images * size.positions(), channels);
        let target = NormTarget::Padded(padded, &mut []);
        group_norm(team, self.isa, &norm, &mut scratch.statistics, target);
        let area = size.height * size.width;
        let out_channels = self.conv_out.channels();
        let to = next.rows(images * area, out_channels);
        let finish = Finish::<f32>::bias(&self.conv_out.bias);
        self.conv_out
            .run(team, padded, &[], images, size, finish, to, Layout::List);
        planes_from_rows(team, to, images, out_channels, area, |value| value, output);
        scratch.skips = skips;
        scratch.skip_channels = shapes;
        scratch.sizes = sizes;
        scratch.current = current;
        scratch.next = next;
    }
}

fn transformer<E: Element>(
    place: &Loader<'_>,
    layer: usize,
    level: &config::LevelConfig,
    cross: &mut CrossAttentions,
) -> Result<Option<Transformer<E>>> {
    let Some(attention) = &level.attention else {
        return Ok(None);
    };
    let place = place.at("attentions").at(layer);
    let depth = attention.depths.get(layer).copied().unwrap_or(1);
    Transformer::load(&place, level.channels, attention.heads, depth, cross).map(Some)
}

impl<E: Element> Network for Unet<E> {
    fn channels(&self) -> (usize, usize) {
        (self.in_channels, self.conv_out.channels())
    }

    fn prepare(&self, workers: &Workers, conditioning: &Conditioning) -> Result<PreparedPrompt> {
        let (tokens, width) = conditioning.context.dims2()?;
        if width != self.context_width || tokens == 0 {
            bail!(
                "text embeddings are {width} wide where {} is expected",
                self.context_width
            );
        }
        let context: Vec<f32> = conditioning
            .context
            .to_dtype(DType::F32)?
            .flatten_all()?
            .to_vec1()?;
        let mut input = Buffer::<f32>::default();
        input.rows(tokens, width)[..context.len()].copy_from_slice(&context);
        let team = Team::Full(workers);
        let mut layers = Vec::with_capacity(self.cross.len());
        for (linear, heads) in self.cross.iter().zip(&self.cross_heads) {
            let channels = heads.count * heads.width;
            let mut output = Buffer::<f32>::default();
            let output = output.rows(tokens, 2 * channels);
            let none = Residual::<f32>::None;
            linear.run(team, input.get(), tokens, none, Activation::None, output);
            let mut rows = vec![E::default(); output.len()];
            convert_rows(self.isa, output, &mut rows);
            let heads = Heads {
                keys: tokens,
                ..*heads
            };
            let mut packed = vec![E::default(); heads.packed_len::<E>(self.isa)];
            let (keys, values) = (&rows[..], &rows[channels..]);
            pack_keys_and_values(team, self.isa, heads, 1, keys, values, 2 * channels, &mut packed);
            layers.push(packed);
        }
        let added = self.time.added(conditioning)?;
        let prompt = CpuPrompt {
            id: self.id,
            tokens,
            layers,
            added,
        };
        Ok(PreparedPrompt(Arc::new(prompt) as Arc<dyn Any + Send + Sync>))
    }

    fn predict(
        &mut self,
        workers: &Workers,
        planes: &[f32],
        rows: &[Row<'_>],
        (height, width): (usize, usize),
        output: &mut [f32],
    ) -> Result<()> {
        for row in rows {
            match row.prompt.0.downcast_ref::<CpuPrompt<E>>() {
                Some(prompt) if prompt.id == self.id => {}
                _ => bail!("a prompt was prepared by another denoiser"),
            }
        }
        let size = Padded { height, width };
        let count = rows.len();
        let threads = workers.count();
        while self.scratch.len() < threads {
            self.scratch.push(Mutex::new(Scratch::default()));
        }
        let mut time_scratch = std::mem::take(&mut self.time_scratch);
        self.time
            .biases::<E>(Team::Full(workers), self.isa, rows, &mut time_scratch);
        let time_stride = self.time.len();
        let from = self.in_channels * height * width;
        let to = self.conv_out.channels() * height * width;
        let network = &*self;
        let run = |team: Team<'_>, first: usize, output: &mut [f32]| {
            let last = first + output.len() / to;
            let batch = Batch {
                isa: network.isa,
                groups: network.groups,
                rows: &rows[first..last],
                time_biases: &time_scratch.biases[first * time_stride..],
                time_stride,
            };
            // One scratch a thread, so one is always free.
            let mut scratch = loop {
                if let Some(free) = network.scratch.iter().find_map(|scratch| scratch.try_lock()) {
                    break free;
                }
                std::thread::yield_now();
            };
            network.run(
                team,
                &batch,
                &planes[first * from..last * from],
                size,
                &mut scratch,
                output,
            );
        };
        // Rows that do not divide among the threads are computed by all of them together.
        let together = if threads == 1 { 0 } else { count % threads };
        let (first_outputs, outputs) = output.split_at_mut(together * to);
        if together > 0 {
            run(Team::Full(workers), 0, first_outputs);
        }
        // The others in rounds that give every thread equally many.
        let each = (count - together) / threads;
        let start = |part: usize| {
            let (round, thread) = (part / threads, part % threads);
            let rows = ROWS_AT_ONCE.min(each - (round * ROWS_AT_ONCE).min(each));
            round * ROWS_AT_ONCE * threads + thread * rows
        };
        let parts = each.div_ceil(ROWS_AT_ONCE) * threads;
        workers.run_on_parts(
            outputs,
            parts,
            |part| start(part) * to,
            |part, output| {
                run(Team::Solo, together + start(part), output);
            },
        );
        self.time_scratch = time_scratch;
        // Padding is multiplied by zero, and holds what an earlier call left behind: a NaN would stay for good.
        if output.iter().any(|value| !value.is_finite()) {
            self.scratch.clear();
        }
        Ok(())
    }
}
