//! What every resolution is made of: residual blocks and transformers.

use candle_core::Result;

use super::{
    super::{
        layers::{Conv, Finish, Layout, Linear, Norm},
        load::Loader,
    },
    Batch, Scratch, prompt_of,
    time::TimeProjections,
};
use crate::{
    models::config::UNetConfig,
    ops::{
        Team,
        attention::{Heads, Sight, attend, attend_to_self},
        buffer::Buffer,
        element::Element,
        matmul::{Activation, Residual},
        norm::{GroupNorm, NormTarget, group_norm, layer_norm},
        picture::Padded,
    },
};

/// Two convolutions, each after a normalisation, around the time embedding; and a shortcut.
pub(super) struct Resnet<E> {
    norm1: Norm,
    conv1: Conv<E>,
    /// Where this layer's bias begins in a row's time biases.
    time_offset: usize,
    norm2: Norm,
    conv2: Conv<E>,
    has_shortcut: bool,
}

/// Attention at one resolution.
pub(super) struct Transformer<E> {
    norm: Norm,
    proj_in: Linear<E>,
    blocks: Vec<TransformerBlock<E>>,
    proj_out: Linear<E>,
    heads: usize,
}

struct TransformerBlock<E> {
    norm1: Norm,
    qkv: Linear<E>,
    self_out: Linear<E>,
    norm2: Norm,
    cross_query: Linear<E>,
    /// Number of this layer's keys and values in a prepared prompt.
    cross: usize,
    cross_out: Linear<E>,
    norm3: Norm,
    gate: Linear<E>,
    feed_out: Linear<E>,
}

/// Collects the cross-attentions while they are loaded.
pub(super) struct CrossAttentions {
    pub(super) context_width: usize,
    pub(super) heads: Vec<Heads>,
    pub(super) linears: Vec<Linear<f32>>,
}

impl<E: Element> Resnet<E> {
    pub(super) fn load(
        loader: &Loader<'_>,
        config: &UNetConfig,
        from: usize,
        to: usize,
        time: &mut TimeProjections,
    ) -> Result<Self> {
        let epsilon = config.norm_eps as f32;
        let mut conv1 = Conv::load(&loader.at("conv1"), to, from)?;
        let projection = loader.at("time_emb_proj");
        let time_offset = time.bias.len();
        time.rows.extend(projection.matrix(to, config.time_width)?);
        time.bias
            .extend(projection.bias(to)?.iter().zip(&conv1.bias).map(|(a, b)| a + b));
        conv1.bias = Vec::new();
        let has_shortcut = from != to;
        let conv2 = loader.at("conv2");
        let conv2 = if has_shortcut {
            Conv::load_with_shortcut(&conv2, &loader.at("conv_shortcut"), to, to, from)?
        } else {
            Conv::load(&conv2, to, to)?
        };
        Ok(Self {
            norm1: Norm::load(&loader.at("norm1"), from, epsilon)?,
            conv1,
            time_offset,
            norm2: Norm::load(&loader.at("norm2"), to, epsilon)?,
            conv2,
            has_shortcut,
        })
    }

    pub(super) fn out_channels(&self) -> usize {
        self.conv1.channels()
    }

    /// `sources` are one picture or two whose channels follow each other.
    pub(super) fn run(
        &self,
        team: Team<'_>,
        batch: &Batch<'_>,
        size: Padded,
        sources: &[(&[f32], usize)],
        scratch: &mut Scratch<E>,
        out: &mut Buffer<f32>,
    ) {
        let images = batch.rows.len();
        let from: usize = sources.iter().map(|source| source.1).sum();
        let to = self.out_channels();
        let area = size.height * size.width;
        let norm = |norm: &Norm,
                    sources: &[(&[f32], usize)],
                    statistics: &mut Vec<f32>,
                    target: NormTarget<'_, E>| {
            let group_norm_of = GroupNorm {
                sources,
                images,
                size,
                groups: batch.groups,
                epsilon: norm.epsilon,
                weight: &norm.weight,
                bias: &norm.bias,
                silu: true,
            };
            group_norm(team, batch.isa, &group_norm_of, statistics, target);
        };
        let positions = images * size.positions();
        let raw = if self.has_shortcut {
            scratch.raw.rows(positions, from)
        } else {
            &mut []
        };
        let padded = scratch.padded.rows(positions, from);
        norm(
            &self.norm1,
            sources,
            &mut scratch.statistics,
            NormTarget::Padded(padded, raw),
        );
        let hidden = scratch.hidden.rows(images * area, to);
        let finish = Finish::<f32> {
            bias: &batch.time_biases[self.time_offset..],
            bias_image_stride: batch.time_stride,
            residual: Residual::None,
            activation: Activation::None,
        };
        self.conv1
            .run(team, padded, &[], images, size, finish, hidden, Layout::List);
        let padded = scratch.padded.rows(positions, to);
        norm(
            &self.norm2,
            &[(hidden, to)],
            &mut scratch.statistics,
            NormTarget::Padded(padded, &mut []),
        );
        let residual = match sources {
            [(source, _)] if !self.has_shortcut => Residual::From(source),
            _ => Residual::None,
        };
        let finish = Finish {
            bias: &self.conv2.bias,
            bias_image_stride: 0,
            residual,
            activation: Activation::None,
        };
        let shortcut: &[E] = if self.has_shortcut { scratch.raw.get() } else { &[] };
        self.conv2.run(
            team,
            padded,
            shortcut,
            images,
            size,
            finish,
            out.rows(images * area, to),
            Layout::List,
        );
    }
}

impl<E: Element> Transformer<E> {
    pub(super) fn load(
        loader: &Loader<'_>,
        channels: usize,
        heads: usize,
        depth: usize,
        cross: &mut CrossAttentions,
    ) -> Result<Self> {
        let blocks = loader.at("transformer_blocks");
        let blocks = (0..depth)
            .map(|index| TransformerBlock::load(&blocks.at(index), channels, heads, cross))
            .collect::<Result<_>>()?;
        Ok(Self {
            norm: Norm::load(&loader.at("norm"), channels, 1e-6)?,
            proj_in: Linear::load(&loader.at("proj_in"), channels, channels)?,
            blocks,
            proj_out: Linear::load(&loader.at("proj_out"), channels, channels)?,
            heads,
        })
    }

    /// Changes the pictures in place.
    pub(super) fn run(
        &self,
        team: Team<'_>,
        batch: &Batch<'_>,
        size: Padded,
        pictures: &mut Buffer<f32>,
        scratch: &mut Scratch<E>,
    ) {
        let images = batch.rows.len();
        let channels = self.proj_in.weights.channels;
        let area = size.height * size.width;
        let count = images * area;
        let pictures = pictures.rows(count, channels);
        let norm = GroupNorm {
            sources: &[(&*pictures, channels)],
            images,
            size,
            groups: batch.groups,
            epsilon: self.norm.epsilon,
            weight: &self.norm.weight,
            bias: &self.norm.bias,
            silu: false,
        };
        let rows = scratch.rows.rows(count, channels);
        group_norm(
            team,
            batch.isa,
            &norm,
            &mut scratch.statistics,
            NormTarget::List(rows),
        );
        let tokens = scratch.tokens.rows(count, channels);
        self.proj_in
            .run(team, rows, count, Residual::<f32>::None, Activation::None, tokens);
        for (index, block) in self.blocks.iter().enumerate() {
            let is_last = index + 1 == self.blocks.len();
            block.run(team, batch, self.heads, area, is_last, scratch);
        }
        let rows = scratch.rows.get();
        self.proj_out.run(
            team,
            rows,
            count,
            Residual::<f32>::Target,
            Activation::None,
            pictures,
        );
    }
}

impl<E: Element> TransformerBlock<E> {
    fn load(loader: &Loader<'_>, channels: usize, heads: usize, cross: &mut CrossAttentions) -> Result<Self> {
        let width = channels / heads;
        let scale = 1.0 / (width as f32).sqrt();
        let (own, other) = (loader.at("attn1"), loader.at("attn2"));
        let norm = |name: &str| Norm::load(&loader.at(name), channels, 1e-5);
        let index = cross.linears.len();
        cross.heads.push(Heads {
            count: heads,
            width,
            keys: 0,
        });
        let context = cross.context_width;
        cross.linears.push(Linear::stacked(
            &[other.at("to_k"), other.at("to_v")],
            channels,
            context,
            1.0,
        )?);
        let inner = 4 * channels;
        Ok(Self {
            norm1: norm("norm1")?,
            qkv: Linear::stacked(
                &[own.at("to_q"), own.at("to_k"), own.at("to_v")],
                channels,
                channels,
                scale,
            )?,
            self_out: Linear::load(&own.at("to_out.0"), channels, channels)?,
            norm2: norm("norm2")?,
            cross_query: Linear::stacked(&[other.at("to_q")], channels, channels, scale)?,
            cross: index,
            cross_out: Linear::load(&other.at("to_out.0"), channels, channels)?,
            norm3: norm("norm3")?,
            gate: Linear::load_gated(&loader.at("ff.net.0.proj"), inner, channels)?,
            feed_out: Linear::load(&loader.at("ff.net.2"), channels, inner)?,
        })
    }

    /// Changes `scratch.tokens`; the last block leaves them, rounded for the next product, in `scratch.rows`.
    fn run(
        &self,
        team: Team<'_>,
        batch: &Batch<'_>,
        heads: usize,
        area: usize,
        is_last: bool,
        scratch: &mut Scratch<E>,
    ) {
        let images = batch.rows.len();
        let channels = self.self_out.weights.channels;
        let count = images * area;
        let isa = batch.isa;
        let tokens = scratch.tokens.rows(count, channels);
        let rows = scratch.rows.rows(count, channels);
        let attended = scratch.attended.rows(count, channels);
        let norm = |norm: &Norm, tokens: &[f32], rows: &mut [E]| {
            let tokens = &tokens[..count * channels];
            layer_norm(team, isa, tokens, &norm.weight, &norm.bias, norm.epsilon, rows);
        };
        let none = Residual::<f32>::None;

        norm(&self.norm1, tokens, rows);
        let qkv = scratch.wide.rows(count, 3 * channels);
        self.qkv.run(team, rows, count, none, Activation::None, qkv);
        let own = Heads {
            count: heads,
            width: channels / heads,
            keys: area,
        };
        let packed = scratch.packed.rows(images, own.packed_len::<E>(isa));
        attend_to_self(team, isa, own, Sight::All, images, qkv, packed, attended);
        self.self_out.run(
            team,
            attended,
            count,
            Residual::<f32>::Target,
            Activation::None,
            tokens,
        );

        norm(&self.norm2, tokens, rows);
        let queries = scratch.wide.rows(count, channels);
        self.cross_query
            .run(team, rows, count, none, Activation::None, queries);
        // Prompts may differ in their number of tokens, so each row of the batch attends on its own.
        for (image, row) in batch.rows.iter().enumerate() {
            let prompt = prompt_of::<E>(row);
            let other = Heads {
                count: heads,
                width: channels / heads,
                keys: prompt.tokens,
            };
            let packed = prompt.layers[self.cross].as_slice();
            let queries = &queries[image * area * channels..];
            let attended = &mut attended[image * area * channels..];
            attend(
                team,
                isa,
                other,
                Sight::All,
                1,
                area,
                queries,
                channels,
                |_| packed,
                attended,
            );
        }
        self.cross_out.run(
            team,
            attended,
            count,
            Residual::<f32>::Target,
            Activation::None,
            tokens,
        );

        norm(&self.norm3, tokens, rows);
        let inner = scratch.wide.rows(count, 4 * channels);
        self.gate.run(team, rows, count, none, Activation::None, inner);
        if is_last {
            self.feed_out.run(
                team,
                inner,
                count,
                Residual::From(&*tokens),
                Activation::None,
                rows,
            );
        } else {
            self.feed_out.run(
                team,
                inner,
                count,
                Residual::<f32>::Target,
                Activation::None,
                tokens,
            );
        }
    }
}
