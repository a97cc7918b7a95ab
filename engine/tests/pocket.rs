//! The embedded model against others' implementations: PyTorch and diffusers (recorded), candle-transformers (run here).
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on is a failed one, also in its helpers"
)]
#![cfg(feature = "pocket")]

use std::{path::Path, sync::atomic::AtomicBool};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::clip::text_model::{Activation, ClipTextConfig, ClipTextTransformer};
use wordbrush_engine::{
    api::{ModelChoice, ModelSource},
    low_level::{
        Compute, LoadWatch,
        models::{LoadedModel, load, traits::Row},
        schedule::{NoiseSchedule, Timestep, lcm::boundary_scalings},
    },
};

const PROMPT: &str = "a red apple on a white background";
const TIMESTEPS: [f64; 5] = [999.0, 919.0, 759.0, 499.0, 259.0];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn pocket() -> LoadedModel {
    let never = AtomicBool::new(false);
    load(
        &ModelChoice::plain(ModelSource::Pocket),
        &Compute::cpu(),
        &LoadWatch::new(&|_| {}, &never),
    )
    .unwrap()
}

fn largest_difference(ours: &Tensor, theirs: &Tensor) -> f32 {
    assert_eq!(ours.dims(), theirs.dims());
    (ours - theirs)
        .unwrap()
        .abs()
        .unwrap()
        .flatten_all()
        .unwrap()
        .max(0)
        .unwrap()
        .to_scalar()
        .unwrap()
}

/// The recorded run of five LCM steps: same weights, same noise, same text, same prediction, same latent, same picture.
///
/// Tolerances: 32-bit sums in another order differ by about 1e-5 in the prediction; five steps and the division by the
/// root of alpha-bar at timestep 999 (14.6) carry that on.
#[test]
fn the_embedded_model_paints_the_picture_that_pytorch_paints() {
    let fixture = root().join("tests/fixtures/pocket/reference.safetensors");
    let expected = candle_core::safetensors::load(fixture, &Device::Cpu).unwrap();
    let mut parts = pocket().parts;

    let conditioning = parts.text_encoder.encode(PROMPT).unwrap();
    let context = conditioning.context.unsqueeze(0).unwrap();
    assert!(largest_difference(&context, &expected["context"]) < 1e-4);

    let prompt = parts.denoiser.prepare(&conditioning).unwrap();
    let schedule = NoiseSchedule::of_model(&parts.spec);
    let noise = &expected["noise"];
    let mut latent = noise.narrow(0, 0, 1).unwrap();
    for (step, &timestep) in TIMESTEPS.iter().enumerate() {
        let row = Row {
            timestep,
            prompt: &prompt,
        };
        let velocity = parts.denoiser.predict(&latent, &[row]).unwrap();
        if step == 0 {
            assert!(largest_difference(&velocity, &expected["first_v"]) < 1e-3);
        }
        let alpha_bar = schedule.alpha_bar(Timestep(timestep));
        let clean =
            ((&latent * alpha_bar.sqrt()).unwrap() - (velocity * (1.0 - alpha_bar).sqrt()).unwrap()).unwrap();
        let (c_skip, c_out) = boundary_scalings(Timestep(timestep));
        latent = ((clean * c_out).unwrap() + (latent * c_skip).unwrap()).unwrap();
        if let Some(&next) = TIMESTEPS.get(step + 1) {
            let alpha_bar = schedule.alpha_bar(Timestep(next));
            let fresh = (noise.narrow(0, step + 1, 1).unwrap() * (1.0 - alpha_bar).sqrt()).unwrap();
            latent = ((latent * alpha_bar.sqrt()).unwrap() + fresh).unwrap();
        }
    }
    assert!(largest_difference(&latent, &expected["latent"]) < 1e-2);

    let decoded = parts.codec.decode(&latent).unwrap();
    let levels = ((decoded / 2.0).unwrap() + 0.5).unwrap().clamp(0.0, 1.0).unwrap() * 255.0;
    let picture = levels.unwrap().squeeze(0).unwrap().permute((1, 2, 0)).unwrap();
    let theirs = expected["picture"].to_dtype(DType::F32).unwrap();
    assert!(
        largest_difference(&picture, &theirs) < 2.0,
        "more than two levels of 255 apart"
    );
}

/// Our text encoder, with its cached positions and masks, against candle's.
#[test]
fn the_text_encoder_agrees_with_candles() {
    let model = pocket();
    let weights = root().join("assets/pocket/model/text_encoder/model.safetensors");
    let tensors = candle_core::safetensors::load(weights, &Device::Cpu).unwrap();
    let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let text = std::fs::read_to_string(root().join("assets/pocket/model/text_encoder/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = |name: &str| config[name].as_u64().unwrap() as usize;
    let theirs = ClipTextTransformer::new(
        builder,
        &ClipTextConfig {
            vocab_size: number("vocab_size"),
            embed_dim: number("hidden_size"),
            activation: Activation::QuickGelu,
            intermediate_size: number("intermediate_size"),
            max_position_embeddings: number("max_position_embeddings"),
            pad_with: None,
            num_hidden_layers: number("num_hidden_layers"),
            num_attention_heads: number("num_attention_heads"),
            projection_dim: number("projection_dim"),
        },
    )
    .unwrap();
    for prompt in [
        "",
        "sunset",
        PROMPT,
        "sea, grass and a blue sky over the forest at night",
    ] {
        let ids = model.summary.tokenizer.encode(prompt);
        let ids = Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let expected = theirs
            .forward_with_mask(&ids, usize::MAX)
            .unwrap()
            .squeeze(0)
            .unwrap();
        let ours = model.parts.text_encoder.encode(prompt).unwrap().context;
        assert!(largest_difference(&ours, &expected) < 1e-4, "{prompt:?}");
    }
}
