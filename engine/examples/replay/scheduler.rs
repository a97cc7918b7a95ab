//! Kind `lcm-scheduler`: tables, noising, and whole denoising loops with a recorded model.

use anyhow::{Context as _, Result};
use candle_core::{Device, Tensor};
use wordbrush_engine::{
    api::BackgroundNoise,
    low_level::{
        schedule::{
            NoiseSchedule, StepIndex, Timestep,
            lcm::{Grid, boundary_scalings},
        },
        traits::Prediction,
    },
};

use super::case::{Case, usizes};

/// Steps of the grid that the lists of indexes point into.
const LIST_GRID: usize = 50;

pub(crate) fn replay(case: &mut Case) -> Result<()> {
    let schedule = case.noise_schedule("scheduler")?;
    case.check("betas", &table(schedule.betas().iter().copied())?)?;
    case.check("alphas_cumprod", &table(schedule.alpha_bars().iter().copied())?)?;
    case.check("init_noise_sigma", &Tensor::new(1.0_f32, &Device::Cpu)?)?;
    add_noise(case, &schedule)?;
    for steps in usizes(&case.settings["inference_steps"])? {
        inference(case, &schedule, steps)?;
    }
    let lists = case.settings["t_index_lists"]
        .as_object()
        .context("case.json has no t_index_lists")?
        .clone();
    for (name, list) in lists {
        let indexes: Vec<StepIndex> = usizes(&list)?.into_iter().map(StepIndex).collect();
        let grid = Grid::new(&schedule, LIST_GRID)?;
        let slots = grid.slots(
            &schedule,
            &indexes,
            Prediction::Epsilon,
            BackgroundNoise::Reference,
        )?;
        let slots = slots.slots();
        let check = |case: &mut Case, part: &str, values: Vec<f64>| {
            case.check(&format!("{name}.{part}"), &table(values)?)
        };
        check(
            case,
            "sub_timesteps",
            slots.iter().map(|slot| slot.timestep.0).collect(),
        )?;
        check(
            case,
            "alpha_prod_t_sqrt",
            slots.iter().map(|slot| slot.noising.signal).collect(),
        )?;
        check(
            case,
            "beta_prod_t_sqrt",
            slots.iter().map(|slot| slot.noising.noise).collect(),
        )?;
        let scalings = |slot| boundary_scalings(slot);
        check(
            case,
            "c_skip",
            slots.iter().map(|slot| scalings(slot.timestep).0).collect(),
        )?;
        check(
            case,
            "c_out",
            slots.iter().map(|slot| scalings(slot.timestep).1).collect(),
        )?;
    }
    Ok(())
}

fn table(values: impl IntoIterator<Item = f64>) -> Result<Tensor> {
    let values: Vec<f64> = values.into_iter().collect();
    let count = values.len();
    Ok(Tensor::from_vec(values, count, &Device::Cpu)?)
}

fn add_noise(case: &mut Case, schedule: &NoiseSchedule) -> Result<()> {
    let timesteps = case.input("add_noise_timesteps")?.to_vec1::<i64>()?;
    let (clean, noise) = (case.input("x0")?, case.input("noise")?);
    let rows = timesteps
        .iter()
        .enumerate()
        .map(|(row, &timestep)| {
            let noising = schedule.noising(Timestep(timestep as f64));
            Ok(noising.apply(&clean.narrow(0, row, 1)?, &noise.narrow(0, row, 1)?)?)
        })
        .collect::<Result<Vec<Tensor>>>()?;
    case.check("add_noise", &Tensor::cat(&rows, 0)?)
}

fn inference(case: &mut Case, schedule: &NoiseSchedule, steps: usize) -> Result<()> {
    let grid = Grid::new(schedule, steps)?;
    let timesteps = grid.timesteps();
    case.check(
        &format!("timesteps{steps}"),
        &table(timesteps.iter().map(|timestep| timestep.0))?,
    )?;
    let scalings: Vec<(f64, f64)> = timesteps
        .iter()
        .map(|&timestep| boundary_scalings(timestep))
        .collect();
    case.check(
        &format!("c_skip{steps}"),
        &table(scalings.iter().map(|pair| pair.0))?,
    )?;
    case.check(
        &format!("c_out{steps}"),
        &table(scalings.iter().map(|pair| pair.1))?,
    )?;
    if !case.expects(&format!("denoise{steps}.prev_sample")) {
        return Ok(());
    }

    let model = case.settings["denoise_model"]
        .as_str()
        .context("case.json has no denoise_model")?;
    let (of_noise, of_latent) = (factor_of(model, "denoiseN.eps[i]")?, factor_of(model, "x")?);
    let all: Vec<StepIndex> = (0..steps).map(StepIndex).collect();
    let slots = grid.slots(schedule, &all, Prediction::Epsilon, BackgroundNoise::Reference)?;
    let recorded = case.input(&format!("denoise{steps}.eps"))?.clone();
    let step_noise = case.input(&format!("denoise{steps}.step_noise"))?.clone();
    let mut latent = case.input(&format!("denoise{steps}.initial"))?.clone();
    let (mut latents, mut predictions) = (Vec::new(), Vec::new());
    for (step, slot) in slots.slots().iter().enumerate() {
        let epsilon = ((recorded.get(step)? * of_noise)? + (&latent * of_latent)?)?;
        let clean = ((&latent * slot.result.latent)? + (epsilon * slot.result.prediction)?)?;
        latent = if step + 1 < steps {
            slot.onward.apply(&clean, &step_noise.get(step)?)?
        } else {
            clean.clone()
        };
        latents.push(latent.clone());
        predictions.push(clean);
    }
    case.check(
        &format!("denoise{steps}.prev_sample"),
        &Tensor::stack(&latents, 0)?,
    )?;
    case.check(
        &format!("denoise{steps}.denoised"),
        &Tensor::stack(&predictions, 0)?,
    )
}

/// The number that a sentence such as "... is 0.5 * denoiseN.eps[i] + 0.6 * x; ..." multiplies something with.
fn factor_of(sentence: &str, what: &str) -> Result<f64> {
    let words: Vec<&str> = sentence
        .split(|letter: char| letter.is_whitespace() || letter == ';' || letter == ',')
        .filter(|word| !word.is_empty())
        .collect();
    let place = (1..words.len().saturating_sub(1))
        .find(|&place| words[place] == "*" && words[place + 1] == what)
        .with_context(|| format!("denoise_model multiplies nothing with {what:?}: {sentence:?}"))?;
    let factor: f64 = words[place - 1]
        .parse()
        .with_context(|| format!("denoise_model has no number before {what:?}: {sentence:?}"))?;
    let is_taken_away = place >= 2 && words[place - 2] == "-";
    Ok(if is_taken_away { -factor } else { factor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_those_that_the_case_says() {
        let model = "model output at step i (0-based) for sample x is 0.25 * denoiseN.eps[i] - 1e-1 * x; step noise i";
        assert_eq!(factor_of(model, "denoiseN.eps[i]").unwrap(), 0.25);
        assert_eq!(factor_of(model, "x").unwrap(), -0.1);
        assert!(factor_of("is denoiseN.eps[i] + x", "x").is_err());
        assert!(factor_of("is half * x", "x").is_err());
        assert!(factor_of("", "x").is_err());
    }
}
