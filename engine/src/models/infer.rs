//! Configurations read off the weights themselves, for checkpoints that come without configuration files.

use super::config::{
    Activation, AddedConditioningConfig, AttentionConfig, ClipConfig, KlConfig, LevelConfig, MidConfig,
    Result, UNetConfig,
};
use crate::weights::{Family, Weights};

/// Channels per attention head from SD 2.x on.
const HEAD_WIDTH: usize = 64;
/// Width of the sinusoids of SDXL's time ids.
const TIME_ID_WIDTH: usize = 256;

/// Looks up shapes by name.
struct Shapes<'a>(&'a Weights);

impl Shapes<'_> {
    /// One side of a weight.
    fn side(&self, name: &str, index: usize) -> Result<usize> {
        let shape = self
            .0
            .shape(name)
            .ok_or_else(|| format!("the weight {name:?} is missing"))?;
        let side = shape.get(index).copied().filter(|&side| side > 0);
        side.ok_or_else(|| format!("the weight {name:?} has the impossible shape {shape:?}"))
    }

    /// How many numbered parts there are: `prefix.0.suffix`, `prefix.1.suffix` and so on.
    fn count(&self, prefix: &str, suffix: &str) -> usize {
        (0..256)
            .take_while(|index| self.0.contains(&format!("{prefix}.{index}.{suffix}")))
            .count()
    }
}

/// Latent cells on a side that a family's models were trained for.
fn native_cells(family: Family, predicts_velocity: bool) -> u32 {
    match family {
        Family::Xl => 128,
        // SD 2.x predicts velocity in its models of 768 pixels, noise in those of 512.
        Family::Sd2 if predicts_velocity => 96,
        Family::Sd1 | Family::Sd2 => 64,
    }
}

/// The UNet of a checkpoint.
///
/// # Errors
/// If the weights are not those of a UNet of this family.
pub(super) fn unet(weights: &Weights, family: Family, predicts_velocity: bool) -> Result<UNetConfig> {
    let shapes = Shapes(weights);
    let heads = |channels: usize| match family {
        Family::Sd1 => 8,
        Family::Sd2 | Family::Xl => (channels / HEAD_WIDTH).max(1),
    };
    let levels = |side: &str| -> Result<Vec<LevelConfig>> {
        let count = shapes.count(side, "resnets.0.conv1.weight");
        (0..count)
            .map(|level| level_config(&shapes, &format!("{side}.{level}"), heads))
            .collect()
    };
    let down = levels("down_blocks")?;
    let up = levels("up_blocks")?;
    let first = down.first().ok_or("the denoiser has no blocks")?.channels;
    if up.len() != down.len() || up.len() > 8 {
        return Err(format!(
            "{} resolutions down and {} up do not fit each other",
            down.len(),
            up.len()
        ));
    }
    let last = down[down.len() - 1].channels;
    let mid = (shapes.count("mid_block.resnets", "conv1.weight") > 0).then(|| {
        let depth = shapes.count("mid_block.attentions.0.transformer_blocks", "norm1.weight");
        MidConfig {
            attention: (depth > 0).then(|| (heads(last), depth)),
        }
    });
    let context = weights.names().find(|name| name.ends_with("attn2.to_k.weight"));
    let context = context.ok_or("the denoiser does not look at prompts")?.to_owned();
    let projection = weights.names().find(|name| name.ends_with("proj_in.weight"));
    let linear_projection = projection
        .and_then(|name| weights.shape(name))
        .is_some_and(|shape| shape.len() == 2);
    let added = match shapes.side("add_embedding.linear_1.weight", 1) {
        Err(_missing) => None,
        Ok(width) => Some(AddedConditioningConfig {
            time_width: TIME_ID_WIDTH,
            pooled_width: width
                .checked_sub(6 * TIME_ID_WIDTH)
                .filter(|&width| width > 0)
                .ok_or("its conditioning on sizes is of an unknown kind")?,
        }),
    };
    let channels = down.iter().map(|level| level.channels);
    Ok(UNetConfig {
        in_channels: shapes.side("conv_in.weight", 1)?,
        out_channels: shapes.side("conv_out.weight", 0)?,
        sample_size: Some(native_cells(family, predicts_velocity)),
        norm_groups: channels.fold(32, greatest_common_divisor),
        context_width: shapes.side(&context, 1)?,
        norm_eps: 1e-5,
        activation: Activation::Silu,
        linear_projection,
        upcast_attention: family == Family::Sd2,
        cosine_first: true,
        frequency_shift: 0.0,
        downsample_padding: 1,
        in_kernel: shapes.side("conv_in.weight", 2)?,
        out_kernel: shapes.side("conv_out.weight", 2)?,
        time_width: shapes.side("time_embedding.linear_1.weight", 0)?,
        guidance_width: shapes.side("time_embedding.cond_proj.weight", 1).ok(),
        added,
        down,
        mid,
        up,
    })
    .and_then(|config| {
        if first % 2 == 0 {
            Ok(config)
        } else {
            Err("an odd number of channels".to_owned())
        }
    })
}

fn level_config(shapes: &Shapes<'_>, at: &str, heads: impl Fn(usize) -> usize) -> Result<LevelConfig> {
    let layers = shapes.count(&format!("{at}.resnets"), "conv1.weight");
    let channels = shapes.side(&format!("{at}.resnets.0.conv1.weight"), 0)?;
    let attends = shapes.0.contains(&format!("{at}.attentions.0.norm.weight"));
    let depth = |layer: usize| {
        shapes.count(
            &format!("{at}.attentions.{layer}.transformer_blocks"),
            "norm1.weight",
        )
    };
    let heads = heads(channels);
    if attends && !channels.is_multiple_of(heads) {
        return Err(format!(
            "{heads} attention heads do not divide {channels} channels"
        ));
    }
    Ok(LevelConfig {
        channels,
        layers,
        attention: attends.then(|| AttentionConfig {
            heads,
            depths: (0..layers).map(depth).collect(),
        }),
    })
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// Kinds of text encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextKind {
    /// CLIP's own (SD 1.x and the first of SDXL).
    Clip,
    /// OpenCLIP (SD 2.x).
    OpenClip,
    /// OpenCLIP with its projection (the second of SDXL).
    OpenClipProjected,
}

/// A text encoder of a checkpoint.
///
/// # Errors
/// If the weights are not those of a CLIP text encoder.
pub(super) fn clip(weights: &Weights, kind: TextKind) -> Result<ClipConfig> {
    let shapes = Shapes(weights);
    let width = shapes.side("embeddings.token_embedding.weight", 1)?;
    let stored_layers = shapes.count("encoder.layers", "layer_norm1.weight");
    // SD 2.x takes the last but one of OpenCLIP's 24 layers; diffusers leaves the last one out, and so do we.
    let layers = if kind == TextKind::OpenClip && stored_layers == 24 {
        23
    } else {
        stored_layers
    };
    let heads = (width / HEAD_WIDTH).max(1);
    if layers == 0 || !width.is_multiple_of(heads) {
        return Err(format!(
            "a text encoder of {layers} layers and {width} channels is not possible"
        ));
    }
    Ok(ClipConfig {
        vocabulary: shapes.side("embeddings.token_embedding.weight", 0)?,
        width,
        inner_width: shapes.side("encoder.layers.0.mlp.fc1.weight", 0)?,
        layers,
        heads,
        positions: shapes.side("embeddings.position_embedding.weight", 0)?,
        activation: if kind == TextKind::Clip {
            Activation::QuickGelu
        } else {
            Activation::Gelu
        },
        norm_eps: 1e-5,
        projection_width: if kind == TextKind::OpenClipProjected {
            Some(shapes.side("text_projection.weight", 0)?)
        } else {
            None
        },
    })
}

/// The autoencoder of a checkpoint.
///
/// # Errors
/// If the weights are not those of an `AutoencoderKL`.
pub(super) fn codec(weights: &Weights, family: Family) -> Result<KlConfig> {
    let shapes = Shapes(weights);
    let levels = shapes.count("encoder.down_blocks", "resnets.0.conv1.weight");
    let channels = (0..levels)
        .map(|level| shapes.side(&format!("encoder.down_blocks.{level}.resnets.0.conv1.weight"), 0))
        .collect::<Result<Vec<usize>>>()?;
    if channels.is_empty() || channels.len() > 8 {
        return Err(format!("an autoencoder of {levels} resolutions is not possible"));
    }
    Ok(KlConfig {
        norm_groups: channels.iter().copied().fold(32, greatest_common_divisor),
        layers: shapes.count("encoder.down_blocks.0.resnets", "conv1.weight"),
        activation: Activation::Silu,
        latent_channels: shapes.side("decoder.conv_in.weight", 1)?,
        scaling_factor: if family == Family::Xl { 0.13025 } else { 0.18215 },
        shift_factor: 0.0,
        has_quant: weights.contains("quant_conv.weight"),
        has_post_quant: weights.contains("post_quant_conv.weight"),
        has_attention: weights.contains("encoder.mid_block.attentions.0.to_q.weight"),
        channels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_of_sd2_that_predict_velocity_are_those_of_768_pixels() {
        assert_eq!(native_cells(Family::Sd2, true), 768 / 8);
        assert_eq!(native_cells(Family::Sd2, false), 512 / 8);
        assert_eq!(native_cells(Family::Sd1, true), 512 / 8);
        assert_eq!(native_cells(Family::Xl, true), 1024 / 8);
    }
}
