//! From what the user chose to a model that paints.

use std::sync::{Arc, atomic::AtomicBool};

use candle_nn::VarBuilder;
use sha2::{Digest as _, Sha256};

use super::{
    blueprint::{Blueprint, Supply},
    config::CodecConfig,
    cpu::{CpuClip, CpuPrecision, CpuTextEncoder, CpuTinyAutoencoder, CpuUnet},
    folder::Codec,
    sd::{
        clip::{ClipEncoder, DualTextEncoder, SingleTextEncoder},
        unet::UNet,
    },
    toy,
    traits::{
        Denoiser, ImageCodec, Maker, ModelParts, ModelSpec, Prediction, Rebuild, SamplerKind, TextEncoder,
    },
};
use crate::{
    Error, Result,
    api::{ModelChoice, ModelSource, ModelSummary},
    device::Compute,
    error::Doing as _,
    ops::{Workers, cuda},
    weights::{Adapters, LoadProgress, LoadWatch, Network, random_weights},
};

/// Parameters of Stable Diffusion 1.5's denoiser.
const SD15_PARAMETERS: u64 = 859_520_964;

/// A model and what is known about it.
pub struct LoadedModel {
    /// What paints.
    pub parts: ModelParts,
    /// What the user is shown.
    pub summary: ModelSummary,
}

/// Loads a model onto a device.
///
/// # Errors
/// [`Error::Cancelled`] if `watch` says so; otherwise what is wrong with the model's files, and what to do.
pub fn load(choice: &ModelChoice, compute: &Compute, watch: &LoadWatch<'_>) -> Result<LoadedModel> {
    if choice.source == ModelSource::Toy {
        return toy::load(choice, compute);
    }
    watch.check()?;
    let mut blueprint = Blueprint::draw(choice, compute, watch)?;
    let spec = spec(&blueprint)?;
    let mut adapters = match &mut blueprint.supply {
        Supply::Files(networks) => Adapters::attach(&choice.loras, networks)?,
        Supply::Random => Adapters::default(),
    };
    let blueprint = Arc::new(blueprint);
    let is_on_cpu = compute.device.is_cpu();
    let is_on_own_cuda = cuda::are_used_on(&compute.device);
    if (is_on_cpu && CpuUnet::supports(&blueprint.unet)) || is_on_own_cuda {
        adapters.expect_copies(Network::Denoiser);
    }
    if is_on_cpu && has_fast_text_encoders(&blueprint) {
        for (network, ..) in &blueprint.texts {
            adapters.expect_copies(*network);
        }
    }
    let construction = Construction {
        blueprint: &blueprint,
        adapters: &adapters,
        compute,
        watch,
    };
    construction.announce();
    let text_encoder = construction.text_encoder()?;
    let codec = construction.codec()?;
    let denoiser = construction.denoiser()?;
    let rebuild = (is_on_cpu || is_on_own_cuda).then(|| rebuild(&blueprint, compute));
    let summary = ModelSummary {
        choice: choice.clone(),
        name: blueprint.name.clone(),
        family: blueprint.family.to_owned(),
        fingerprint: fingerprint(&blueprint.supply),
        native_side: spec.native_side,
        largest_side: spec.largest_side,
        device: compute.name.clone(),
        precision: compute.precision,
        parameters: match &blueprint.supply {
            Supply::Files(networks) => networks
                .get(&Network::Denoiser)
                .map_or(0, |weights| weights.parameters()),
            Supply::Random => SD15_PARAMETERS,
        },
        tokenizer: text_encoder.tokenizer(),
    };
    let parts = ModelParts {
        spec,
        text_encoder,
        denoiser,
        codec,
        device: compute.device.clone(),
        dtype: compute.dtype(),
        adapters,
        rebuild,
    };
    Ok(LoadedModel { parts, summary })
}

/// How to make networks of a loaded model again.
fn rebuild(blueprint: &Arc<Blueprint>, compute: &Compute) -> Rebuild {
    fn maker<T>(
        blueprint: &Arc<Blueprint>,
        compute: &Compute,
        make: impl Fn(&Construction<'_>) -> Result<T> + Send + 'static,
    ) -> Maker<T> {
        let (blueprint, compute) = (Arc::clone(blueprint), compute.clone());
        Box::new(move |adapters| {
            let ignore = |_: LoadProgress<'_>| {};
            let cancel = AtomicBool::new(false);
            make(&Construction {
                blueprint: &blueprint,
                adapters,
                compute: &compute,
                watch: &LoadWatch::new(&ignore, &cancel),
            })
        })
    }
    Rebuild {
        denoiser: maker(blueprint, compute, |construction| construction.denoiser()),
        text_encoder: maker(blueprint, compute, |construction| construction.text_encoder()),
    }
}

/// Whether all text encoders of a model can be computed by the processor's own kernels.
fn has_fast_text_encoders(blueprint: &Blueprint) -> bool {
    blueprint
        .texts
        .iter()
        .all(|(_, config, _)| CpuClip::supports(config))
}

/// Makes the networks of a blueprint on a device.
struct Construction<'a> {
    blueprint: &'a Blueprint,
    adapters: &'a Adapters,
    compute: &'a Compute,
    watch: &'a LoadWatch<'a>,
}

impl<'a> Construction<'a> {
    /// Tells how much there is to read.
    fn announce(&self) {
        match &self.blueprint.supply {
            Supply::Files(networks) => {
                for weights in networks.values() {
                    self.watch.expect_bytes(weights.stored_bytes());
                }
            }
            Supply::Random => {
                // The text encoder adds 123 million parameters, the codec two.
                let width = self.compute.dtype().size_in_bytes() as u64;
                self.watch.expect_bytes((SD15_PARAMETERS + 125_000_000) * width);
            }
        }
    }

    fn builder(&self, network: Network) -> Result<VarBuilder<'a>> {
        let (dtype, device) = (self.compute.dtype(), &self.compute.device);
        match &self.blueprint.supply {
            Supply::Random => Ok(random_weights(network.label(), dtype, device, self.watch)),
            Supply::Files(networks) => {
                let weights = networks.get(&network).ok_or_else(|| Error::UnsupportedModel {
                    reason: format!("{:?} has no {}", self.blueprint.name, network.label()),
                })?;
                Ok(weights.builder(network, dtype, device, self.adapters, self.watch))
            }
        }
    }

    fn text_encoder(&self) -> Result<Arc<dyn TextEncoder>> {
        let none = || Error::UnsupportedModel {
            reason: "it has no text encoder".to_owned(),
        };
        if let Some((precision, workers)) = self.cpu()
            && has_fast_text_encoders(self.blueprint)
        {
            let mut encoders = Vec::new();
            for (network, config, tokenizer) in &self.blueprint.texts {
                let vb = self.builder(*network)?;
                let encoder =
                    CpuClip::load(config, Arc::clone(tokenizer), vb, precision, Arc::clone(&workers));
                encoders.push(encoder.doing("loading the text encoder")?);
            }
            let mut encoders = encoders.into_iter();
            return Ok(Arc::new(CpuTextEncoder {
                first: encoders.next().ok_or_else(none)?,
                second: encoders.next(),
            }));
        }
        let mut encoders = Vec::new();
        for (network, config, tokenizer) in &self.blueprint.texts {
            let vb = self.builder(*network)?;
            let encoder = ClipEncoder::new(config, Arc::clone(tokenizer), &vb);
            encoders.push(encoder.doing("loading the text encoder")?);
        }
        let mut encoders = encoders.into_iter();
        match (encoders.next(), encoders.next()) {
            (Some(first), Some(second)) => Ok(Arc::new(DualTextEncoder { first, second })),
            (Some(only), None) => Ok(Arc::new(SingleTextEncoder(only))),
            (None, _) => Err(none()),
        }
    }

    fn codec(&self) -> Result<Box<dyn ImageCodec>> {
        let vb = self.builder(Network::Codec)?;
        if let (Some((precision, workers)), CodecConfig::Tiny(config)) = (self.cpu(), &self.blueprint.codec)
            && CpuTinyAutoencoder::supports(config)
        {
            let codec = CpuTinyAutoencoder::load(config, vb, precision, workers);
            return Ok(Box::new(codec.doing("loading the image codec")?));
        }
        Ok(Codec::new(self.blueprint.codec.clone(), &vb)?.boxed())
    }

    fn denoiser(&self) -> Result<Box<dyn Denoiser>> {
        let vb = self.builder(Network::Denoiser)?;
        let config = &self.blueprint.unet;
        if let Some((precision, workers)) = self.cpu()
            && CpuUnet::supports(config)
        {
            let unet = CpuUnet::load(config, vb, precision, workers);
            return Ok(Box::new(unet.doing("loading the denoiser")?));
        }
        let unet = UNet::new(config.clone(), &vb);
        Ok(Box::new(unet.doing("loading the denoiser")?))
    }

    /// How the processor computes, where it is the device.
    fn cpu(&self) -> Option<(CpuPrecision, Arc<Workers>)> {
        let Compute {
            device,
            precision,
            workers,
            ..
        } = self.compute;
        device
            .is_cpu()
            .then(|| (CpuPrecision::from(*precision), Arc::clone(workers)))
    }
}

/// Tells model files apart without reading them whole.
fn fingerprint(supply: &Supply) -> String {
    let mut digest = Sha256::new();
    let denoiser = match supply {
        Supply::Files(networks) => networks.get(&Network::Denoiser),
        Supply::Random => None,
    };
    if let Some(weights) = denoiser {
        weights.digest_samples(&mut digest);
    }
    let bytes = digest.finalize();
    let number = bytes[..5]
        .iter()
        .fold(0u64, |number, &byte| number << 8 | u64::from(byte));
    format!("{number:010x}")
}

/// The facts that the stream computes with.
fn spec(blueprint: &Blueprint) -> Result<ModelSpec> {
    let Blueprint {
        unet,
        codec,
        scheduler,
        texts,
        ..
    } = blueprint;
    let unsupported = |reason: String| Err(Error::UnsupportedModel { reason });
    if unet.in_channels != codec.latent_channels() || unet.out_channels != unet.in_channels {
        return unsupported(format!(
            "its denoiser takes {} channels and gives {} where its latents have {}; \
             models for inpainting or editing do not paint regions",
            unet.in_channels,
            unet.out_channels,
            codec.latent_channels()
        ));
    }
    let text_width: usize = texts.iter().map(|(_, config, _)| config.width).sum();
    if text_width != unet.context_width {
        return unsupported(format!(
            "its text encoders give {text_width} numbers a token where its denoiser takes {}",
            unet.context_width
        ));
    }
    let is_xl = unet.added.is_some();
    if is_xl && texts.len() != 2 {
        return unsupported("an SDXL model needs two text encoders".to_owned());
    }
    let downscale = codec.downscale();
    let native_cells = unet.sample_size.unwrap_or(64).clamp(1, 1024);
    let is_euler = scheduler.is_euler_trailing || (is_xl && !scheduler.is_lcm);
    Ok(ModelSpec {
        latent_channels: unet.in_channels,
        downscale,
        prediction: if scheduler.predicts_velocity {
            Prediction::V
        } else {
            Prediction::Epsilon
        },
        native_side: native_cells * downscale as u32,
        largest_side: largest_cells(native_cells) * downscale as u32,
        sampler: if is_euler {
            SamplerKind::EulerTrailing
        } else {
            SamplerKind::Lcm
        },
        has_added_conditioning: is_xl,
        beta_start: scheduler.beta_start,
        beta_end: scheduler.beta_end,
        train_steps: scheduler.train_steps,
    })
}

/// Models that were trained for no more cells on a side are small ones, such as the pocket model.
const SMALL_MODEL_CELLS: u32 = 32;

/// Cells on a side of the largest latent that a model still makes sense of. Objects of the pocket model lose their form
/// beyond half as much again as it was trained for; larger models bear more.
fn largest_cells(native: u32) -> u32 {
    if native <= SMALL_MODEL_CELLS {
        native + native / 2
    } else {
        native * 4
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::{Path, PathBuf},
        sync::{Mutex, atomic::Ordering},
    };

    use candle_core::{DType, Tensor};

    use super::*;
    use crate::{api::LoraSource, models::traits::Row};

    fn load_quietly(source: ModelSource) -> Result<LoadedModel> {
        let ignore = |_: LoadProgress<'_>| {};
        let cancel = AtomicBool::new(false);
        load(
            &ModelChoice::plain(source),
            &Compute::cpu(),
            &LoadWatch::new(&ignore, &cancel),
        )
    }

    fn tiny_model() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/parity/models/tiny-sd15")
    }

    /// A copy of the tiny model that a test may damage.
    fn copied_model() -> tempfile::TempDir {
        fn copy(from: &Path, to: &Path) {
            std::fs::create_dir_all(to).unwrap();
            for entry in std::fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                let target = to.join(entry.file_name());
                if entry.path().is_dir() {
                    copy(&entry.path(), &target);
                } else {
                    std::fs::copy(entry.path(), target).unwrap();
                }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        copy(&tiny_model(), folder.path());
        folder
    }

    #[cfg(feature = "pocket")]
    #[test]
    fn the_pocket_model_loads_and_predicts() {
        let seen = Mutex::new(Vec::new());
        let report = |progress: LoadProgress<'_>| seen.lock().unwrap().push(progress.fraction);
        let cancel = AtomicBool::new(false);
        let watch = LoadWatch::new(&report, &cancel);
        let choice = ModelChoice::plain(ModelSource::Pocket);
        let LoadedModel { mut parts, summary } = load(&choice, &Compute::cpu(), &watch).unwrap();
        let seen = seen.into_inner().unwrap();
        assert!(seen.is_sorted(), "progress never goes back");
        assert_eq!(seen.last(), Some(&1.0));
        assert_eq!(summary.tokenizer.capacity(), 32);
        assert_eq!(summary.fingerprint.len(), 10);
        assert!(summary.parameters > 1_000_000);
        assert_eq!(parts.spec.prediction, Prediction::V);

        let conditioning = parts.text_encoder.encode("a large tree").unwrap();
        let prompt = parts.denoiser.prepare(&conditioning).unwrap();
        let latents = Tensor::randn(0f32, 1.0, (2, 4, 16, 24), &parts.device).unwrap();
        let rows = [999.0, 19.0].map(|timestep| Row {
            timestep,
            prompt: &prompt,
        });
        let velocity = parts.denoiser.predict(&latents, &rows).unwrap();
        assert_eq!(velocity.dims(), latents.dims());
        let picture = parts.codec.decode(&latents).unwrap();
        assert_eq!(picture.dims(), [2, 3, 128, 192]);
    }

    #[test]
    fn loading_can_be_cancelled_on_the_way() {
        let cancel = AtomicBool::new(false);
        let report = |progress: LoadProgress<'_>| {
            if progress.fraction > 0.3 {
                cancel.store(true, Ordering::Relaxed);
            }
        };
        let watch = LoadWatch::new(&report, &cancel);
        let choice = ModelChoice::plain(ModelSource::Path(tiny_model()));
        let result = load(&choice, &Compute::cpu(), &watch);
        assert!(matches!(result, Err(Error::Cancelled)));
    }

    #[test]
    fn prompts_of_any_length_can_be_encoded() {
        let model = load_quietly(ModelSource::Path(tiny_model())).unwrap();
        for prompt in ["", "a cat", &"long ".repeat(2000)] {
            let conditioning = model.parts.text_encoder.encode(prompt).unwrap();
            assert_eq!(conditioning.context.dims(), [77, 32]);
            let sum = conditioning
                .context
                .sum_all()
                .unwrap()
                .to_dtype(DType::F32)
                .unwrap();
            assert!(sum.to_scalar::<f32>().unwrap().is_finite());
        }
    }

    #[test]
    fn a_prompt_of_another_model_is_refused() {
        let mut model = load_quietly(ModelSource::Path(tiny_model())).unwrap();
        let latents = Tensor::zeros((1, 4, 8, 8), DType::F32, &model.parts.device).unwrap();
        let prompt = crate::models::traits::PreparedPrompt(Arc::new(0u8));
        let rows = [Row {
            timestep: 1.0,
            prompt: &prompt,
        }];
        assert!(model.parts.denoiser.predict(&latents, &rows).is_err());
    }

    #[test]
    fn damaged_folders_are_refused_with_the_file_at_fault() {
        let unet = "unet/diffusion_pytorch_model.safetensors";
        type Damage = fn(&Path);
        let damages: [(Damage, &str); 10] = [
            (
                |path| std::fs::remove_file(path.join("unet/config.json")).unwrap(),
                "unet/config.json",
            ),
            (
                |path| std::fs::write(path.join("unet/config.json"), "{").unwrap(),
                "unet/config.json cannot be used: it is no valid JSON",
            ),
            (
                |path| std::fs::write(path.join("vae/config.json"), [0xff, 0xfe]).unwrap(),
                "vae/config.json",
            ),
            (|path| std::fs::remove_dir_all(path.join("unet")).unwrap(), "unet"),
            (
                |path| std::fs::remove_dir_all(path.join("tokenizer")).unwrap(),
                "tokenizer",
            ),
            (
                |path| std::fs::write(path.join("tokenizer/vocab.json"), [0xff]).unwrap(),
                "tokenizer/vocab.json cannot be used: it is no valid JSON",
            ),
            (
                |path| std::fs::write(path.join("tokenizer/merges.txt"), b"a b\n\xff").unwrap(),
                "tokenizer/merges.txt cannot be used: it is no text in UTF-8",
            ),
            (
                |path| std::fs::remove_dir_all(path.join("vae")).unwrap(),
                "the file with the image codec's weights is missing",
            ),
            (
                |path| {
                    let path = path.join("unet/diffusion_pytorch_model.safetensors");
                    let bytes = std::fs::read(&path).unwrap();
                    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
                },
                unet,
            ),
            (
                |path| {
                    let path = path.join("unet");
                    std::fs::remove_file(path.join("diffusion_pytorch_model.safetensors")).unwrap();
                    std::fs::write(path.join("diffusion_pytorch_model.bin"), "").unwrap();
                },
                ".bin files are Python pickles",
            ),
        ];
        for (damage, word) in damages {
            let folder = copied_model();
            damage(folder.path());
            let result = load_quietly(ModelSource::Path(folder.path().to_owned()));
            let error = result.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn weights_of_another_configuration_are_named() {
        let folder = copied_model();
        let path = folder.path().join("unet/config.json");
        let config = std::fs::read_to_string(&path).unwrap();
        std::fs::write(
            &path,
            config.replace("\"cross_attention_dim\": 32", "\"cross_attention_dim\": 48"),
        )
        .unwrap();
        let error = load_quietly(ModelSource::Path(folder.path().to_owned()))
            .err()
            .unwrap();
        assert!(matches!(error, Error::UnsupportedModel { .. }), "{error}");

        std::fs::write(&path, config.replace("\"in_channels\": 4", "\"in_channels\": 9")).unwrap();
        let error = load_quietly(ModelSource::Path(folder.path().to_owned()))
            .err()
            .unwrap();
        assert!(error.to_string().contains("inpainting"), "{error}");

        std::fs::write(
            &path,
            config.replace("32\n  ],\n  \"center", "64\n  ],\n  \"center"),
        )
        .unwrap();
        let error = load_quietly(ModelSource::Path(folder.path().to_owned()))
            .err()
            .unwrap();
        assert!(matches!(error, Error::Weight { .. }), "{error}");
    }

    #[test]
    fn small_models_are_shown_less_of_a_canvas() {
        assert_eq!(largest_cells(32) * 8, 384);
        assert_eq!(largest_cells(64) * 8, 2048);
    }

    #[test]
    fn a_folder_is_named_whole_and_a_file_without_its_ending() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("tiny-v1.5");
        std::fs::rename(copied_model().keep(), &folder).unwrap();
        let loaded = load_quietly(ModelSource::Path(folder)).unwrap();
        assert_eq!(loaded.summary.name, "tiny-v1.5");
        let nameless = load_quietly(ModelSource::Path("..".into())).err().unwrap();
        assert!(
            nameless.to_string().contains("\"..\" is no model folder"),
            "{nameless}"
        );
    }

    #[test]
    fn half_precision_variants_and_shards_are_found() {
        let folder = copied_model();
        let unet = folder.path().join("unet");
        let whole = unet.join("diffusion_pytorch_model.safetensors");
        let fp16 = unet.join("diffusion_pytorch_model.fp16.safetensors");
        std::fs::rename(&whole, &fp16).unwrap();
        assert!(load_quietly(ModelSource::Path(folder.path().to_owned())).is_ok());

        let shard = unet.join("diffusion_pytorch_model-00001-of-00001.safetensors");
        std::fs::rename(&fp16, &shard).unwrap();
        let index = unet.join("diffusion_pytorch_model.safetensors.index.json");
        let name = shard.file_name().unwrap().to_str().unwrap();
        std::fs::write(
            &index,
            format!(r#"{{"weight_map": {{"conv_in.weight": "{name}"}}}}"#),
        )
        .unwrap();
        assert!(load_quietly(ModelSource::Path(folder.path().to_owned())).is_ok());

        std::fs::write(
            &index,
            r#"{"weight_map": {"conv_in.weight": "../../secret.safetensors"}}"#,
        )
        .unwrap();
        let error = load_quietly(ModelSource::Path(folder.path().to_owned()))
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("not the name of a file beside it"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_model_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let pickle = folder.path().join("model.ckpt");
        std::fs::write(&pickle, "").unwrap();
        let text = folder.path().join("notes.safetensors");
        std::fs::write(&text, "hello").unwrap();
        let lora = folder.path().join("lora.safetensors");
        std::fs::write(
            &lora,
            safetensors::serialize([("lora_unet_x.alpha", view())], None).unwrap(),
        )
        .unwrap();
        let file_with = |names: &[&str]| {
            let path = folder.path().join(format!("{}.safetensors", names[0]));
            let tensors = names.iter().map(|name| (*name, view()));
            std::fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
            path
        };
        let denoiser = "model.diffusion_model.input_blocks.0.0.weight";
        for (path, word) in [
            (folder.path().to_owned(), "unet"),
            (pickle, "pickle"),
            (text, "safetensors"),
            (lora, "LoRA"),
            (file_with(&["double_blocks.0.img_mod.lin.weight"]), "transformer"),
            (
                file_with(&["model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"]),
                "transformer",
            ),
            (file_with(&["down_blocks.0.resnets.0.conv1.weight"]), "one part"),
            (file_with(&["emb_params"]), "no denoiser"),
            (
                file_with(&["conditioner.embedders.0.model.ln_final.weight", denoiser]),
                "refiner",
            ),
            (file_with(&[denoiser]), "no text encoder"),
            (folder.path().join("absent.safetensors"), "missing"),
        ] {
            let error = load_quietly(ModelSource::Path(path)).err().unwrap().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    fn view() -> safetensors::tensor::TensorView<'static> {
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4]).unwrap()
    }

    #[test]
    fn a_retuned_model_predicts_what_a_freshly_loaded_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lora.safetensors");
        let values = |count: usize| {
            (0..count)
                .flat_map(|index| (index as f32).sin().to_le_bytes())
                .collect::<Vec<u8>>()
        };
        let (down, up) = (values(2 * 32), values(24 * 2));
        let text = values(2 * 32);
        let tensor = |shape: &[usize], bytes| {
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytes).unwrap()
        };
        let attention = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k";
        let query = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj";
        let file = [
            (format!("{attention}.lora_A.weight"), tensor(&[2, 32], &down)),
            (format!("{attention}.lora_B.weight"), tensor(&[24, 2], &up)),
            (format!("{query}.lora_A.weight"), tensor(&[2, 32], &text)),
            (format!("{query}.lora_B.weight"), tensor(&[32, 2], &text)),
        ];
        std::fs::write(&path, safetensors::serialize(file, None).unwrap()).unwrap();
        let choice = |scale: f32| ModelChoice {
            source: ModelSource::Path(tiny_model()),
            loras: vec![LoraSource {
                path: path.clone(),
                scale,
            }],
            tiny_autoencoder: None,
        };
        let loaded = |scale: f32| {
            let ignore = |_: LoadProgress<'_>| {};
            let cancel = AtomicBool::new(false);
            load(&choice(scale), &Compute::cpu(), &LoadWatch::new(&ignore, &cancel))
                .unwrap()
                .parts
        };
        let latents = Tensor::randn(0f32, 1.0, (1, 4, 8, 8), &Compute::cpu().device).unwrap();
        let predicted = |parts: &mut ModelParts| -> Vec<f32> {
            let conditioning = parts.text_encoder.encode("a red fox").unwrap();
            let prompt = parts.denoiser.prepare(&conditioning).unwrap();
            let rows = [Row {
                timestep: 500.0,
                prompt: &prompt,
            }];
            let noise = parts.denoiser.predict(&latents, &rows).unwrap();
            noise.flatten_all().unwrap().to_vec1().unwrap()
        };
        let largest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);

        let mut parts = loaded(0.0);
        let without = predicted(&mut parts);
        assert!(parts.retune(&choice(0.8).loras).unwrap());
        let retuned = predicted(&mut parts);
        let fresh = predicted(&mut loaded(0.8));
        assert!(largest(&without, &retuned) > 1e-3, "the LoRA has no effect");
        assert!(largest(&fresh, &retuned) < 1e-5);
        assert!(!parts.retune(&[]).unwrap(), "another list needs another load");

        // A change that fails leaves everything as it was, and is not taken for done at the second try.
        let mut parts = loaded(0.0);
        let works = Arc::new(AtomicBool::new(false));
        let rebuild = parts.rebuild.take().expect("the processor holds copies");
        parts.rebuild = Some(Rebuild {
            denoiser: {
                let works = Arc::clone(&works);
                Box::new(move |adapters| {
                    if works.load(Ordering::Relaxed) {
                        (rebuild.denoiser)(adapters)
                    } else {
                        Err(Error::OutOfMemory {
                            what: "trying".to_owned(),
                        })
                    }
                })
            },
            text_encoder: rebuild.text_encoder,
        });
        for _ in 0..2 {
            assert!(parts.retune(&choice(0.8).loras).is_err());
            assert!(largest(&predicted(&mut parts), &without) < 1e-6);
        }
        works.store(true, Ordering::Relaxed);
        assert!(parts.retune(&choice(0.8).loras).unwrap());
        assert!(largest(&predicted(&mut parts), &fresh) < 1e-5);
    }
}
