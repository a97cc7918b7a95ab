//! How the blocks of a network are numbered: the original Stable Diffusion code counts them through, diffusers counts
//! them per resolution.

use std::collections::BTreeMap;

/// Pairs of prefixes for the same part of a UNet: the original code's and diffusers'.
///
/// Longer names are translated part by part: first the block by its prefix, then the rest by [`resnet_part`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UNetLayout {
    /// Original prefix to diffusers prefix.
    blocks: BTreeMap<String, String>,
}

/// Names outside the numbered blocks, which are the same in every UNet: original and diffusers.
const UNET_ENDS: [(&str, &str); 9] = [
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("time_embed.cond_proj", "time_embedding.cond_proj"),
    ("label_emb.0.0", "add_embedding.linear_1"),
    ("label_emb.0.2", "add_embedding.linear_2"),
    ("input_blocks.0.0", "conv_in"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
    // The middle's third part; its first two depend on whether it attends.
    ("middle_block.2", "mid_block.resnets.1"),
];

/// Parts of a residual block: original and diffusers.
const RESNET_PARTS: [(&str, &str); 6] = [
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
];

impl UNetLayout {
    /// From the names of a UNet in the original code's numbering.
    pub(super) fn from_original<'a>(names: &(impl Iterator<Item = &'a str> + Clone)) -> Self {
        let has = |prefix: &str| {
            let mut names = names.clone();
            names.any(|name| {
                name.strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with('.'))
            })
        };
        let mut layout = Self::with_ends(!has("middle_block.1.in_layers"));
        let (mut level, mut layer) = (0, 0);
        for block in (1..).take_while(|block| has(&format!("input_blocks.{block}"))) {
            let at = format!("input_blocks.{block}");
            if has(&format!("{at}.0.op")) {
                layout.add(
                    format!("{at}.0.op"),
                    format!("down_blocks.{level}.downsamplers.0.conv"),
                );
                (level, layer) = (level + 1, 0);
            } else {
                layout.add(format!("{at}.0"), format!("down_blocks.{level}.resnets.{layer}"));
                layout.add(
                    format!("{at}.1"),
                    format!("down_blocks.{level}.attentions.{layer}"),
                );
                layer += 1;
            }
        }
        (level, layer) = (0, 0);
        for block in (0..).take_while(|block| has(&format!("output_blocks.{block}"))) {
            let at = format!("output_blocks.{block}");
            layout.add(format!("{at}.0"), format!("up_blocks.{level}.resnets.{layer}"));
            let upsample = [1, 2].into_iter().find(|part| has(&format!("{at}.{part}.conv")));
            if upsample != Some(1) {
                layout.add(format!("{at}.1"), format!("up_blocks.{level}.attentions.{layer}"));
            }
            layer += 1;
            if let Some(part) = upsample {
                layout.add(format!("{at}.{part}"), format!("up_blocks.{level}.upsamplers.0"));
                (level, layer) = (level + 1, 0);
            }
        }
        layout
    }

    /// From the names of a UNet in diffusers' numbering.
    pub(super) fn from_diffusers<'a>(names: &(impl Iterator<Item = &'a str> + Clone)) -> Self {
        let has = |prefix: &str| {
            let mut names = names.clone();
            names.any(|name| {
                name.strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with('.'))
            })
        };
        let mut layout = Self::with_ends(has("mid_block.attentions.0"));
        let mut block = 1;
        for level in (0..).take_while(|level| has(&format!("down_blocks.{level}"))) {
            let at = format!("down_blocks.{level}");
            for layer in (0..).take_while(|layer| has(&format!("{at}.resnets.{layer}"))) {
                layout.add(format!("input_blocks.{block}.0"), format!("{at}.resnets.{layer}"));
                layout.add(
                    format!("input_blocks.{block}.1"),
                    format!("{at}.attentions.{layer}"),
                );
                block += 1;
            }
            if has(&format!("{at}.downsamplers.0.conv")) {
                layout.add(
                    format!("input_blocks.{block}.0.op"),
                    format!("{at}.downsamplers.0.conv"),
                );
                block += 1;
            }
        }
        block = 0;
        for level in (0..).take_while(|level| has(&format!("up_blocks.{level}"))) {
            let at = format!("up_blocks.{level}");
            let attends = has(&format!("{at}.attentions.0"));
            for layer in (0..).take_while(|layer| has(&format!("{at}.resnets.{layer}"))) {
                layout.add(
                    format!("output_blocks.{block}.0"),
                    format!("{at}.resnets.{layer}"),
                );
                if attends {
                    layout.add(
                        format!("output_blocks.{block}.1"),
                        format!("{at}.attentions.{layer}"),
                    );
                }
                block += 1;
            }
            if has(&format!("{at}.upsamplers.0")) && block > 0 {
                let part = if attends { 2 } else { 1 };
                layout.add(
                    format!("output_blocks.{}.{part}", block - 1),
                    format!("{at}.upsamplers.0"),
                );
            }
        }
        layout
    }

    fn with_ends(middle_attends: bool) -> Self {
        let mut layout = Self::default();
        for (original, diffusers) in UNET_ENDS {
            layout.add(original.to_owned(), diffusers.to_owned());
        }
        layout.add("middle_block.0".to_owned(), "mid_block.resnets.0".to_owned());
        let second = if middle_attends {
            "attentions.0"
        } else {
            "resnets.1"
        };
        layout.add("middle_block.1".to_owned(), format!("mid_block.{second}"));
        layout
    }

    fn add(&mut self, original: String, diffusers: String) {
        self.blocks.insert(original, diffusers);
    }

    /// Diffusers' name for an original one.
    pub(super) fn diffusers_name(&self, original: &str) -> Option<String> {
        let (prefix, rest) = split_at_prefix(original, |prefix| self.blocks.contains_key(prefix))?;
        let block = self.blocks.get(prefix)?;
        let rest = if block.contains("resnets") {
            resnet_part(rest)
        } else {
            rest.to_owned()
        };
        Some(format!("{block}.{rest}"))
    }

    /// The original name for one of diffusers'.
    pub(super) fn original_name(&self, diffusers: &str) -> Option<String> {
        let found = self.blocks.iter().find_map(|(original, block)| {
            let rest = diffusers.strip_prefix(block.as_str())?.strip_prefix('.')?;
            Some((original, block, rest))
        });
        let (original, block, rest) = found?;
        let rest = if block.contains("resnets") {
            original_resnet_part(rest)
        } else {
            rest.to_owned()
        };
        Some(format!("{original}.{rest}"))
    }
}

/// Splits a name at the longest prefix of whole parts that `is_known`.
fn split_at_prefix(name: &str, is_known: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    let dots = name.rmatch_indices('.').map(|(position, _)| position);
    dots.map(|position| (&name[..position], &name[position + 1..]))
        .find(|(prefix, _)| is_known(prefix))
}

fn resnet_part(original: &str) -> String {
    replaced_start(original, RESNET_PARTS.iter().copied())
}

fn original_resnet_part(diffusers: &str) -> String {
    replaced_start(
        diffusers,
        RESNET_PARTS
            .iter()
            .map(|&(original, diffusers)| (diffusers, original)),
    )
}

fn replaced_start<'a>(name: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    for (from, to) in pairs {
        if let Some(rest) = name.strip_prefix(from)
            && rest.starts_with('.')
        {
            return format!("{to}{rest}");
        }
    }
    name.to_owned()
}

/// Diffusers' name for a weight of `AutoencoderKL` in the original naming; `levels` is its number of resolutions.
pub(super) fn codec_name(original: &str, levels: usize) -> Option<String> {
    let parts: Vec<&str> = original.split('.').collect();
    let rest = |from: usize| parts[from..].join(".");
    let block = |rest: String| {
        let end = rest
            .strip_prefix("nin_shortcut")
            .map(|end| format!("conv_shortcut{end}"));
        end.unwrap_or(rest)
    };
    Some(match parts[..] {
        ["quant_conv" | "post_quant_conv", ..] | ["encoder" | "decoder", "conv_in" | "conv_out", ..] => {
            original.to_owned()
        }
        [half @ ("encoder" | "decoder"), "norm_out", ..] => format!("{half}.conv_norm_out.{}", rest(2)),
        [half @ ("encoder" | "decoder"), "mid", part, ..] => {
            let end = rest(3);
            match part {
                "block_1" => format!("{half}.mid_block.resnets.0.{}", block(end)),
                "block_2" => format!("{half}.mid_block.resnets.1.{}", block(end)),
                "attn_1" => {
                    const ATTENTION: [(&str, &str); 5] = [
                        ("norm", "group_norm"),
                        ("q", "to_q"),
                        ("k", "to_k"),
                        ("v", "to_v"),
                        ("proj_out", "to_out.0"),
                    ];
                    let end = replaced_start(&end, ATTENTION.into_iter());
                    format!("{half}.mid_block.attentions.0.{end}")
                }
                _ => return None,
            }
        }
        ["encoder", "down", level, "block", number, ..] => {
            format!("encoder.down_blocks.{level}.resnets.{number}.{}", block(rest(5)))
        }
        ["encoder", "down", level, "downsample", ..] => {
            format!("encoder.down_blocks.{level}.downsamplers.0.{}", rest(4))
        }
        ["decoder", "up", level, ..] => {
            // The original counts from the finest resolution, diffusers from the coarsest.
            let level = levels.checked_sub(level.parse::<usize>().ok()?.checked_add(1)?)?;
            match parts[3..] {
                ["block", number, ..] => {
                    format!("decoder.up_blocks.{level}.resnets.{number}.{}", block(rest(5)))
                }
                ["upsample", ..] => format!("decoder.up_blocks.{level}.upsamplers.0.{}", rest(4)),
                _ => return None,
            }
        }
        _ => return None,
    })
}

/// What an OpenCLIP weight becomes in a text encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OpenClipName {
    /// It is this weight.
    One(String),
    /// It is a projection matrix applied from the other side.
    Transposed(String),
    /// Three of the same shape lie on top of each other.
    Three([String; 3]),
}

/// The name of an OpenCLIP weight.
pub(super) fn open_clip_name(original: &str) -> Option<OpenClipName> {
    use OpenClipName::{One, Three, Transposed};
    let parts: Vec<&str> = original.split('.').collect();
    Some(match parts[..] {
        ["positional_embedding"] => One("embeddings.position_embedding.weight".to_owned()),
        ["token_embedding", "weight"] => One("embeddings.token_embedding.weight".to_owned()),
        ["ln_final", end] => One(format!("final_layer_norm.{end}")),
        ["text_projection"] => Transposed("text_projection.weight".to_owned()),
        ["text_projection", "weight"] => One("text_projection.weight".to_owned()),
        ["transformer", "resblocks", layer, ref rest @ ..] => {
            let at = format!("encoder.layers.{layer}");
            match *rest {
                ["ln_1", end] => One(format!("{at}.layer_norm1.{end}")),
                ["ln_2", end] => One(format!("{at}.layer_norm2.{end}")),
                ["mlp", "c_fc", end] => One(format!("{at}.mlp.fc1.{end}")),
                ["mlp", "c_proj", end] => One(format!("{at}.mlp.fc2.{end}")),
                ["attn", "out_proj", end] => One(format!("{at}.self_attn.out_proj.{end}")),
                ["attn", both @ ("in_proj_weight" | "in_proj_bias")] => {
                    let end = both.trim_start_matches("in_proj_");
                    Three(["q", "k", "v"].map(|letter| format!("{at}.self_attn.{letter}_proj.{end}")))
                }
                _ => return None,
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Names of a UNet with two resolutions, two layers each, attention in the first.
    const DIFFUSERS: [&str; 26] = [
        "conv_in.weight",
        "time_embedding.linear_1.weight",
        "time_embedding.linear_2.bias",
        "down_blocks.0.resnets.0.conv1.weight",
        "down_blocks.0.resnets.1.time_emb_proj.bias",
        "down_blocks.0.attentions.0.norm.weight",
        "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0.weight",
        "down_blocks.0.downsamplers.0.conv.weight",
        "down_blocks.1.resnets.0.conv_shortcut.weight",
        "down_blocks.1.resnets.1.norm2.weight",
        "mid_block.resnets.0.norm1.weight",
        "mid_block.attentions.0.proj_in.weight",
        "mid_block.resnets.1.conv2.bias",
        "up_blocks.0.resnets.0.conv1.weight",
        "up_blocks.0.resnets.1.conv1.weight",
        "up_blocks.0.resnets.2.conv1.weight",
        "up_blocks.0.upsamplers.0.conv.weight",
        "up_blocks.1.resnets.0.conv1.weight",
        "up_blocks.1.resnets.1.conv1.weight",
        "up_blocks.1.resnets.2.conv1.weight",
        "up_blocks.1.attentions.0.norm.weight",
        "up_blocks.1.attentions.1.norm.weight",
        "up_blocks.1.attentions.2.norm.weight",
        "conv_norm_out.weight",
        "conv_out.weight",
        "conv_out.bias",
    ];

    #[test]
    fn names_there_and_back_are_the_same() {
        let there = UNetLayout::from_diffusers(&DIFFUSERS.into_iter());
        let original: Vec<String> = DIFFUSERS
            .iter()
            .map(|name| there.original_name(name).unwrap())
            .collect();
        assert!(original.contains(&"input_blocks.2.1.transformer_blocks.0.attn1.to_out.0.weight".to_owned()));
        assert!(original.contains(&"input_blocks.3.0.op.weight".to_owned()));
        assert!(original.contains(&"output_blocks.2.1.conv.weight".to_owned()));
        assert!(original.contains(&"middle_block.2.out_layers.3.bias".to_owned()));
        let back = UNetLayout::from_original(&original.iter().map(String::as_str));
        let names: Vec<String> = original
            .iter()
            .map(|name| back.diffusers_name(name).unwrap())
            .collect();
        assert_eq!(names, DIFFUSERS);
    }

    #[test]
    fn the_decoder_counts_from_the_other_end() {
        let name = codec_name("decoder.up.3.block.0.nin_shortcut.bias", 4).unwrap();
        assert_eq!(name, "decoder.up_blocks.0.resnets.0.conv_shortcut.bias");
        assert_eq!(codec_name("decoder.up.4.block.0.conv1.bias", 4), None);
    }

    proptest! {
        #[test]
        fn no_name_makes_the_translations_panic(
            names in prop::collection::vec("((input|output|middle)_blocks?|encoder|decoder|up|down|mid|transformer|resblocks|attn)(\\.(0|1|2|block|18446744073709551615|attn|in_proj_weight|upsample|op|conv)){0,5}", 0..20),
        ) {
            let all = || names.iter().map(String::as_str);
            let from = UNetLayout::from_original(&all());
            let to = UNetLayout::from_diffusers(&all());
            for name in all() {
                drop(from.diffusers_name(name));
                drop(to.original_name(name));
                drop(codec_name(name, 4));
                drop(open_clip_name(name));
            }
        }
    }
}
