//! Kind `masks`: cover, blur, strength, quantisation, sampling.

use anyhow::{Context as _, Result, bail};
use candle_core::{Device, Tensor};
use serde_json::Value;
use wordbrush_engine::{
    api::{BackgroundNoise, MaskMode},
    low_level::{
        schedule::{NoiseSchedule, SlotTable, StepIndex, lcm::Grid},
        stream::masks::{LatentSize, MaskPlanes, MaskRequest, prepare, quantise},
        traits::Prediction,
    },
};

use super::case::{Case, usizes};

/// Pixels per latent cell.
const DOWNSCALE: usize = 8;

pub(crate) fn replay(case: &mut Case) -> Result<()> {
    let sub_cases = case.settings["sub_cases"]
        .as_array()
        .context("case.json has no sub_cases")?
        .clone();
    for sub_case in &sub_cases {
        let name = sub_case["name"].as_str().context("a sub-case without a name")?;
        replay_one(case, name, sub_case).with_context(|| format!("sub-case {name}"))?;
    }
    Ok(())
}

fn replay_one(case: &mut Case, name: &str, sub_case: &Value) -> Result<()> {
    let slots = slots(&sub_case["t_index_list"])?;
    let masks = case.input(sub_case["input"].as_str().context("no input")?)?;
    let (count, _, height, width) = masks.dims4()?;
    let masks = masks.flatten_from(1)?.to_vec2::<f32>()?;
    let request = MaskRequest {
        cover_alpha: sub_case["preprocess_mask_cover_alpha"].as_f64().unwrap_or(0.0) as f32,
        stds_px: exactly_each(&sub_case["mask_std"], count)?,
        strengths: exactly_each(&sub_case["mask_strength"], count)?,
    };
    let mode = mask_mode(&sub_case["mask_type"])?;

    let sampled = prepare(&masks, width, &request, DOWNSCALE);
    let quantised: Vec<Vec<f32>> = sampled.iter().map(|mask| quantise(mask, mode, &slots)).collect();
    let size = LatentSize {
        height: height.div_ceil(DOWNSCALE),
        width: width.div_ceil(DOWNSCALE),
    };
    let quantised: Vec<&[f32]> = quantised.iter().map(Vec::as_slice).collect();
    let planes = MaskPlanes::new(size, slots.count(), &quantised);
    case.check(&format!("{name}.masks"), &masks_by_region(&planes)?)?;
    let per_slot = |values: Vec<f32>| {
        Tensor::from_vec(values, (slots.count(), 1, size.height, size.width), &Device::Cpu)
    };
    case.check(&format!("{name}.counts"), &per_slot(planes.counts.clone())?)?;
    case.check(&format!("{name}.bg_mask"), &per_slot(planes.background())?)?;

    let blurred = format!("{name}.blurred_full_resolution");
    if case.expects(&blurred) {
        let without_strength = MaskRequest {
            strengths: vec![1.0; count],
            ..request
        };
        let full = prepare(&masks, width, &without_strength, 1).concat();
        let full = Tensor::from_vec(full, (count, 1, height, width), &Device::Cpu)?;
        case.check(&blurred, &full)?;
    }
    if let Some((list, _)) = name.split_once('.') {
        let levels = |value: fn(&wordbrush_engine::low_level::schedule::Slot) -> f64| {
            let values: Vec<f64> = slots.slots().iter().map(value).collect();
            Tensor::new(values, &Device::Cpu)
        };
        case.check_once(&format!("{list}.noise_lvs"), &levels(|slot| slot.noise_level)?)?;
        case.check_once(
            &format!("{list}.next_noise_lvs"),
            &levels(|slot| slot.next_noise_level)?,
        )?;
    }
    Ok(())
}

/// The slots of a list of indexes of the 50-step grid.
fn slots(list: &Value) -> Result<SlotTable> {
    let schedule = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000);
    let indexes: Vec<StepIndex> = usizes(list)?.into_iter().map(StepIndex).collect();
    Ok(Grid::new(&schedule, 50)?.slots(
        &schedule,
        &indexes,
        Prediction::Epsilon,
        BackgroundNoise::Reference,
    )?)
}

/// `[p, T, 1, h, w]`, as the reference keeps masks.
pub(crate) fn masks_by_region(planes: &MaskPlanes) -> Result<Tensor> {
    let shape = (
        planes.slots,
        planes.regions,
        1,
        planes.size.height,
        planes.size.width,
    );
    Ok(Tensor::from_slice(&planes.masks, shape, &Device::Cpu)?.transpose(0, 1)?)
}

/// The mode that a name of the reference means.
pub(crate) fn mask_mode(name: &Value) -> Result<MaskMode> {
    serde_json::from_value(name.clone()).with_context(|| format!("mask type {name}"))
}

/// One number for all, alone or in a list, or a list of one each.
pub(crate) fn one_or_each(value: &Value, count: usize) -> Result<Vec<f32>> {
    if let Some(all) = value.as_f64() {
        return Ok(vec![all as f32; count]);
    }
    let list = value
        .as_array()
        .and_then(|list| {
            list.iter()
                .map(|value| value.as_f64().map(|value| value as f32))
                .collect::<Option<Vec<f32>>>()
        })
        .with_context(|| format!("{value} is neither a number nor a list of numbers"))?;
    Ok(match list[..] {
        [all] => vec![all; count],
        _ => list,
    })
}

/// As [`one_or_each`], where there must be one for each.
pub(crate) fn exactly_each(value: &Value, count: usize) -> Result<Vec<f32>> {
    let list = one_or_each(value, count)?;
    if list.len() != count {
        bail!("{value} has not one number for each of {count}");
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_single_number_is_that_of_all_also_in_a_list() {
        for value in [json!(0.5), json!([0.5])] {
            assert_eq!(one_or_each(&value, 3).unwrap(), [0.5; 3]);
        }
        assert_eq!(one_or_each(&json!([1, 2, 3]), 3).unwrap(), [1.0, 2.0, 3.0]);
        assert!(exactly_each(&json!([1, 2]), 3).is_err());
        assert!(one_or_each(&json!(["one"]), 1).is_err());
    }
}
