//! The recorded cases of the reference, through the fast path.
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::{
    CpuPrecision, CpuTinyAutoencoder, CpuUnet,
    clip::{CpuClip, Wanted},
};
use crate::{
    models::{
        config::{ClipConfig, CodecConfig, UNetConfig},
        sd::unet::UNet,
        traits::{Conditioning, Denoiser, ImageCodec as _, Row},
    },
    ops::{Isa, Workers},
    tokenizer::PromptTokenizer,
};

fn folder() -> PathBuf {
    let given = std::env::var_os("WORDBRUSH_PARITY").map(PathBuf::from);
    given.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/parity"))
}

fn tensors(file: &str) -> BTreeMap<String, Tensor> {
    candle_core::safetensors::load(folder().join(file), &Device::Cpu)
        .unwrap()
        .into_iter()
        .collect()
}

fn weights(model: &str, part: &str) -> (Vec<u8>, VarBuilder<'static>) {
    let place = folder().join("models").join(model).join(part);
    let config = std::fs::read(place.join("config.json")).unwrap();
    let name = if part.starts_with("text") {
        "model.safetensors"
    } else {
        "diffusion_pytorch_model.safetensors"
    };
    let tensors = candle_core::safetensors::load(place.join(name), &Device::Cpu).unwrap();
    // The text encoders' projections lie beside the rest of them.
    let tensors = tensors
        .into_iter()
        .map(|(name, tensor)| (name.replace("text_model.", ""), tensor))
        .collect();
    (
        config,
        VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu),
    )
}

/// Largest difference of two tensors, relative to a tolerance for each.
fn worst(ours: &Tensor, theirs: &Tensor) -> f32 {
    assert_eq!(ours.dims(), theirs.dims());
    let difference = (ours.to_dtype(DType::F32).unwrap() - theirs)
        .unwrap()
        .abs()
        .unwrap();
    difference
        .flatten_all()
        .unwrap()
        .max(0)
        .unwrap()
        .to_scalar()
        .unwrap()
}

fn tolerance(case: &str, name: &str) -> f32 {
    let file = std::fs::read(folder().join(case).join("case.json")).unwrap();
    let case: serde_json::Value = serde_json::from_slice(&file).unwrap();
    case["suggested_atol"][name].as_f64().unwrap() as f32
}

fn unet_differences(
    isa: Isa,
    precision: CpuPrecision,
    threads: usize,
    case: &str,
    model: &str,
) -> Vec<(String, f32)> {
    let (config, weights) = weights(model, "unet");
    let config = UNetConfig::from_json(&config).unwrap();
    let workers = Arc::new(Workers::new(threads));
    let mut unet = CpuUnet::load_for(isa, &config, weights, precision, workers).unwrap();
    let inputs = tensors(&format!("{case}/inputs.safetensors"));
    let expected = tensors(&format!("{case}/expected.safetensors"));
    let mut differences = Vec::new();
    for batch in ["a", "b", "c"] {
        let input = |name: &str| inputs.get(&format!("{batch}.{name}"));
        let timesteps: Vec<i64> = input("timestep").unwrap().to_vec1().unwrap();
        let prompts: Vec<_> = (0..timesteps.len())
            .map(|row| {
                let ids = input("time_ids").map(|ids| ids.get(row).unwrap().to_vec1::<f32>().unwrap());
                let conditioning = Conditioning {
                    context: input("encoder_hidden_states").unwrap().get(row).unwrap(),
                    pooled: input("text_embeds").map(|pooled| pooled.get(row).unwrap()),
                    time_ids: ids.map(|ids| ids.try_into().unwrap()),
                };
                unet.prepare(&conditioning).unwrap()
            })
            .collect();
        let rows: Vec<_> = timesteps
            .iter()
            .zip(&prompts)
            .map(|(&timestep, prompt)| Row {
                timestep: timestep as f64,
                prompt,
            })
            .collect();
        let output = unet.predict(input("sample").unwrap(), &rows).unwrap();
        let name = format!("{batch}.output");
        differences.push((name.clone(), worst(&output, &expected[&name])));
    }
    differences
}

#[test]
fn unets_meet_the_reference_with_all_instructions() {
    for (case, model) in [
        ("unet-sd15", "tiny-sd15"),
        ("unet-sd21", "tiny-sd21"),
        ("unet-sdxl", "tiny-sdxl"),
    ] {
        for isa in Isa::available() {
            for (name, difference) in unet_differences(isa, CpuPrecision::F32, 2, case, model) {
                let allowed = tolerance(case, &name);
                assert!(
                    difference <= allowed,
                    "{case} {name} on {isa:?}: {difference} > {allowed}"
                );
            }
        }
    }
}

/// Models made smaller by distillation have one residual block in the middle, and nothing else.
#[test]
fn a_middle_of_one_residual_block_agrees_with_the_plain_network() {
    let place = folder().join("models/tiny-sd15/unet");
    let config = std::fs::read_to_string(place.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["mid_block_type"] = "UNetMidBlock2D".into();
    let config = UNetConfig::from_json(config.to_string().as_bytes()).unwrap();
    let file = place.join("diffusion_pytorch_model.safetensors");
    let mut tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    tensors.retain(|name, _| !name.starts_with("mid_block") || name.starts_with("mid_block.resnets.0"));
    let weights = || VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu);
    let inputs = tensors_of_case("unet-sd15");
    let (sample, context) = (&inputs["a.sample"], &inputs["a.encoder_hidden_states"]);
    let conditioning = Conditioning {
        context: context.get(0).unwrap(),
        pooled: None,
        time_ids: None,
    };
    let sample = sample.narrow(0, 0, 1).unwrap();
    let predicted = |denoiser: &mut dyn Denoiser| {
        let prompt = denoiser.prepare(&conditioning).unwrap();
        let rows = [Row {
            timestep: 500.0,
            prompt: &prompt,
        }];
        denoiser.predict(&sample, &rows).unwrap()
    };
    let plain = predicted(&mut UNet::new(config.clone(), &weights()).unwrap());
    for isa in Isa::available() {
        let workers = Arc::new(Workers::new(2));
        let mut unet = CpuUnet::load_for(isa, &config, weights(), CpuPrecision::F32, workers).unwrap();
        let difference = worst(&predicted(&mut unet), &plain);
        assert!(difference < 1e-4, "{isa:?}: {difference}");
    }
}

/// A step that gives no numbers is told and then tried again when something has changed.
#[test]
fn a_prediction_that_is_no_number_does_not_spoil_the_next() {
    let (config, weights) = weights("tiny-sd15", "unet");
    let config = UNetConfig::from_json(&config).unwrap();
    let context = tensors_of_case("unet-sd15")["a.encoder_hidden_states"]
        .get(0)
        .unwrap();
    let broken = (&context * f64::NAN).unwrap();
    for precision in [CpuPrecision::F32, CpuPrecision::Bf16] {
        for (isa, side) in Isa::available()
            .into_iter()
            .flat_map(|isa| [(isa, 16), (isa, 32)])
        {
            let workers = Arc::new(Workers::new(1));
            let mut unet = CpuUnet::load_for(isa, &config, weights.clone(), precision, workers).unwrap();
            let latents = Tensor::ones((1, 4, side, side), DType::F32, &Device::Cpu).unwrap();
            let mut predicted = |context: &Tensor| -> Vec<f32> {
                let conditioning = Conditioning {
                    context: context.clone(),
                    pooled: None,
                    time_ids: None,
                };
                let prompt = unet.prepare(&conditioning).unwrap();
                let rows = [Row {
                    timestep: 500.0,
                    prompt: &prompt,
                }];
                let output = unet.predict(&latents, &rows).unwrap();
                output.flatten_all().unwrap().to_vec1().unwrap()
            };
            let before = predicted(&context);
            assert!(predicted(&broken).iter().any(|value| value.is_nan()));
            assert_eq!(predicted(&context), before, "{precision:?} on {isa:?} at {side}");
        }
    }
}

#[test]
fn what_the_kernels_cannot_compute_is_left_to_the_plain_network() {
    let supports = |json: &str| CpuUnet::supports(&UNetConfig::from_json(json.as_bytes()).unwrap());
    assert!(supports(r#"{"attention_head_dim": 8}"#));
    for json in [
        // Heads of 320 channels.
        r#"{"attention_head_dim": 4}"#,
        r#"{"attention_head_dim": [8, 8, 8, 4]}"#,
        // Transformers without blocks, on a level and in the middle alone.
        r#"{"transformer_layers_per_block": [0, 1, 1, 1]}"#,
        r#"{"transformer_layers_per_block": [1, 1, 1, 0]}"#,
    ] {
        assert!(!supports(json), "{json}");
    }
}

fn tensors_of_case(case: &str) -> BTreeMap<String, Tensor> {
    tensors(&format!("{case}/inputs.safetensors"))
}

#[test]
fn unets_in_bf16_come_close_to_the_reference() {
    for (case, model) in [
        ("unet-sd15", "tiny-sd15"),
        ("unet-sd21", "tiny-sd21"),
        ("unet-sdxl", "tiny-sdxl"),
    ] {
        for isa in Isa::available() {
            for (name, difference) in unet_differences(isa, CpuPrecision::Bf16, 2, case, model) {
                // Values reach 3 and pass through some hundred roundings to eight bits.
                assert!(difference <= 0.15, "{case} {name} on {isa:?}: {difference}");
            }
        }
    }
}

fn codec_differences(isa: Isa, precision: CpuPrecision) -> Vec<(String, f32)> {
    let (config, weights) = weights("tiny-sd15", "tiny_vae");
    let Ok(CodecConfig::Tiny(config)) = CodecConfig::from_json(&config) else {
        panic!("not a tiny one")
    };
    let workers = Arc::new(Workers::new(2));
    let mut codec = CpuTinyAutoencoder::load_for(isa, &config, weights, precision, workers).unwrap();
    let inputs = tensors("vae-tiny/inputs.safetensors");
    let expected = tensors("vae-tiny/expected.safetensors");
    let mut differences = Vec::new();
    for (name, expected) in &expected {
        let Some((batch, output)) = name.split_once('.') else {
            continue;
        };
        let ours = match output {
            "latents" => {
                let picture = inputs[&format!("{batch}.image")].affine(2.0, -1.0).unwrap();
                codec.encode(&picture, None).unwrap()
            }
            "decoder_output" => codec.decode(&inputs[&format!("{batch}.latent")]).unwrap(),
            _ => continue,
        };
        differences.push((name.clone(), worst(&ours, expected)));
    }
    assert!(differences.len() >= 4, "cases are missing");
    differences
}

#[test]
fn tiny_autoencoders_meet_the_reference_with_all_instructions() {
    for isa in Isa::available() {
        for (name, difference) in codec_differences(isa, CpuPrecision::F32) {
            let allowed = tolerance("vae-tiny", &name);
            assert!(
                difference <= allowed,
                "{name} on {isa:?}: {difference} > {allowed}"
            );
        }
    }
}

#[test]
fn tiny_autoencoders_in_bf16_come_close_to_the_reference() {
    for isa in Isa::available() {
        for (name, difference) in codec_differences(isa, CpuPrecision::Bf16) {
            assert!(difference <= 0.1, "{name} on {isa:?}: {difference}");
        }
    }
}

#[test]
fn threads_do_not_change_a_single_bit_of_a_prediction() {
    let (config, vb) = weights("tiny-sd15", "unet");
    let config = UNetConfig::from_json(&config).unwrap();
    let inputs = tensors("unet-sd15/inputs.safetensors");
    let sample = &inputs["a.sample"];
    for precision in [CpuPrecision::F32, CpuPrecision::Bf16] {
        let outputs: Vec<Vec<f32>> = (1..=3)
            .map(|threads| {
                let workers = Arc::new(Workers::new(threads));
                let mut unet = CpuUnet::load(&config, vb.clone(), precision, workers).unwrap();
                let context = inputs["a.encoder_hidden_states"].get(0).unwrap();
                let conditioning = Conditioning {
                    context,
                    pooled: None,
                    time_ids: None,
                };
                let prompt = unet.prepare(&conditioning).unwrap();
                let rows = vec![
                    Row {
                        timestep: 499.0,
                        prompt: &prompt
                    };
                    sample.dim(0).unwrap()
                ];
                unet.predict(sample, &rows)
                    .unwrap()
                    .flatten_all()
                    .unwrap()
                    .to_vec1()
                    .unwrap()
            })
            .collect();
        assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]), "{precision:?}");
    }
}

/// The text encoders of a recorded case, as far as it has them.
fn text_differences(isa: Isa, precision: CpuPrecision, case: &str, model: &str) -> Vec<(String, f32)> {
    let inputs = tensors(&format!("{case}/inputs.safetensors"));
    let expected = tensors(&format!("{case}/expected.safetensors"));
    let merges = include_str!("../../../../assets/clip/merges.txt");
    let mut differences = Vec::new();
    for part in ["text_encoder", "text_encoder_2"] {
        let Some(ids) = inputs.get(&format!("{part}.input_ids")) else {
            continue;
        };
        let (json, weights) = weights(model, part);
        let config = ClipConfig::from_json(&json).unwrap();
        let end: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let end = end["eos_token_id"].as_u64().unwrap() as u32;
        // Only its end token takes part, and the recorded ids have one of their own.
        let tokenizer = Arc::new(PromptTokenizer::clip(merges, None, config.positions).unwrap());
        let workers = Arc::new(Workers::new(2));
        let clip = CpuClip::load_for(isa, &config, tokenizer, weights, precision, workers).unwrap();
        for (row, ids) in ids.to_vec2::<i64>().unwrap().iter().enumerate() {
            let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
            let place = ids.iter().position(|&id| id == end).unwrap();
            let encoded = clip.encode_until(&ids, place, Wanted::Both).unwrap();
            let width = config.width;
            let pooled = &encoded.last[place * width..][..width];
            for (name, ours) in [
                ("penultimate", &encoded.penultimate[..]),
                ("last_hidden_state", &encoded.last),
                ("pooler_output", pooled),
                ("pooled_text_embeds", &encoded.pooled),
            ] {
                let name = format!("{part}.{name}");
                if let Some(expected) = expected.get(&name) {
                    let expected = expected.get(row).unwrap();
                    let ours = Tensor::new(ours, &Device::Cpu).unwrap();
                    let ours = ours.reshape(expected.shape()).unwrap();
                    differences.push((name, worst(&ours, &expected)));
                }
            }
        }
    }
    assert!(differences.len() >= 3, "cases are missing");
    differences
}

/// Those whose weights are there: the larger ones are not in the repository.
fn text_cases() -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        ("text-encoder-sd15", "tiny-sd15"),
        ("text-encoder-sd21", "tiny-sd21"),
        ("text-encoder-sdxl", "tiny-sdxl"),
    ]
    .into_iter()
    .filter(|(case, _)| *case == "text-encoder-sd15" || folder().join(case).exists())
}

#[test]
fn text_encoders_meet_the_reference_with_all_instructions() {
    for (case, model) in text_cases() {
        for isa in Isa::available() {
            for (name, difference) in text_differences(isa, CpuPrecision::F32, case, model) {
                let allowed = tolerance(case, &name);
                assert!(
                    difference <= allowed,
                    "{case} {name} on {isa:?}: {difference} > {allowed}"
                );
            }
        }
    }
}

#[test]
fn text_encoders_in_bf16_come_close_to_the_reference() {
    for (case, model) in text_cases() {
        for isa in Isa::available() {
            for (name, difference) in text_differences(isa, CpuPrecision::Bf16, case, model) {
                // Values reach 5.
                assert!(difference <= 0.15, "{case} {name} on {isa:?}: {difference}");
            }
        }
    }
}
