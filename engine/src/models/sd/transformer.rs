//! The attention of a UNet: picture cells look at each other and at the prompt.

use candle_core::{Module as _, Result, Tensor};
use candle_nn::{Linear, VarBuilder};

use crate::{
    models::config::UNetConfig,
    nn::{
        After, AttentionMask, Conv, GroupNorm, LayerNorm, Trace, apply, attend, cells_of_picture, conv,
        group_norm, layer_norm, linear, linear_onto, picture_of_cells, product,
    },
    ops::cuda,
};

/// Keys and values of a prompt for one attention layer: `[n, channels]` each, or `[b, n, channels]` for a batch.
#[derive(Clone, Debug)]
pub(crate) struct KeysAndValues {
    pub(crate) keys: Tensor,
    pub(crate) values: Tensor,
}

/// One attention over a picture's cells, towards themselves or towards a prompt.
#[derive(Debug)]
struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
    upcast: bool,
}

impl Attention {
    fn new(
        channels: usize,
        context_width: usize,
        heads: usize,
        upcast: bool,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        Ok(Self {
            to_q: linear(channels, channels, false, vb.pp("to_q"))?,
            to_k: linear(context_width, channels, false, vb.pp("to_k"))?,
            to_v: linear(context_width, channels, false, vb.pp("to_v"))?,
            to_out: linear(channels, channels, true, vb.pp("to_out.0"))?,
            heads,
            upcast,
        })
    }

    fn keys_and_values(&self, context: &Tensor) -> Result<KeysAndValues> {
        Ok(KeysAndValues {
            keys: apply(&self.to_k, context)?,
            values: apply(&self.to_v, context)?,
        })
    }

    fn forward(&self, x: &Tensor, context: &KeysAndValues) -> Result<Tensor> {
        let q = apply(&self.to_q, x)?;
        let KeysAndValues { keys, values } = context;
        attend(&q, keys, values, self.heads, AttentionMask::None, self.upcast)
    }

    /// What was seen, added to `x`; a trace keeps what is added.
    fn onto(&self, x: &Tensor, seen: &Tensor, name: &str, trace: &Trace) -> Result<Tensor> {
        onto(&self.to_out, x, seen, name, trace)
    }
}

/// `x` and a matrix applied to `inner`; a trace keeps what is added.
fn onto(matrix: &Linear, x: &Tensor, inner: &Tensor, name: &str, trace: &Trace) -> Result<Tensor> {
    if trace.is_on() {
        trace.keep(
            format_args!("first_transformer_block.{name}"),
            &matrix.forward(inner)?,
        );
    }
    linear_onto(matrix, inner, x)
}

/// The gated inner network of a transformer block.
#[derive(Debug)]
struct FeedForward {
    gate: Linear,
    out: Linear,
}

impl FeedForward {
    fn new(channels: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        let inner = channels * 4;
        Ok(Self {
            gate: linear(channels, inner * 2, true, vb.pp("net.0.proj"))?,
            out: linear(inner, channels, true, vb.pp("net.2"))?,
        })
    }

    /// The gated channels, before the last matrix.
    fn gated(&self, x: &Tensor) -> Result<Tensor> {
        if cuda::are_used_on(x.device()) {
            return cuda::geglu(&product(&self.gate, x)?, self.gate.bias());
        }
        let halves = apply(&self.gate, x)?.chunk(2, 2)?;
        &halves[0] * halves[1].contiguous()?.gelu_erf()?
    }
}

#[derive(Debug)]
struct TransformerBlock {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    feed_forward: FeedForward,
}

impl TransformerBlock {
    fn new(channels: usize, heads: usize, config: &UNetConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let norm = |name| layer_norm(channels, 1e-5, &vb.pp(name));
        let upcast = config.upcast_attention;
        Ok(Self {
            norm1: norm("norm1")?,
            attn1: Attention::new(channels, channels, heads, upcast, &vb.pp("attn1"))?,
            norm2: norm("norm2")?,
            attn2: Attention::new(channels, config.context_width, heads, upcast, &vb.pp("attn2"))?,
            norm3: norm("norm3")?,
            feed_forward: FeedForward::new(channels, &vb.pp("ff"))?,
        })
    }

    fn forward(&self, x: &Tensor, prompt: &KeysAndValues, trace: &Trace) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        let context = self.attn1.keys_and_values(&normed)?;
        let to_itself = self.attn1.forward(&normed, &context)?;
        let x = self.attn1.onto(x, &to_itself, "attn1", trace)?;

        let to_prompt = self.attn2.forward(&self.norm2.forward(&x)?, prompt)?;
        let x = self.attn2.onto(&x, &to_prompt, "attn2", trace)?;

        let gated = self.feed_forward.gated(&self.norm3.forward(&x)?)?;
        let x = onto(&self.feed_forward.out, &x, &gated, "ff", trace)?;
        trace.keep(format_args!("first_transformer_block"), &x);
        Ok(x)
    }
}

/// How a picture enters and leaves a transformer.
#[derive(Debug)]
enum Projection {
    Matrices { into: Linear, out: Linear },
    Convolutions { into: Conv, out: Conv },
}

/// Transformer blocks over the cells of a picture, beside a shortcut.
#[derive(Debug)]
pub(crate) struct Transformer {
    norm: GroupNorm,
    projection: Projection,
    blocks: Vec<TransformerBlock>,
}

impl Transformer {
    pub(crate) fn new(
        channels: usize,
        heads: usize,
        depth: usize,
        config: &UNetConfig,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let projection = if config.linear_projection {
            Projection::Matrices {
                into: linear(channels, channels, true, vb.pp("proj_in"))?,
                out: linear(channels, channels, true, vb.pp("proj_out"))?,
            }
        } else {
            Projection::Convolutions {
                into: conv(channels, channels, 1, &vb.pp("proj_in"))?,
                out: conv(channels, channels, 1, &vb.pp("proj_out"))?,
            }
        };
        let block = |index: usize| {
            let vb = vb.pp("transformer_blocks").pp(index);
            TransformerBlock::new(channels, heads, config, &vb)
        };
        Ok(Self {
            norm: group_norm(config.norm_groups, channels, 1e-6, &vb.pp("norm"))?,
            projection,
            blocks: (0..depth).map(block).collect::<Result<_>>()?,
        })
    }

    /// Number of cross-attention layers.
    pub(crate) fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// Adds a prompt's keys and values, one per layer.
    ///
    /// # Shapes
    /// - `context`: `[n, d]`
    pub(crate) fn prepare(&self, context: &Tensor, into: &mut Vec<KeysAndValues>) -> Result<()> {
        for block in &self.blocks {
            into.push(block.attn2.keys_and_values(context)?);
        }
        Ok(())
    }

    /// # Shapes
    /// - `x`: `[b, c, h, w]`
    /// - `prompts`: one per layer, `[b, n, c]`
    /// - returns `[b, c, h, w]`
    pub(crate) fn forward(&self, x: &Tensor, prompts: &[KeysAndValues], trace: &Trace) -> Result<Tensor> {
        let (.., h, w) = x.dims4()?;
        let normed = self.norm.forward(x)?;
        let mut cells = match &self.projection {
            Projection::Matrices { into, .. } => apply(into, &cells_of_picture(&normed)?)?,
            Projection::Convolutions { into, .. } => cells_of_picture(&into.forward(&normed)?)?,
        };
        for (block, prompt) in self.blocks.iter().zip(prompts) {
            cells = block.forward(&cells, prompt, trace)?;
        }
        match &self.projection {
            Projection::Matrices { out, .. } => {
                let beside = cells_of_picture(x)?;
                picture_of_cells(&linear_onto(out, &cells, &beside)?, (h, w))
            }
            Projection::Convolutions { out, .. } => {
                let beside = After {
                    residual: Some(x),
                    ..After::default()
                };
                out.run(&picture_of_cells(&cells, (h, w))?, beside)
            }
        }
    }
}
