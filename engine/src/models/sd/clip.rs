//! CLIP's text encoders: SD 1.x, SD 2.x (OpenCLIP) and both of SDXL.

use std::sync::Arc;

use candle_core::{Device, Module as _, Result, Tensor};
use candle_nn::{Embedding, LayerNorm, Linear, VarBuilder};

use crate::{
    models::{
        config::{Activation, ClipConfig},
        traits::{Conditioning, TextEncoder},
    },
    nn::{AttentionMask, attend, linear},
    tokenizer::PromptTokenizer,
};

#[derive(Debug)]
struct Layer {
    norm1: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    activation: Activation,
}

impl Layer {
    fn new(config: &ClipConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let width = config.width;
        let norm = |name| candle_nn::layer_norm(width, config.norm_eps, vb.pp(name));
        let attention = |name| linear(width, width, true, vb.pp("self_attn").pp(name));
        Ok(Self {
            norm1: norm("layer_norm1")?,
            q: attention("q_proj")?,
            k: attention("k_proj")?,
            v: attention("v_proj")?,
            out: attention("out_proj")?,
            norm2: norm("layer_norm2")?,
            fc1: linear(width, config.inner_width, true, vb.pp("mlp.fc1"))?,
            fc2: linear(config.inner_width, width, true, vb.pp("mlp.fc2"))?,
            heads: config.heads,
            activation: config.activation,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        let (q, k, v) = (
            self.q.forward(&normed)?,
            self.k.forward(&normed)?,
            self.v.forward(&normed)?,
        );
        let seen = attend(&q, &k, &v, self.heads, AttentionMask::Causal, false)?;
        let x = (x + self.out.forward(&seen)?)?;
        let inner = self
            .activation
            .apply(&self.fc1.forward(&self.norm2.forward(&x)?)?)?;
        x + self.fc2.forward(&inner)?
    }
}

/// Everything that models take from a text encoder.
#[derive(Debug)]
pub struct ClipOutput {
    /// Token and position embeddings, `[b, n, d]`.
    pub embeddings: Tensor,
    /// Output of the last but one layer, not normalised, `[b, n, d]` (SDXL).
    pub penultimate: Tensor,
    /// Output of the last layer, normalised, `[b, n, d]` (SD 1.x and 2.x).
    pub last: Tensor,
    /// `last` at the first end token, `[b, d]`.
    pub pooled: Tensor,
    /// `pooled`, projected, `[b, e]`, where the encoder has a projection.
    pub projected: Option<Tensor>,
}

/// A CLIP text encoder with its tokenizer.
#[derive(Debug)]
pub struct ClipEncoder {
    tokens: Embedding,
    positions: Tensor,
    layers: Vec<Layer>,
    final_norm: LayerNorm,
    projection: Option<Linear>,
    tokenizer: Arc<PromptTokenizer>,
    device: Device,
}

impl ClipEncoder {
    /// Reads the weights.
    ///
    /// # Errors
    /// If a weight is missing or has another shape than the configuration says.
    pub(crate) fn new(
        config: &ClipConfig,
        tokenizer: Arc<PromptTokenizer>,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let embeddings = vb.pp("embeddings");
        let layer = |index: usize| Layer::new(config, &vb.pp("encoder.layers").pp(index));
        let projection = config
            .projection_width
            .map(|width| linear(config.width, width, false, vb.pp("text_projection")))
            .transpose()?;
        Ok(Self {
            tokens: candle_nn::embedding(config.vocabulary, config.width, embeddings.pp("token_embedding"))?,
            positions: embeddings.get((config.positions, config.width), "position_embedding.weight")?,
            layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
            final_norm: candle_nn::layer_norm(config.width, config.norm_eps, vb.pp("final_layer_norm"))?,
            projection,
            tokenizer,
            device: vb.device().clone(),
        })
    }

    /// The tokenizer that goes with the weights.
    pub fn tokenizer(&self) -> &Arc<PromptTokenizer> {
        &self.tokenizer
    }

    /// Encodes one prompt.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn encode_prompt(&self, prompt: &str) -> Result<ClipOutput> {
        self.forward(&[self.tokenizer.encode(prompt)])
    }

    /// Encodes rows of token ids, all of the same length.
    ///
    /// # Errors
    /// If an id is not in the vocabulary, or a tensor operation fails.
    pub fn forward(&self, rows: &[Vec<u32>]) -> Result<ClipOutput> {
        let ids: Vec<Tensor> = rows
            .iter()
            .map(|row| Tensor::new(row.as_slice(), &self.device))
            .collect::<Result<_>>()?;
        let ids = Tensor::stack(&ids, 0)?; // [b, n]
        let length = ids.dim(1)?;
        let positions = self.positions.narrow(0, 0, length)?;
        let embeddings = self.tokens.forward(&ids)?.broadcast_add(&positions)?;
        let mut x = embeddings.clone();
        let mut penultimate = x.clone();
        for layer in &self.layers {
            let next = layer.forward(&x)?;
            penultimate = std::mem::replace(&mut x, next);
        }
        let last = self.final_norm.forward(&x)?;
        let pooled: Vec<Tensor> = rows
            .iter()
            .enumerate()
            .map(|(row, ids)| last.get(row)?.get(self.end_of(ids)))
            .collect::<Result<_>>()?;
        let pooled = Tensor::stack(&pooled, 0)?;
        let projected = self.projection.as_ref();
        Ok(ClipOutput {
            projected: projected.map(|matrix| matrix.forward(&pooled)).transpose()?,
            embeddings,
            penultimate,
            last,
            pooled,
        })
    }

    /// Position of the first end token.
    fn end_of(&self, ids: &[u32]) -> usize {
        let end = self.tokenizer.end_id();
        ids.iter().position(|&id| id == end).unwrap_or(ids.len() - 1)
    }
}

/// The text encoder of models with a single one: SD 1.x, 2.x and pocket.
#[derive(Debug)]
pub struct SingleTextEncoder(pub(crate) ClipEncoder);

impl TextEncoder for SingleTextEncoder {
    fn encode(&self, prompt: &str) -> Result<Conditioning> {
        Ok(Conditioning {
            context: self.0.encode_prompt(prompt)?.last.squeeze(0)?,
            pooled: None,
            time_ids: None,
        })
    }

    fn tokenizer(&self) -> Arc<PromptTokenizer> {
        Arc::clone(self.0.tokenizer())
    }
}

/// The two text encoders of SDXL side by side.
#[derive(Debug)]
pub struct DualTextEncoder {
    pub(crate) first: ClipEncoder,
    pub(crate) second: ClipEncoder,
}

impl TextEncoder for DualTextEncoder {
    /// The sizes of the picture are left out: the caller knows them.
    fn encode(&self, prompt: &str) -> Result<Conditioning> {
        let first = self.first.encode_prompt(prompt)?;
        let second = self.second.encode_prompt(prompt)?;
        let context = Tensor::cat(&[&first.penultimate, &second.penultimate], 2)?;
        Ok(Conditioning {
            context: context.squeeze(0)?,
            pooled: second.projected.map(|pooled| pooled.squeeze(0)).transpose()?,
            time_ids: None,
        })
    }

    fn tokenizer(&self) -> Arc<PromptTokenizer> {
        Arc::clone(self.first.tokenizer())
    }
}
