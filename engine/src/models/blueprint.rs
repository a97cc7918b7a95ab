//! Everything that must be known of a model before its networks are made, wherever it comes from.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    config::{ClipConfig, CodecConfig, SchedulerConfig, TinyConfig, UNetConfig},
    folder::ModelFolder,
    infer::{self, TextKind},
    pocket,
};
use crate::{
    Error, Result,
    api::{ModelChoice, ModelSource},
    device::Compute,
    tokenizer::PromptTokenizer,
    weights::{Checkpoint, Family, Folder, LoadWatch, Network, Weights, refuse_pickle},
};

/// Merges of the vocabulary that all published CLIP text encoders share; checkpoints in one file come without it.
const CLIP_MERGES: &str = include_str!("../../../assets/clip/merges.txt");
/// Padding of OpenCLIP's prompts; CLIP pads with its end token.
const OPEN_CLIP_PADDING: &str = "!";

/// Where a network's weights come from.
#[derive(Debug)]
pub(super) enum Supply {
    /// From files.
    Files(BTreeMap<Network, Arc<Weights>>),
    /// Made up.
    Random,
}

/// A model that is not built yet.
#[derive(Debug)]
pub(super) struct Blueprint {
    /// Name to show.
    pub(super) name: String,
    /// Family to show.
    pub(super) family: &'static str,
    /// The denoiser.
    pub(super) unet: UNetConfig,
    /// One or two text encoders with their tokenizers.
    pub(super) texts: Vec<(Network, ClipConfig, Arc<PromptTokenizer>)>,
    /// The image codec.
    pub(super) codec: CodecConfig,
    /// The noise schedule.
    pub(super) scheduler: SchedulerConfig,
    /// The weights.
    pub(super) supply: Supply,
}

impl Blueprint {
    /// Finds out what the user chose; reads configurations and headers, no weights.
    pub(super) fn draw(choice: &ModelChoice, compute: &Compute, watch: &LoadWatch<'_>) -> Result<Self> {
        let mut blueprint = match &choice.source {
            ModelSource::Pocket => {
                let files = pocket::FILES.ok_or_else(|| Error::UnsupportedModel {
                    reason: "this program was built without the pocket model (cargo's feature \"pocket\")"
                        .to_owned(),
                })?;
                let folder = ModelFolder::new(Folder::Embedded(files), compute, watch);
                Self::from_folder(&folder, "Pocket")?
            }
            ModelSource::Path(path) => Self::from_path(path, compute, watch)?,
            ModelSource::RandomSd15 => Self::random_sd15()?,
            ModelSource::Toy => {
                return Err(Error::UnsupportedModel {
                    reason: "the toy has no networks".to_owned(),
                });
            }
        };
        if let Some(path) = &choice.tiny_autoencoder {
            blueprint.replace_codec(path, compute, watch)?;
        }
        Ok(blueprint)
    }

    fn from_path(path: &Path, compute: &Compute, watch: &LoadWatch<'_>) -> Result<Self> {
        // A path such as "." ends in no name.
        let shown = |name: Option<&OsStr>| name.unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        if path.is_dir() {
            let folder = ModelFolder::on_disk(path, compute, watch);
            return Self::from_folder(&folder, &shown(path.file_name()));
        }
        let name = shown(path.file_stem());
        refuse_pickle(path)?;
        if path.exists() {
            Self::from_checkpoint(path, &name)
        } else {
            Err(Error::MissingFile {
                what: "the model".to_owned(),
                path: path.to_owned(),
            })
        }
    }

    fn from_folder(folder: &ModelFolder<'_>, name: &str) -> Result<Self> {
        if !folder.contains(Network::Denoiser.folder()) {
            return Err(Error::UnsupportedModel {
                reason: format!(
                    "{name:?} is no model folder in diffusers' layout (it has no folder \"unet\"); \
                     choose a folder that has one, or a .safetensors checkpoint"
                ),
            });
        }
        let mut text_networks = vec![Network::TextEncoder];
        if folder.contains(Network::TextEncoder2.folder()) {
            text_networks.push(Network::TextEncoder2);
        }
        let mut networks = BTreeMap::new();
        let mut texts = Vec::new();
        for network in text_networks {
            let (config, tokenizer) = folder.text_parts(network)?;
            texts.push((network, config, tokenizer));
            networks.insert(network, Arc::new(folder.weights(network)?));
        }
        for network in [Network::Denoiser, Network::Codec] {
            networks.insert(network, Arc::new(folder.weights(network)?));
        }
        let unet = folder.unet_config()?;
        Ok(Self {
            name: name.to_owned(),
            family: match (unet.added.is_some(), unet.context_width) {
                (true, _) => "Stable Diffusion XL",
                (false, 768) => "Stable Diffusion 1.x",
                (false, 1024) => "Stable Diffusion 2.x",
                _ if name == "Pocket" => "Pocket",
                _ => "Stable Diffusion",
            },
            codec: folder.codec_config(Network::Codec.folder())?,
            scheduler: folder.scheduler()?,
            supply: Supply::Files(networks),
            unet,
            texts,
        })
    }

    fn from_checkpoint(path: &Path, name: &str) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let family = checkpoint.family;
        let invalid = |reason: String| Error::InvalidFile {
            path: path.to_owned(),
            reason,
        };
        let weights = |network: Network| checkpoint.networks.get(&network);
        let mut texts = Vec::new();
        for network in [Network::TextEncoder, Network::TextEncoder2] {
            if let Some(weights) = weights(network) {
                let kind = match (family, network) {
                    (_, Network::TextEncoder2) => TextKind::OpenClipProjected,
                    (Family::Sd2, _) => TextKind::OpenClip,
                    _ => TextKind::Clip,
                };
                let config = infer::clip(weights, kind).map_err(invalid)?;
                let padding = (kind != TextKind::Clip).then_some(OPEN_CLIP_PADDING);
                let tokenizer = clip_tokenizer(padding, config.positions)?;
                if tokenizer.largest_id() as usize >= config.vocabulary {
                    return Err(invalid(format!(
                        "its text encoder knows {} tokens where CLIP has {}; open it as a folder with its tokenizer",
                        config.vocabulary,
                        tokenizer.largest_id() + 1
                    )));
                }
                texts.push((network, config, tokenizer));
            }
        }
        let empty = Weights::default();
        let denoiser = weights(Network::Denoiser).unwrap_or(&empty);
        let unet = infer::unet(denoiser, family, checkpoint.predicts_velocity).map_err(invalid)?;
        let codec = infer::codec(weights(Network::Codec).unwrap_or(&empty), family).map_err(invalid)?;
        // Few-step models rarely say so in their files, but in their names.
        let lower = name.to_ascii_lowercase();
        let scheduler = SchedulerConfig {
            predicts_velocity: checkpoint.predicts_velocity,
            is_lcm: lower.contains("lcm"),
            is_euler_trailing: lower.contains("turbo") || lower.contains("lightning"),
            ..SchedulerConfig::default()
        };
        Ok(Self {
            name: name.to_owned(),
            family: match family {
                Family::Sd1 => "Stable Diffusion 1.x",
                Family::Sd2 => "Stable Diffusion 2.x",
                Family::Xl => "Stable Diffusion XL",
            },
            unet,
            texts,
            codec: CodecConfig::Kl(codec),
            scheduler,
            supply: Supply::Files(
                checkpoint
                    .networks
                    .into_iter()
                    .map(|(network, weights)| (network, Arc::new(weights)))
                    .collect(),
            ),
        })
    }

    /// Stable Diffusion 1.5 with the tiny autoencoder that streams decode with.
    fn random_sd15() -> Result<Self> {
        let invalid = |reason: String| Error::UnsupportedModel { reason };
        let unet = br#"{"cross_attention_dim": 768, "sample_size": 64}"#;
        let clip = br#"{"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}"#;
        let config = ClipConfig::from_json(clip).map_err(invalid)?;
        let tokenizer = clip_tokenizer(None, config.positions)?;
        Ok(Self {
            name: "Random SD 1.5".to_owned(),
            family: "Stable Diffusion 1.x",
            unet: UNetConfig::from_json(unet).map_err(invalid)?,
            texts: vec![(Network::TextEncoder, config, tokenizer)],
            codec: CodecConfig::Tiny(TinyConfig::from_json(b"{}").map_err(invalid)?),
            scheduler: SchedulerConfig::default(),
            supply: Supply::Random,
        })
    }

    /// Decodes with a tiny autoencoder instead of the model's own: a folder with `config.json`, or one of its files.
    fn replace_codec(&mut self, path: &Path, compute: &Compute, watch: &LoadWatch<'_>) -> Result<()> {
        let folder_path: PathBuf = if path.is_dir() {
            path.to_owned()
        } else {
            path.parent().unwrap_or_else(|| Path::new(".")).to_owned()
        };
        let folder = ModelFolder::on_disk(&folder_path, compute, watch);
        let config = folder.codec_config(".")?;
        if !matches!(config, CodecConfig::Tiny(_)) {
            return Err(Error::InvalidFile {
                path: path.to_owned(),
                reason: "it is no tiny autoencoder (AutoencoderTiny)".to_owned(),
            });
        }
        let weights = Folder::Disk(folder_path).weights_in(Network::Codec, ".")?;
        if let Supply::Files(networks) = &mut self.supply {
            networks.insert(Network::Codec, Arc::new(weights));
            self.codec = config;
        }
        Ok(())
    }
}

fn clip_tokenizer(padding: Option<&str>, capacity: usize) -> Result<Arc<PromptTokenizer>> {
    PromptTokenizer::clip(CLIP_MERGES, padding, capacity)
        .map(Arc::new)
        .map_err(|error| Error::UnsupportedModel {
            reason: format!("the built-in CLIP vocabulary {error}"),
        })
}
