//! Tokenizers and text encoders.

use anyhow::{Context as _, Result};
use candle_core::{Device, Tensor};
use serde_json::Value;
use wordbrush_engine::low_level::{Compute, models::folder::TextNetwork};

use super::case::{Case, with_folder};

/// Kind "tokenizer": prompts to ids, and their length without truncation.
pub(crate) fn tokenizer(case: &mut Case, compute: &Compute) -> Result<()> {
    let settings = case.settings.clone();
    let prompts = strings(&settings["prompts"])?;
    let tokenizers = settings["tokenizers"].as_object().context("no tokenizers")?;
    for name in tokenizers.keys() {
        let folder = case.path_in("tokenizers", name)?;
        let expected = format!("ids.{name}");
        let tensor = case.recorded(&expected);
        let capacity = tensor.with_context(|| format!("no {expected}"))?.dim(1)?;
        let tokenizer = with_folder(&folder, compute, |model| Ok(model.tokenizer(".", capacity)?))?;

        let ids: Vec<i64> = prompts
            .iter()
            .flat_map(|prompt| tokenizer.encode(prompt))
            .map(i64::from)
            .collect();
        let ids = Tensor::from_vec(ids, (prompts.len(), capacity), &Device::Cpu)?;
        case.check(&expected, &ids)?;

        let counts = settings["token_count_without_truncation"][name].as_array();
        let counts = counts.context("no token counts")?;
        let is_equal = prompts.len() == counts.len()
            && prompts
                .iter()
                .zip(counts)
                .all(|(prompt, count)| count.as_u64() == Some(tokenizer.count(prompt) as u64));
        case.check_equal(&format!("count.{name}"), is_equal);
    }
    Ok(())
}

/// Kind "text-encoder": ids and prompts to embeddings.
pub(crate) fn encoders(case: &mut Case, compute: &Compute) -> Result<()> {
    let settings = case.settings.clone();
    let prompts = strings(&settings["prompts"])?;
    let mut penultimates = Vec::new();
    for (network, name) in [
        (TextNetwork::First, "text_encoder"),
        (TextNetwork::Second, "text_encoder_2"),
    ] {
        let input = format!("{name}.input_ids");
        if !case.has_input(&input) {
            continue;
        }
        let encoder = case.with_model(compute, |model| Ok(model.text_encoder(network)?))?;
        let ids = case.input(&input)?.to_vec2::<i64>()?;
        let ids: Vec<Vec<u32>> = ids
            .into_iter()
            .map(|row| row.into_iter().map(|id| id as u32).collect())
            .collect();
        let own: Vec<Vec<u32>> = prompts
            .iter()
            .map(|prompt| encoder.tokenizer().encode(prompt))
            .collect();
        case.check_equal(&input, own == ids);

        let output = encoder.forward(&ids)?;
        for (part, tensor) in [
            ("hidden_states.0", Some(&output.embeddings)),
            ("penultimate", Some(&output.penultimate)),
            ("last_hidden_state", Some(&output.last)),
            ("pooler_output", Some(&output.pooled)),
            ("pooled_text_embeds", output.projected.as_ref()),
        ] {
            if let Some(tensor) = tensor {
                case.check_if_expected(&format!("{name}.{part}"), tensor)?;
            }
        }
        penultimates.push(output.penultimate);
    }
    case.check_if_expected("prompt_embeds", &Tensor::cat(&penultimates, 2)?)?;
    Ok(())
}

fn strings(list: &Value) -> Result<Vec<&str>> {
    let list = list.as_array().context("no list of prompts")?;
    list.iter()
        .map(|value| value.as_str().context("a prompt is no text"))
        .collect()
}
