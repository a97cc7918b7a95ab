//! What the configuration files of a model say, checked: shapes of the networks, and of the noise schedule.
//!
//! The `…Json` types mirror the files with their defaults; the others cannot be contradictory once they exist.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::error::json_reason;

/// Longest list and largest number that a configuration may hold; beyond them it is damaged.
pub(crate) const MAX_LEVELS: usize = 8;
const MAX_SIDE: usize = 1 << 17;

/// What is wrong with a configuration, in words.
pub type Result<T> = std::result::Result<T, String>;

/// Nonlinearities that published models use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * sigmoid(x)`.
    #[default]
    #[serde(alias = "swish")]
    Silu,
    /// `x * Phi(x)`, exact.
    Gelu,
    /// `x * sigmoid(1.702 x)`.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
}

/// Reads an object; a list would pass as an object whose fields all have their defaults.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let fields: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| json_reason(&error))?;
    T::deserialize(Value::Object(fields)).map_err(|error| error.to_string())
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrList<T> {
    // Tried first: a list of lists must not be taken for one value that is a list.
    List(Vec<T>),
    One(T),
}

impl<T: Clone> OneOrList<T> {
    /// One value per level.
    fn spread(&self, name: &str, levels: usize) -> Result<Vec<T>> {
        match self {
            Self::One(value) => Ok(vec![value.clone(); levels]),
            Self::List(values) if values.len() == levels => Ok(values.clone()),
            Self::List(values) => Err(format!(
                "{name} lists {} values where there are {levels} blocks",
                values.len()
            )),
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct UNetJson {
    in_channels: usize,
    out_channels: usize,
    sample_size: Option<OneOrList<u32>>,
    block_out_channels: Vec<usize>,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    mid_block_type: Option<String>,
    layers_per_block: OneOrList<usize>,
    transformer_layers_per_block: OneOrList<OneOrList<usize>>,
    reverse_transformer_layers_per_block: Option<Vec<OneOrList<usize>>>,
    attention_head_dim: OneOrList<usize>,
    num_attention_heads: Option<OneOrList<usize>>,
    cross_attention_dim: OneOrList<usize>,
    norm_num_groups: usize,
    norm_eps: f64,
    act_fn: Activation,
    use_linear_projection: bool,
    upcast_attention: bool,
    flip_sin_to_cos: bool,
    freq_shift: f64,
    downsample_padding: usize,
    conv_in_kernel: usize,
    conv_out_kernel: usize,
    time_embedding_dim: Option<usize>,
    time_cond_proj_dim: Option<usize>,
    addition_embed_type: Option<String>,
    addition_time_embed_dim: Option<usize>,
    projection_class_embeddings_input_dim: Option<usize>,
    // Variants that no published region-painting model uses; they are named in a clear refusal.
    class_embed_type: Option<String>,
    num_class_embeds: Option<usize>,
    encoder_hid_dim_type: Option<String>,
    resnet_time_scale_shift: Option<String>,
    time_embedding_type: Option<String>,
    timestep_post_act: Option<String>,
    attention_type: Option<String>,
    dual_cross_attention: bool,
    only_cross_attention: OneOrList<bool>,
    center_input_sample: bool,
}

impl Default for UNetJson {
    fn default() -> Self {
        let names = |list: [&str; 4]| list.map(str::to_owned).to_vec();
        Self {
            in_channels: 4,
            out_channels: 4,
            sample_size: None,
            block_out_channels: vec![320, 640, 1280, 1280],
            down_block_types: names([
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
                "DownBlock2D",
            ]),
            up_block_types: names([
                "UpBlock2D",
                "CrossAttnUpBlock2D",
                "CrossAttnUpBlock2D",
                "CrossAttnUpBlock2D",
            ]),
            mid_block_type: Some("UNetMidBlock2DCrossAttn".to_owned()),
            layers_per_block: OneOrList::One(2),
            transformer_layers_per_block: OneOrList::One(OneOrList::One(1)),
            reverse_transformer_layers_per_block: None,
            attention_head_dim: OneOrList::One(8),
            num_attention_heads: None,
            cross_attention_dim: OneOrList::One(1280),
            norm_num_groups: 32,
            norm_eps: 1e-5,
            act_fn: Activation::Silu,
            use_linear_projection: false,
            upcast_attention: false,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            downsample_padding: 1,
            conv_in_kernel: 3,
            conv_out_kernel: 3,
            time_embedding_dim: None,
            time_cond_proj_dim: None,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            projection_class_embeddings_input_dim: None,
            class_embed_type: None,
            num_class_embeds: None,
            encoder_hid_dim_type: None,
            resnet_time_scale_shift: None,
            time_embedding_type: None,
            timestep_post_act: None,
            attention_type: None,
            dual_cross_attention: false,
            only_cross_attention: OneOrList::One(false),
            center_input_sample: false,
        }
    }
}

/// The cross-attention of one resolution of a UNet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionConfig {
    /// Attention heads.
    pub heads: usize,
    /// Transformer blocks in each layer's attention.
    pub depths: Vec<usize>,
}

/// One resolution of a UNet, on its way down or up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelConfig {
    /// Channels that come out.
    pub channels: usize,
    /// Residual blocks.
    pub layers: usize,
    /// Cross-attention after each residual block, if any.
    pub attention: Option<AttentionConfig>,
}

/// How prompts enter a UNet besides cross-attention (SDXL).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedConditioningConfig {
    /// Width of the sinusoidal embedding of each of the six time ids.
    pub time_width: usize,
    /// Width of the pooled text embedding.
    pub pooled_width: usize,
}

/// A `UNet2DConditionModel`.
#[derive(Clone, Debug, PartialEq)]
pub struct UNetConfig {
    /// Channels of the latent.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Side in latent cells that the model was trained for.
    pub sample_size: Option<u32>,
    /// From the first (finest) to the last resolution.
    pub down: Vec<LevelConfig>,
    /// The lowest resolution: `None` if there is no block, attention with one depth if it attends.
    pub mid: Option<MidConfig>,
    /// From the coarsest resolution to the finest.
    pub up: Vec<LevelConfig>,
    /// Width of the text embeddings.
    pub context_width: usize,
    /// Groups of all group norms.
    pub norm_groups: usize,
    /// Epsilon of the group norms outside transformers.
    pub norm_eps: f64,
    /// Nonlinearity.
    pub activation: Activation,
    /// Whether transformers project with matrices (else with 1x1 convolutions).
    pub linear_projection: bool,
    /// Whether attention scores need 32 bits.
    pub upcast_attention: bool,
    /// Whether the cosines come first in time embeddings.
    pub cosine_first: bool,
    /// Taken from the number of frequencies of time embeddings.
    pub frequency_shift: f64,
    /// Padding of downsampling convolutions; 0 pads right and bottom only.
    pub downsample_padding: usize,
    /// Side of the first convolution.
    pub in_kernel: usize,
    /// Side of the last convolution.
    pub out_kernel: usize,
    /// Width of the time embedding.
    pub time_width: usize,
    /// Width of the guidance embedding of distilled LCMs.
    pub guidance_width: Option<usize>,
    /// Conditioning of SDXL.
    pub added: Option<AddedConditioningConfig>,
}

/// The lowest resolution of a UNet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MidConfig {
    /// Attention between its two residual blocks: heads and transformer blocks.
    pub attention: Option<(usize, usize)>,
}

impl UNetConfig {
    /// Reads `unet/config.json`.
    ///
    /// # Errors
    /// If it is no JSON, contradicts itself, or describes a variant that is not supported.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let json: UNetJson = parse(bytes)?;
        json.refuse_unknown_variants()?;
        json.check_sizes()?;
        json.into_config()
    }
}

impl UNetJson {
    fn refuse_unknown_variants(&self) -> Result<()> {
        let named = |what: &str, value: &Option<String>, known: &[&str]| match value.as_deref() {
            Some(value) if !known.contains(&value) => Err(format!("{what} {value:?} is not supported")),
            _ => Ok(()),
        };
        named("class_embed_type", &self.class_embed_type, &[])?;
        named("encoder_hid_dim_type", &self.encoder_hid_dim_type, &[])?;
        named("timestep_post_act", &self.timestep_post_act, &[])?;
        named(
            "resnet_time_scale_shift",
            &self.resnet_time_scale_shift,
            &["default"],
        )?;
        named("time_embedding_type", &self.time_embedding_type, &["positional"])?;
        named("attention_type", &self.attention_type, &["default"])?;
        named("addition_embed_type", &self.addition_embed_type, &["text_time"])?;
        named(
            "mid_block_type",
            &self.mid_block_type,
            &["UNetMidBlock2DCrossAttn", "UNetMidBlock2D"],
        )?;
        let only_cross = match &self.only_cross_attention {
            OneOrList::One(value) => *value,
            OneOrList::List(values) => values.contains(&true),
        };
        let refused = [
            ("num_class_embeds", self.num_class_embeds.is_some()),
            ("dual_cross_attention", self.dual_cross_attention),
            ("only_cross_attention", only_cross),
            ("center_input_sample", self.center_input_sample),
        ];
        match refused.iter().find(|(_, is_set)| *is_set) {
            Some((name, _)) => Err(format!("{name} is not supported")),
            None => Ok(()),
        }
    }

    fn check_sizes(&self) -> Result<()> {
        let levels = self.block_out_channels.len();
        if levels == 0 || levels > MAX_LEVELS {
            return Err(format!("{levels} resolutions are not possible"));
        }
        for (what, types) in [
            ("down_block_types", &self.down_block_types),
            ("up_block_types", &self.up_block_types),
        ] {
            if types.len() != levels {
                return Err(format!(
                    "{what} lists {} blocks where block_out_channels lists {levels}",
                    types.len()
                ));
            }
        }
        sides_in_range(&[
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("norm_num_groups", self.norm_num_groups),
            ("conv_in_kernel", self.conv_in_kernel),
            ("conv_out_kernel", self.conv_out_kernel),
        ])?;
        if self.downsample_padding > 1 {
            return Err("downsample_padding must be 0 or 1".to_owned());
        }
        for &channels in &self.block_out_channels {
            sides_in_range(&[("block_out_channels", channels)])?;
            divides("norm_num_groups", self.norm_num_groups, "channels", channels)?;
        }
        Ok(())
    }

    fn added_conditioning(&self) -> Result<AddedConditioningConfig> {
        let time_width = self
            .addition_time_embed_dim
            .ok_or("addition_time_embed_dim is missing")?;
        let width = self
            .projection_class_embeddings_input_dim
            .ok_or("projection_class_embeddings_input_dim is missing")?;
        sides_in_range(&[("addition_time_embed_dim", time_width)])?;
        let pooled_width = width.checked_sub(6 * time_width).filter(|&width| width > 0);
        Ok(AddedConditioningConfig {
            time_width,
            pooled_width: pooled_width
                .ok_or("projection_class_embeddings_input_dim leaves no room for a pooled prompt")?,
        })
    }

    fn into_config(self) -> Result<UNetConfig> {
        let levels = self.block_out_channels.len();
        let heads = self
            .num_attention_heads
            .as_ref()
            .unwrap_or(&self.attention_head_dim)
            .spread("attention_head_dim", levels)?;
        let layers = self.layers_per_block.spread("layers_per_block", levels)?;
        let depths = self
            .transformer_layers_per_block
            .spread("transformer_layers_per_block", levels)?;
        let up_depths = match &self.reverse_transformer_layers_per_block {
            None => depths.iter().rev().cloned().collect(),
            Some(list) => {
                OneOrList::List(list.clone()).spread("reverse_transformer_layers_per_block", levels)?
            }
        };
        let mut down = Vec::new();
        let mut up = Vec::new();
        for level in 0..levels {
            let below = levels - 1 - level;
            down.push(level_config(
                &self.down_block_types[level],
                ["DownBlock2D", "CrossAttnDownBlock2D"],
                self.block_out_channels[level],
                layers[level],
                heads[level],
                &depths[level],
            )?);
            up.push(level_config(
                &self.up_block_types[level],
                ["UpBlock2D", "CrossAttnUpBlock2D"],
                self.block_out_channels[below],
                layers[below].saturating_add(1),
                heads[below],
                &up_depths[level],
            )?);
        }
        let last = levels - 1;
        let mid = match self.mid_block_type.as_deref() {
            None => None,
            Some("UNetMidBlock2DCrossAttn") => {
                let depth = match &depths[last] {
                    OneOrList::One(depth) => *depth,
                    OneOrList::List(list) => *list.first().ok_or("transformer_layers_per_block is empty")?,
                };
                divides(
                    "attention heads",
                    heads[last],
                    "channels",
                    self.block_out_channels[last],
                )?;
                Some(MidConfig {
                    attention: Some((heads[last], depth)),
                })
            }
            Some(_) => Some(MidConfig { attention: None }),
        };
        let context_width = match &self.cross_attention_dim {
            OneOrList::One(width) => *width,
            OneOrList::List(widths) => match widths.first() {
                Some(first) if widths.iter().all(|width| width == first) => *first,
                _ => return Err("cross_attention_dim must be the same in every block".to_owned()),
            },
        };
        sides_in_range(&[("cross_attention_dim", context_width)])?;
        let added = self
            .addition_embed_type
            .is_some()
            .then(|| self.added_conditioning())
            .transpose()?;
        let time_width = self.time_embedding_dim.unwrap_or(self.block_out_channels[0] * 4);
        sides_in_range(&[("time_embedding_dim", time_width)])?;
        if !self.block_out_channels[0].is_multiple_of(2) {
            return Err("the first of block_out_channels must be even".to_owned());
        }
        Ok(UNetConfig {
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            sample_size: self.sample_size.and_then(|size| match size {
                OneOrList::One(side) => Some(side),
                OneOrList::List(sides) => sides.into_iter().max(),
            }),
            down,
            mid,
            up,
            context_width,
            norm_groups: self.norm_num_groups,
            norm_eps: self.norm_eps,
            activation: self.act_fn,
            linear_projection: self.use_linear_projection,
            upcast_attention: self.upcast_attention,
            cosine_first: self.flip_sin_to_cos,
            frequency_shift: self.freq_shift,
            downsample_padding: self.downsample_padding,
            in_kernel: self.conv_in_kernel,
            out_kernel: self.conv_out_kernel,
            time_width,
            guidance_width: self.time_cond_proj_dim,
            added,
        })
    }
}

fn level_config(
    block_type: &str,
    [plain, attending]: [&str; 2],
    channels: usize,
    layers: usize,
    heads: usize,
    depths: &OneOrList<usize>,
) -> Result<LevelConfig> {
    if layers > 64 {
        return Err(format!("{layers} layers in a block are not possible"));
    }
    let attention = if block_type == attending {
        divides("attention heads", heads, "channels", channels)?;
        let depths = depths.spread("transformer_layers_per_block", layers)?;
        if depths.iter().any(|&depth| depth > 256) {
            return Err("more than 256 transformer blocks in a layer are not possible".to_owned());
        }
        Some(AttentionConfig { heads, depths })
    } else if block_type == plain {
        None
    } else {
        return Err(format!("the block type {block_type:?} is not supported"));
    };
    Ok(LevelConfig {
        channels,
        layers,
        attention,
    })
}

fn divides(what: &str, divisor: usize, of: &str, number: usize) -> Result<()> {
    if divisor == 0 || !number.is_multiple_of(divisor) {
        return Err(format!("{divisor} {what} do not divide {number} {of}"));
    }
    Ok(())
}

fn sides_in_range(sides: &[(&str, usize)]) -> Result<()> {
    match sides.iter().find(|(_, side)| *side == 0 || *side > MAX_SIDE) {
        Some((name, side)) => Err(format!("{name} cannot be {side}")),
        None => Ok(()),
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct ClipJson {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    hidden_act: Activation,
    layer_norm_eps: f64,
    projection_dim: usize,
    architectures: Vec<String>,
}

impl Default for ClipJson {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            projection_dim: 512,
            architectures: Vec::new(),
        }
    }
}

/// A CLIP text encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipConfig {
    /// Number of tokens.
    pub vocabulary: usize,
    /// Width of embeddings.
    pub width: usize,
    /// Width of the layers' inner part.
    pub inner_width: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Tokens of a prompt.
    pub positions: usize,
    /// Nonlinearity.
    pub activation: Activation,
    /// Epsilon of the layer norms.
    pub norm_eps: f64,
    /// Width of the projected pooled embedding, where the model has one.
    pub projection_width: Option<usize>,
}

impl ClipConfig {
    /// Reads `text_encoder/config.json`.
    ///
    /// # Errors
    /// If it is no JSON or contradicts itself.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let json: ClipJson = parse(bytes)?;
        sides_in_range(&[
            ("vocab_size", json.vocab_size.div_ceil(8)),
            ("hidden_size", json.hidden_size),
            ("intermediate_size", json.intermediate_size),
            ("max_position_embeddings", json.max_position_embeddings),
            ("projection_dim", json.projection_dim),
        ])?;
        if json.num_hidden_layers == 0 || json.num_hidden_layers > 256 {
            return Err(format!("num_hidden_layers cannot be {}", json.num_hidden_layers));
        }
        divides(
            "attention heads",
            json.num_attention_heads,
            "channels",
            json.hidden_size,
        )?;
        let has_projection = json
            .architectures
            .iter()
            .any(|name| name.ends_with("WithProjection"));
        Ok(Self {
            vocabulary: json.vocab_size,
            width: json.hidden_size,
            inner_width: json.intermediate_size,
            layers: json.num_hidden_layers,
            heads: json.num_attention_heads,
            positions: json.max_position_embeddings,
            activation: json.hidden_act,
            norm_eps: json.layer_norm_eps,
            projection_width: has_projection.then_some(json.projection_dim),
        })
    }
}

/// The autoencoder of a model: one of two kinds.
#[derive(Clone, Debug, PartialEq)]
pub enum CodecConfig {
    /// `AutoencoderTiny` (TAESD).
    Tiny(TinyConfig),
    /// `AutoencoderKL`.
    Kl(KlConfig),
}

impl CodecConfig {
    /// Reads `vae/config.json`.
    ///
    /// # Errors
    /// If it is no JSON, contradicts itself, or is of another kind.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Kind {
            #[serde(rename = "_class_name")]
            class_name: Option<String>,
        }
        let kind: Kind = parse(bytes)?;
        match kind.class_name.as_deref() {
            Some("AutoencoderTiny") => TinyConfig::from_json(bytes).map(Self::Tiny),
            Some("AutoencoderKL") | None => KlConfig::from_json(bytes).map(Self::Kl),
            Some(other) => Err(format!("the autoencoder {other} is not supported")),
        }
    }

    /// Channels of a latent.
    pub fn latent_channels(&self) -> usize {
        match self {
            Self::Tiny(config) => config.latent_channels,
            Self::Kl(config) => config.latent_channels,
        }
    }

    /// Pixels per latent cell on each side.
    pub fn downscale(&self) -> usize {
        match self {
            Self::Tiny(config) => config.downscale(),
            Self::Kl(config) => config.downscale(),
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct TinyJson {
    in_channels: usize,
    out_channels: usize,
    encoder_block_out_channels: Vec<usize>,
    decoder_block_out_channels: Vec<usize>,
    act_fn: Activation,
    upsample_fn: String,
    latent_channels: usize,
    upsampling_scaling_factor: usize,
    num_encoder_blocks: Vec<usize>,
    num_decoder_blocks: Vec<usize>,
    scaling_factor: f64,
    shift_factor: f64,
}

impl Default for TinyJson {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            encoder_block_out_channels: vec![64; 4],
            decoder_block_out_channels: vec![64; 4],
            act_fn: Activation::Relu,
            upsample_fn: "nearest".to_owned(),
            latent_channels: 4,
            upsampling_scaling_factor: 2,
            num_encoder_blocks: vec![1, 3, 3, 3],
            num_decoder_blocks: vec![3, 3, 3, 1],
            scaling_factor: 1.0,
            shift_factor: 0.0,
        }
    }
}

/// One resolution of a tiny autoencoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TinyLevel {
    /// Channels.
    pub channels: usize,
    /// Residual blocks; may be 0.
    pub blocks: usize,
}

/// An `AutoencoderTiny`.
#[derive(Clone, Debug, PartialEq)]
pub struct TinyConfig {
    /// From the picture to the latent.
    pub encoder: Vec<TinyLevel>,
    /// From the latent to the picture.
    pub decoder: Vec<TinyLevel>,
    /// Nonlinearity.
    pub activation: Activation,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// How much larger each upsampling makes the picture.
    pub upsampling: usize,
    /// Latents for the denoiser are the encoder's times this.
    pub scaling_factor: f64,
    /// Taken from the encoder's latents before scaling.
    pub shift_factor: f64,
}

impl TinyConfig {
    /// Reads the configuration of an `AutoencoderTiny`.
    ///
    /// # Errors
    /// If it is no JSON or contradicts itself.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let json: TinyJson = parse(bytes)?;
        if json.in_channels != 3 || json.out_channels != 3 {
            return Err("pictures must have three channels".to_owned());
        }
        if json.upsample_fn != "nearest" || json.upsampling_scaling_factor != 2 {
            return Err("only nearest upsampling by 2 is supported".to_owned());
        }
        sides_in_range(&[("latent_channels", json.latent_channels)])?;
        let config = Self {
            encoder: tiny_levels(&json.encoder_block_out_channels, &json.num_encoder_blocks)?,
            decoder: tiny_levels(&json.decoder_block_out_channels, &json.num_decoder_blocks)?,
            activation: json.act_fn,
            latent_channels: json.latent_channels,
            upsampling: json.upsampling_scaling_factor,
            scaling_factor: nonzero("scaling_factor", json.scaling_factor)?,
            shift_factor: json.shift_factor,
        };
        if config.encoder.len() != config.decoder.len() {
            return Err("encoder and decoder have different numbers of blocks".to_owned());
        }
        Ok(config)
    }

    /// Pixels per latent cell on each side.
    pub fn downscale(&self) -> usize {
        1 << (self.encoder.len() - 1)
    }
}

fn tiny_levels(channels: &[usize], blocks: &[usize]) -> Result<Vec<TinyLevel>> {
    if channels.is_empty() || channels.len() > MAX_LEVELS || channels.len() != blocks.len() {
        return Err(format!(
            "{} channels and {} block counts do not fit each other",
            channels.len(),
            blocks.len()
        ));
    }
    let levels = channels.iter().zip(blocks);
    levels
        .map(|(&channels, &blocks)| {
            sides_in_range(&[("block_out_channels", channels)])?;
            if blocks > 64 {
                return Err(format!("{blocks} blocks at one resolution are not possible"));
            }
            Ok(TinyLevel { channels, blocks })
        })
        .collect()
}

#[derive(Deserialize)]
#[serde(default)]
struct KlJson {
    in_channels: usize,
    out_channels: usize,
    block_out_channels: Vec<usize>,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    layers_per_block: usize,
    act_fn: Activation,
    latent_channels: usize,
    norm_num_groups: usize,
    scaling_factor: f64,
    shift_factor: Option<f64>,
    latents_mean: Option<Vec<f64>>,
    latents_std: Option<Vec<f64>>,
    use_quant_conv: bool,
    use_post_quant_conv: bool,
    mid_block_add_attention: bool,
}

impl Default for KlJson {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            block_out_channels: vec![64],
            down_block_types: Vec::new(),
            up_block_types: Vec::new(),
            layers_per_block: 1,
            act_fn: Activation::Silu,
            latent_channels: 4,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

/// An `AutoencoderKL`.
#[derive(Clone, Debug, PartialEq)]
pub struct KlConfig {
    /// Channels of each resolution, from the picture to the latent.
    pub channels: Vec<usize>,
    /// Residual blocks at each resolution of the encoder; the decoder has one more.
    pub layers: usize,
    /// Nonlinearity.
    pub activation: Activation,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Groups of the group norms.
    pub norm_groups: usize,
    /// Latents for the denoiser are the encoder's times this.
    pub scaling_factor: f64,
    /// Taken from the encoder's latents before scaling.
    pub shift_factor: f64,
    /// Whether a 1x1 convolution follows the encoder.
    pub has_quant: bool,
    /// Whether a 1x1 convolution comes before the decoder.
    pub has_post_quant: bool,
    /// Whether the lowest resolution attends to itself.
    pub has_attention: bool,
}

impl KlConfig {
    fn from_json(bytes: &[u8]) -> Result<Self> {
        let json: KlJson = parse(bytes)?;
        if json.in_channels != 3 || json.out_channels != 3 {
            return Err("pictures must have three channels".to_owned());
        }
        if json.latents_mean.is_some() || json.latents_std.is_some() {
            return Err(
                "each channel of its latents has a mean and a spread of its own (latents_mean, latents_std), \
                 which is not supported"
                    .to_owned(),
            );
        }
        let levels = json.block_out_channels.len();
        if levels == 0 || levels > MAX_LEVELS || json.layers_per_block > 64 {
            return Err(format!("{levels} resolutions are not possible"));
        }
        let types = json.down_block_types.iter().chain(&json.up_block_types);
        for block_type in types {
            if !["DownEncoderBlock2D", "UpDecoderBlock2D"].contains(&block_type.as_str()) {
                return Err(format!("the block type {block_type:?} is not supported"));
            }
        }
        sides_in_range(&[("latent_channels", json.latent_channels)])?;
        for &channels in &json.block_out_channels {
            sides_in_range(&[("block_out_channels", channels)])?;
            divides("norm_num_groups", json.norm_num_groups, "channels", channels)?;
        }
        Ok(Self {
            channels: json.block_out_channels,
            layers: json.layers_per_block,
            activation: json.act_fn,
            latent_channels: json.latent_channels,
            norm_groups: json.norm_num_groups,
            scaling_factor: nonzero("scaling_factor", json.scaling_factor)?,
            shift_factor: json.shift_factor.unwrap_or(0.0),
            has_quant: json.use_quant_conv,
            has_post_quant: json.use_post_quant_conv,
            has_attention: json.mid_block_add_attention,
        })
    }

    /// Pixels per latent cell on each side.
    pub fn downscale(&self) -> usize {
        1 << (self.channels.len() - 1)
    }
}

fn nonzero(name: &str, value: f64) -> Result<f64> {
    if value.is_finite() && value != 0.0 {
        Ok(value)
    } else {
        Err(format!("{name} cannot be {value}"))
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct SchedulerJson {
    #[serde(rename = "_class_name")]
    class_name: String,
    beta_start: f64,
    beta_end: f64,
    beta_schedule: String,
    num_train_timesteps: usize,
    prediction_type: String,
    timestep_spacing: String,
    timestep_type: String,
    trained_betas: Option<Vec<f64>>,
    sigma_data: Option<f64>,
    rescale_betas_zero_snr: bool,
}

impl Default for SchedulerJson {
    fn default() -> Self {
        Self {
            class_name: String::new(),
            beta_start: 0.00085,
            beta_end: 0.012,
            beta_schedule: "scaled_linear".to_owned(),
            num_train_timesteps: 1000,
            prediction_type: "epsilon".to_owned(),
            timestep_spacing: "leading".to_owned(),
            timestep_type: "discrete".to_owned(),
            trained_betas: None,
            sigma_data: None,
            rescale_betas_zero_snr: false,
        }
    }
}

/// The noise schedule a model was trained with, and the sampler its makers name.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerConfig {
    /// First beta.
    pub beta_start: f64,
    /// Last beta.
    pub beta_end: f64,
    /// Training steps.
    pub train_steps: usize,
    /// Whether the model predicts velocity.
    pub predicts_velocity: bool,
    /// Whether it is an LCM scheduler.
    pub is_lcm: bool,
    /// Whether it is an Euler scheduler with trailing timesteps, as Turbo and Lightning models have it.
    pub is_euler_trailing: bool,
}

impl Default for SchedulerConfig {
    /// Stable Diffusion's.
    fn default() -> Self {
        Self {
            beta_start: 0.00085,
            beta_end: 0.012,
            train_steps: 1000,
            predicts_velocity: false,
            is_lcm: false,
            is_euler_trailing: false,
        }
    }
}

impl SchedulerConfig {
    /// Reads `scheduler/scheduler_config.json`.
    ///
    /// # Errors
    /// If it is no JSON, or describes a schedule that is not supported.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let json: SchedulerJson = parse(bytes)?;
        // These have no betas, so that Stable Diffusion's would stand in for what they were trained with.
        let is_continuous = json.sigma_data.is_some() || json.timestep_type == "continuous";
        if is_continuous
            || ["EDM", "FlowMatch"]
                .iter()
                .any(|kind| json.class_name.starts_with(kind))
        {
            return Err(format!(
                "the scheduler {:?} with continuous noise levels (EDM, flow matching) is not supported",
                json.class_name
            ));
        }
        if json.rescale_betas_zero_snr {
            return Err(
                "a noise schedule that ends without any signal (rescale_betas_zero_snr) is not supported"
                    .to_owned(),
            );
        }
        if json.beta_schedule != "scaled_linear" || json.trained_betas.is_some() {
            return Err(format!(
                "the noise schedule {:?} is not supported, only \"scaled_linear\"",
                json.beta_schedule
            ));
        }
        let betas = 0.0 < json.beta_start && json.beta_start <= json.beta_end && json.beta_end < 1.0;
        if !betas || json.num_train_timesteps < 50 || json.num_train_timesteps > 100_000 {
            return Err("its betas or its number of steps are not possible".to_owned());
        }
        let predicts_velocity = match json.prediction_type.as_str() {
            "epsilon" => false,
            "v_prediction" => true,
            other => return Err(format!("the prediction type {other:?} is not supported")),
        };
        Ok(Self {
            beta_start: json.beta_start,
            beta_end: json.beta_end,
            train_steps: json.num_train_timesteps,
            predicts_velocity,
            is_lcm: json.class_name.starts_with("LCM"),
            is_euler_trailing: json.class_name.starts_with("Euler") && json.timestep_spacing == "trailing",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn head_counts_hide_behind_the_name_of_head_widths() {
        let config =
            UNetConfig::from_json(br#"{"attention_head_dim": 8, "cross_attention_dim": 768}"#).unwrap();
        assert_eq!(config.down[0].attention.as_ref().unwrap().heads, 8);
        assert_eq!(config.down[0].attention.as_ref().unwrap().depths, [1, 1]);
        assert_eq!(config.down[3].attention, None);
        assert_eq!(config.up[0].layers, 3);
        assert_eq!(config.context_width, 768);
        assert_eq!(config.time_width, 1280);
    }

    #[test]
    fn transformer_depths_may_differ_per_block_and_per_layer() {
        let config = UNetConfig::from_json(
            br#"{
                "block_out_channels": [320, 640, 1280],
                "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
                "attention_head_dim": [5, 10, 20],
                "transformer_layers_per_block": [0, [2, 2], [4, 4]],
                "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1],
                "mid_block_type": "UNetMidBlock2D"
            }"#,
        )
        .unwrap();
        assert_eq!(config.down[2].attention.as_ref().unwrap().depths, [4, 4]);
        assert_eq!(config.up[0].attention.as_ref().unwrap().depths, [4, 4, 10]);
        assert_eq!(config.up[0].attention.as_ref().unwrap().heads, 20);
        assert_eq!(config.mid, Some(MidConfig { attention: None }));
    }

    #[test]
    fn contradictions_and_unknown_variants_are_refused_by_name() {
        for (json, word) in [
            (r#"{"attention_head_dim": 7}"#, "heads"),
            (r#"{"attention_head_dim": [8, 8]}"#, "attention_head_dim"),
            (r#"{"attention_head_dim": 0}"#, "heads"),
            (r#"{"norm_num_groups": 0}"#, "norm_num_groups"),
            (r#"{"norm_num_groups": 33}"#, "norm_num_groups"),
            (r#"{"block_out_channels": []}"#, "resolutions"),
            (r#"{"block_out_channels": [320]}"#, "down_block_types"),
            (r#"{"class_embed_type": "timestep"}"#, "class_embed_type"),
            (r#"{"addition_embed_type": "image"}"#, "addition_embed_type"),
            (
                r#"{"addition_embed_type": "text_time"}"#,
                "addition_time_embed_dim",
            ),
            (r#"{"layers_per_block": 18446744073709551615}"#, "layers"),
            (r#"{"in_channels": 0}"#, "in_channels"),
            ("[]", ""),
            ("", ""),
        ] {
            let error = UNetConfig::from_json(json.as_bytes()).unwrap_err();
            assert!(error.contains(word), "{json}: {error}");
        }
        for (json, word) in [
            (r#"{"beta_schedule": "linear"}"#, "linear"),
            (r#"{"prediction_type": "sample"}"#, "sample"),
            (r#"{"_class_name": "EDMEulerScheduler"}"#, "EDMEulerScheduler"),
            (
                r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}"#,
                "FlowMatchEulerDiscreteScheduler",
            ),
            (r#"{"sigma_data": 0.5}"#, "EDM"),
            (r#"{"timestep_type": "continuous"}"#, "continuous"),
            (r#"{"rescale_betas_zero_snr": true}"#, "rescale_betas_zero_snr"),
        ] {
            let error = SchedulerConfig::from_json(json.as_bytes()).unwrap_err();
            assert!(error.contains(word), "{json}: {error}");
        }
        let usual = br#"{"_class_name": "EulerDiscreteScheduler", "rescale_betas_zero_snr": false, "sigma_max": null}"#;
        assert!(SchedulerConfig::from_json(usual).is_ok());
        let of_its_own = br#"{"latents_mean": [-1.6, 1.1, 0.8, -0.1], "latents_std": [8.4, 5.8, 5.4, 6.9]}"#;
        assert!(
            CodecConfig::from_json(of_its_own)
                .unwrap_err()
                .contains("latents_mean")
        );
        assert!(CodecConfig::from_json(br#"{"latents_mean": null, "latents_std": null}"#).is_ok());
        assert!(CodecConfig::from_json(br#"{"_class_name": "VQModel"}"#).is_err());
        assert!(ClipConfig::from_json(br#"{"num_attention_heads": 0}"#).is_err());
    }

    #[test]
    fn tiny_autoencoders_may_have_levels_without_blocks() {
        let json = br#"{"_class_name": "AutoencoderTiny", "num_encoder_blocks": [0, 1, 2, 3], "num_decoder_blocks": [4, 3, 1, 0]}"#;
        let CodecConfig::Tiny(config) = CodecConfig::from_json(json).unwrap() else {
            panic!("not tiny");
        };
        assert_eq!(config.encoder[0].blocks, 0);
        assert_eq!(config.decoder[3].blocks, 0);
        assert_eq!(config.downscale(), 8);
    }

    proptest! {
        #[test]
        fn no_configuration_makes_the_parsers_panic(
            fields in prop::collection::vec(
                (
                    prop::sample::select(vec![
                        "block_out_channels", "layers_per_block", "attention_head_dim", "cross_attention_dim",
                        "transformer_layers_per_block", "norm_num_groups", "in_channels", "sample_size",
                        "addition_time_embed_dim", "projection_class_embeddings_input_dim", "time_embedding_dim",
                        "hidden_size", "num_attention_heads", "num_hidden_layers", "latent_channels",
                        "num_decoder_blocks", "decoder_block_out_channels", "scaling_factor", "num_train_timesteps",
                        "beta_start",
                    ]),
                    r"[0-9]{1,20}|-1|null|1e400|\[[0-9]{1,4}(,[0-9]{1,4}){0,4}\]|\[\[1,2\],3\]",
                ),
                0..5,
            ),
            tail in prop::sample::select(vec!["", r#","addition_embed_type":"text_time""#, r#","_class_name":"AutoencoderTiny""#]),
        ) {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let json = format!("{{\"x\":0{}{}{tail}}}", if fields.is_empty() { "" } else { "," }, fields.join(","));
            drop(UNetConfig::from_json(json.as_bytes()));
            drop(ClipConfig::from_json(json.as_bytes()));
            drop(CodecConfig::from_json(json.as_bytes()));
            drop(SchedulerConfig::from_json(json.as_bytes()));
        }
    }
}
