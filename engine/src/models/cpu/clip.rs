//! CLIP's text encoders: SD 1.x, SD 2.x (OpenCLIP) and both of SDXL.
use std::sync::Arc;

use candle_core::{Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use half::bf16;
use parking_lot::Mutex;

use super::{
    CpuPrecision,
    layers::{Linear, Norm},
    load::Loader,
};
use crate::{
    models::{
        config::ClipConfig,
        traits::{Conditioning, TextEncoder},
    },
    ops::{
        Isa, Team, Workers,
        attention::{Heads, MAX_HEAD, Sight, attend_to_self},
        buffer::Buffer,
        element::Element,
        matmul::{Activation, Residual},
        norm::layer_norm,
        picture::convert_rows,
    },
    tokenizer::PromptTokenizer,
};

/// One text encoder on the processor, with its tokenizer.
pub(crate) struct CpuClip {
    network: Box<dyn Network>,
    tokenizer: Arc<PromptTokenizer>,
    workers: Arc<Workers>,
    width: usize,
}

/// Which results of a text encoder are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Of the last layer, normalised.
    Last,
    /// Of the last but one, as it is; the last one is left out.
    Penultimate,
    /// Both, and the projection of the last.
    Both,
}

/// What became of one prompt; what was not wanted is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Encoded {
    /// `[n, d]`.
    pub(super) penultimate: Vec<f32>,
    /// `[n, d]`.
    pub(super) last: Vec<f32>,
    /// `last` at the first end token, projected where the encoder has a projection.
    pub(super) pooled: Vec<f32>,
}

impl CpuClip {
    /// Whether there is a fast way for this configuration; the plain network does without one.
    pub(crate) fn supports(config: &ClipConfig) -> bool {
        config.width / config.heads <= MAX_HEAD
    }

    /// Loads and packs the weights.
    ///
    /// # Errors
    /// If a weight is missing or has another shape than the configuration says.
    pub(crate) fn load(
        config: &ClipConfig,
        tokenizer: Arc<PromptTokenizer>,
        weights: VarBuilder<'_>,
        precision: CpuPrecision,
        workers: Arc<Workers>,
    ) -> Result<Self> {
        Self::load_for(Isa::best(), config, tokenizer, weights, precision, workers)
    }

    /// As [`Self::load`], for instructions other than the best.
    pub(super) fn load_for(
        isa: Isa,
        config: &ClipConfig,
        tokenizer: Arc<PromptTokenizer>,
        weights: VarBuilder<'_>,
        precision: CpuPrecision,
        workers: Arc<Workers>,
    ) -> Result<Self> {
        let loader = Loader::new(weights, isa);
        let network: Box<dyn Network> = match precision {
            CpuPrecision::F32 => Box::new(Clip::<f32>::load(config, &loader)?),
            CpuPrecision::Bf16 => Box::new(Clip::<bf16>::load(config, &loader)?),
        };
        Ok(Self {
            network,
            tokenizer,
            workers,
            width: config.width,
        })
    }

    /// Encodes token ids.
    ///
    /// # Errors
    /// If there are none or too many, or one is not in the vocabulary.
    pub(super) fn encode(&self, ids: &[u32], wanted: Wanted) -> Result<Encoded> {
        let end = self.tokenizer.end_id();
        let end = ids.iter().position(|&id| id == end);
        let end = end.unwrap_or_else(|| ids.len().saturating_sub(1));
        self.encode_until(ids, end, wanted)
    }

    /// Encodes token ids whose first end token is at `end`.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub(super) fn encode_until(&self, ids: &[u32], end: usize, wanted: Wanted) -> Result<Encoded> {
        self.network.encode(&self.workers, ids, end, wanted)
    }
}

/// The text encoders of a model: one, or two whose results lie side by side (SDXL).
pub(crate) struct CpuTextEncoder {
    pub(crate) first: CpuClip,
    pub(crate) second: Option<CpuClip>,
}

impl TextEncoder for CpuTextEncoder {
    /// The sizes of the picture are left out: the caller knows them.
    fn encode(&self, prompt: &str) -> Result<Conditioning> {
        let ids = |encoder: &CpuClip| encoder.tokenizer.encode(prompt);
        let (first, ids_of_first) = (&self.first, ids(&self.first));
        let count = ids_of_first.len();
        let Some(second) = &self.second else {
            let context = first.encode(&ids_of_first, Wanted::Last)?.last;
            return Ok(Conditioning {
                context: Tensor::from_vec(context, (count, first.width), &Device::Cpu)?,
                pooled: None,
                time_ids: None,
            });
        };
        let left = first.encode(&ids_of_first, Wanted::Penultimate)?.penultimate;
        let ids_of_second = ids(second);
        if ids_of_second.len() != count {
            bail!(
                "the two text encoders take {count} and {} tokens",
                ids_of_second.len()
            );
        }
        let right = second.encode(&ids_of_second, Wanted::Both)?;
        let mut context = Vec::with_capacity(left.len() + right.penultimate.len());
        for (left, right) in left
            .chunks_exact(first.width)
            .zip(right.penultimate.chunks_exact(second.width))
        {
            context.extend_from_slice(left);
            context.extend_from_slice(right);
        }
        let has_projection = second.network.has_projection();
        Ok(Conditioning {
            context: Tensor::from_vec(context, (count, first.width + second.width), &Device::Cpu)?,
            pooled: has_projection
                .then(|| Tensor::new(right.pooled, &Device::Cpu))
                .transpose()?,
            time_ids: None,
        })
    }

    fn tokenizer(&self) -> Arc<PromptTokenizer> {
        Arc::clone(&self.first.tokenizer)
    }
}

/// A [`Clip`] in one number format or the other.
trait Network: Send + Sync {
    fn has_projection(&self) -> bool;
    /// `end` is the place of the first end token.
    fn encode(&self, workers: &Workers, ids: &[u32], end: usize, wanted: Wanted) -> Result<Encoded>;
}

struct Clip<E> {
    isa: Isa,
    /// `[vocabulary, d]`.
    tokens: Vec<f32>,
    /// `[n, d]`.
    positions: Vec<f32>,
    layers: Vec<Layer<E>>,
    heads: usize,
    activation: Activation,
    final_norm: Norm,
    projection: Option<Linear<E>>,
    scratch: Mutex<Scratch<E>>,
}

struct Layer<E> {
    norm1: Norm,
    qkv: Linear<E>,
    out: Linear<E>,
    norm2: Norm,
    inner: Linear<E>,
    outer: Linear<E>,
}

#[derive(Default)]
struct Scratch<E> {
    /// The prompt on its way.
    hidden: Buffer<f32>,
    /// Normalised, for the next product.
    rows: Buffer<E>,
    wide: Buffer<E>,
    packed: Buffer<E>,
    attended: Buffer<E>,
}

impl<E: Element> Layer<E> {
    fn load(config: &ClipConfig, loader: &Loader<'_>) -> Result<Self> {
        let (width, inner) = (config.width, config.inner_width);
        let norm = |name: &str| Norm::load(&loader.at(name), width, config.norm_eps as f32);
        let attention = loader.at("self_attn");
        let scale = 1.0 / ((width / config.heads) as f32).sqrt();
        let qkv = ["q_proj", "k_proj", "v_proj"].map(|name| attention.at(name));
        Ok(Self {
            norm1: norm("layer_norm1")?,
            qkv: Linear::stacked_with_biases(&qkv, width, width, scale)?,
            out: Linear::load(&attention.at("out_proj"), width, width)?,
            norm2: norm("layer_norm2")?,
            inner: Linear::load(&loader.at("mlp.fc1"), inner, width)?,
            outer: Linear::load(&loader.at("mlp.fc2"), width, inner)?,
        })
    }

    /// Changes `scratch.hidden`, `count` rows.
    fn run(
        &self,
        team: Team<'_>,
        isa: Isa,
        heads: usize,
        activation: Activation,
        count: usize,
        scratch: &mut Scratch<E>,
    ) {
        let width = self.out.weights.channels;
        let hidden = scratch.hidden.rows(count, width);
        let rows = scratch.rows.rows(count, width);
        let norm = |norm: &Norm, hidden: &[f32], rows: &mut [E]| {
            let hidden = &hidden[..count * width];
            layer_norm(team, isa, hidden, &norm.weight, &norm.bias, norm.epsilon, rows);
        };
        let none = Residual::<f32>::None;

        norm(&self.norm1, hidden, rows);
        let qkv = scratch.wide.rows(count, 3 * width);
        self.qkv.run(team, rows, count, none, Activation::None, qkv);
        let heads = Heads {
            count: heads,
            width: width / heads,
            keys: count,
        };
        let packed = scratch.packed.rows(1, heads.packed_len::<E>(isa));
        let attended = scratch.attended.rows(count, width);
        attend_to_self(team, isa, heads, Sight::Back, 1, qkv, packed, attended);
        let residual = Residual::<f32>::Target;
        self.out
            .run(team, attended, count, residual, Activation::None, hidden);

        norm(&self.norm2, hidden, rows);
        let inner = scratch.wide.rows(count, self.inner.weights.channels);
        self.inner.run(team, rows, count, none, activation, inner);
        self.outer
            .run(team, inner, count, residual, Activation::None, hidden);
    }
}

impl<E: Element> Clip<E> {
    fn load(config: &ClipConfig, loader: &Loader<'_>) -> Result<Self> {
        if !CpuClip::supports(config) {
            bail!("this configuration of a text encoder has no fast way on the processor");
        }
        let width = config.width;
        let embeddings = loader.at("embeddings");
        let layers = loader.at("encoder.layers");
        let projection = config
            .projection_width
            .map(|to| Linear::stacked(&[loader.at("text_projection")], to, width, 1.0));
        Ok(Self {
            isa: loader.isa,
            tokens: embeddings.tensor((config.vocabulary, width), "token_embedding.weight")?,
            positions: embeddings.tensor((config.positions, width), "position_embedding.weight")?,
            layers: (0..config.layers)
                .map(|index| Layer::load(config, &layers.at(index)))
                .collect::<Result<_>>()?,
            heads: config.heads,
            activation: Activation::from(config.activation),
            final_norm: Norm::load(&loader.at("final_layer_norm"), width, config.norm_eps as f32)?,
            projection: projection.transpose()?,
            scratch: Mutex::default(),
        })
    }
}

impl<E: Element> Network for Clip<E> {
    fn has_projection(&self) -> bool {
        self.projection.is_some()
    }

    fn encode(&self, workers: &Workers, ids: &[u32], end: usize, wanted: Wanted) -> Result<Encoded> {
        let width = self.final_norm.weight.len();
        let count = ids.len();
        if count == 0 || count * width > self.positions.len() {
            bail!(
                "{count} tokens for a text encoder of {}",
                self.positions.len() / width
            );
        }
        let team = Team::Full(workers);
        let scratch = &mut *self.scratch.lock();
        let hidden = scratch.hidden.rows(count, width);
        for ((&id, position), hidden) in ids
            .iter()
            .zip(self.positions.chunks_exact(width))
            .zip(hidden.chunks_exact_mut(width))
        {
            let Some(token) = self.tokens.chunks_exact(width).nth(id as usize) else {
                bail!("the token {id} is not in the vocabulary");
            };
            for ((hidden, token), position) in hidden.iter_mut().zip(token).zip(position) {
                *hidden = token + position;
            }
        }
        let mut encoded = Encoded::default();
        for (index, layer) in self.layers.iter().enumerate() {
            if index + 1 == self.layers.len() && wanted != Wanted::Last {
                encoded.penultimate = scratch.hidden.get()[..count * width].to_vec();
                if wanted == Wanted::Penultimate {
                    return Ok(encoded);
                }
            }
            layer.run(team, self.isa, self.heads, self.activation, count, scratch);
        }
        let Norm {
            weight,
            bias,
            epsilon,
        } = &self.final_norm;
        let hidden = &scratch.hidden.get()[..count * width];
        encoded.last = vec![0.0; count * width];
        layer_norm(team, self.isa, hidden, weight, bias, *epsilon, &mut encoded.last);
        let pooled = &encoded.last[end * width..][..width];
        encoded.pooled = match &self.projection {
            None => pooled.to_vec(),
            Some(projection) => {
                let row = scratch.rows.rows(1, width);
                convert_rows(self.isa, pooled, row);
                let mut projected = vec![0.0; projection.weights.channels];
                let none = Residual::<f32>::None;
                projection.run(team, row, 1, none, Activation::None, &mut projected);
                projected
            }
        };
        Ok(encoded)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::{
        models::{
            config::Activation,
            sd::clip::{ClipEncoder, DualTextEncoder, SingleTextEncoder},
        },
        weights::{LoadProgress, LoadWatch, random_weights},
    };

    /// Encoders of every kind that models have, small.
    fn config(activation: Activation, has_projection: bool) -> ClipConfig {
        ClipConfig {
            vocabulary: 49_408,
            width: 72,
            inner_width: 200,
            layers: 3,
            heads: 6,
            positions: 77,
            activation,
            norm_eps: 1e-5,
            projection_width: has_projection.then_some(40),
        }
    }

    fn tokenizer(padding: Option<&str>) -> Arc<PromptTokenizer> {
        let merges = include_str!("../../../../assets/clip/merges.txt");
        Arc::new(PromptTokenizer::clip(merges, padding, 77).unwrap())
    }

    fn largest_difference(ours: &Tensor, theirs: &Tensor) -> f32 {
        assert_eq!(ours.dims(), theirs.dims());
        let difference = (ours - theirs).unwrap().abs().unwrap();
        difference.max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn every_kind_of_text_encoder_agrees_with_the_plain_network() {
        let ignore = |_: LoadProgress<'_>| {};
        let cancel = false.into();
        let watch = LoadWatch::new(&ignore, &cancel);
        let weights = || random_weights("text encoder", DType::F32, &Device::Cpu, &watch);
        let clip = (config(Activation::QuickGelu, false), tokenizer(None));
        let open_clip = (config(Activation::Gelu, false), tokenizer(Some("!")));
        let projected = (config(Activation::Gelu, true), tokenizer(Some("!")));
        type Kind = (ClipConfig, Arc<PromptTokenizer>);
        let plain =
            |(config, tokenizer): &Kind| ClipEncoder::new(config, Arc::clone(tokenizer), &weights()).unwrap();
        let plain_encoders: [Box<dyn TextEncoder>; 3] = [
            Box::new(SingleTextEncoder(plain(&clip))),
            Box::new(SingleTextEncoder(plain(&open_clip))),
            Box::new(DualTextEncoder {
                first: plain(&clip),
                second: plain(&projected),
            }),
        ];
        for isa in Isa::available() {
            // Values reach 4; in bf16 every product rounds to eight bits.
            for (precision, allowed) in [(CpuPrecision::F32, 1e-4), (CpuPrecision::Bf16, 0.12)] {
                let fast = |(config, tokenizer): &Kind| {
                    let workers = Arc::new(Workers::new(2));
                    let tokenizer = Arc::clone(tokenizer);
                    CpuClip::load_for(isa, config, tokenizer, weights(), precision, workers).unwrap()
                };
                let single = |kind| CpuTextEncoder {
                    first: fast(kind),
                    second: None,
                };
                let both = CpuTextEncoder {
                    first: fast(&clip),
                    second: Some(fast(&projected)),
                };
                let fast_encoders = [single(&clip), single(&open_clip), both];
                for (plain, fast) in plain_encoders.iter().zip(&fast_encoders) {
                    for prompt in ["", "a cat on a red mat", &"long ".repeat(300)] {
                        let (theirs, ours) = (plain.encode(prompt).unwrap(), fast.encode(prompt).unwrap());
                        let difference = largest_difference(&ours.context, &theirs.context);
                        assert!(difference < allowed, "{isa:?} {precision:?}: {difference}");
                        assert_eq!(ours.pooled.is_some(), theirs.pooled.is_some());
                        if let (Some(ours), Some(theirs)) = (&ours.pooled, &theirs.pooled) {
                            let difference = largest_difference(ours, theirs);
                            assert!(difference < allowed, "{isa:?} {precision:?} pooled: {difference}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn tokens_that_do_not_exist_and_too_many_are_refused() {
        let ignore = |_: LoadProgress<'_>| {};
        let cancel = false.into();
        let watch = LoadWatch::new(&ignore, &cancel);
        let weights = random_weights("text encoder", DType::F32, &Device::Cpu, &watch);
        let config = config(Activation::Gelu, false);
        let workers = Arc::new(Workers::new(1));
        let clip = CpuClip::load(&config, tokenizer(None), weights, CpuPrecision::F32, workers).unwrap();
        assert!(clip.encode(&[49_408], Wanted::Last).is_err());
        assert!(clip.encode(&[], Wanted::Last).is_err());
        assert!(clip.encode(&[1; 78], Wanted::Last).is_err());
        assert!(clip.encode(&[49_407; 77], Wanted::Last).is_ok());
    }
}
