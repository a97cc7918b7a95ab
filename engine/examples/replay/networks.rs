//! Denoisers and image codecs.

use anyhow::{Context as _, Result, bail};
use candle_core::Tensor;
use wordbrush_engine::low_level::{
    Compute, Trace,
    models::folder::Codec,
    traits::{Conditioning, Denoiser as _, ImageCodec as _, PreparedPrompt, Row},
};

use super::case::Case;

/// Kind "unet": a forward pass per batch, every row at its own timestep.
pub(crate) fn unet(case: &mut Case, compute: &Compute) -> Result<()> {
    let mut unet = case.with_model(compute, |model| Ok(model.unet()?))?;
    for batch in case.batches()? {
        let named = |part: &str| format!("{batch}.{part}");
        let latents = case.network_input(&named("sample"), compute)?;
        let timesteps: Vec<f64> = numbers(case.input(&named("timestep"))?)?;
        let prompts: Vec<PreparedPrompt> = (0..timesteps.len())
            .map(|row| Ok(unet.prepare(&conditioning(case, &batch, row, compute)?)?))
            .collect::<Result<_>>()?;
        let rows: Vec<Row<'_>> = timesteps
            .iter()
            .zip(&prompts)
            .map(|(&timestep, prompt)| Row { timestep, prompt })
            .collect();
        let trace = Trace::new();
        let output = unet.predict_traced(&latents, &rows, &trace)?;
        case.check(&named("output"), &output)?;
        for (name, tensor) in trace.into_tensors() {
            case.check_if_expected(&format!("{batch}.act.{name}"), &tensor)?;
        }
    }
    Ok(())
}

/// What one row of a batch is conditioned on.
fn conditioning(case: &Case, batch: &str, row: usize, compute: &Compute) -> Result<Conditioning> {
    let of_row = |part: &str| -> Result<Tensor> {
        Ok(case
            .network_input(&format!("{batch}.{part}"), compute)?
            .get(row)?)
    };
    let has_added = case.has_input(&format!("{batch}.text_embeds"));
    let time_ids = if has_added {
        let ids = case.input(&format!("{batch}.time_ids"))?.get(row)?;
        let ids: Vec<f32> = numbers(&ids)?.into_iter().map(|id| id as f32).collect();
        let ids: [f32; 6] = ids.try_into().ok().context("time_ids must be six numbers")?;
        Some(ids)
    } else {
        None
    };
    Ok(Conditioning {
        context: of_row("encoder_hidden_states")?,
        pooled: has_added.then(|| of_row("text_embeds")).transpose()?,
        time_ids,
    })
}

/// Kind "vae-tiny": pictures to latents, latents to pictures.
pub(crate) fn tiny_codec(case: &mut Case, compute: &Compute) -> Result<()> {
    let Codec::Tiny(mut codec) = codec(case, compute)? else {
        bail!("the model's autoencoder is no AutoencoderTiny");
    };
    for batch in case.batches()? {
        let pictures = pictures(case, &batch, compute)?;
        let named = |part: &str| format!("{batch}.{part}");
        case.check(&named("encoder_output"), &codec.encode_raw(&pictures)?)?;
        case.check(&named("latents"), &codec.encode(&pictures, None)?)?;
        let decoded = codec.decode(&case.network_input(&named("latent"), compute)?)?;
        compare_decoded(case, &batch, &decoded)?;
    }
    Ok(())
}

/// Kind "vae-kl": as "vae-tiny", with the distribution of latents and samples from given noise.
pub(crate) fn kl_codec(case: &mut Case, compute: &Compute) -> Result<()> {
    let Codec::Kl(mut codec) = codec(case, compute)? else {
        bail!("the model's autoencoder is no AutoencoderKL");
    };
    for batch in case.batches()? {
        let pictures = pictures(case, &batch, compute)?;
        let named = |part: &str| format!("{batch}.{part}");
        let distribution = codec.encode_raw(&pictures)?;
        case.check(&named("mean"), &distribution.mean)?;
        case.check(&named("logvar"), &distribution.logvar)?;
        case.check(&named("latents_mode"), &codec.encode(&pictures, None)?)?;
        let noise = case.network_input(&named("noise"), compute)?;
        let sample = codec.encode(&pictures, Some(&noise))?;
        case.check(&named("latents_sample"), &sample)?;
        let decoded = codec.decode(&case.network_input(&named("latent"), compute)?)?;
        compare_decoded(case, &batch, &decoded)?;
    }
    Ok(())
}

fn codec(case: &Case, compute: &Compute) -> Result<Codec> {
    let subfolder = case.settings["vae"].as_str().context("case.json names no vae")?;
    case.with_model(compute, |model| Ok(model.codec(subfolder)?))
}

/// Recorded pictures hold 0..1; codecs take -1..1.
fn pictures(case: &Case, batch: &str, compute: &Compute) -> Result<Tensor> {
    let pictures = case.network_input(&format!("{batch}.image"), compute)?;
    Ok(((pictures * 2.0)? - 1.0)?)
}

fn compare_decoded(case: &mut Case, batch: &str, decoded: &Tensor) -> Result<()> {
    case.check(&format!("{batch}.decoder_output"), decoded)?;
    let picture = ((decoded / 2.0)? + 0.5)?.clamp(0.0, 1.0)?;
    case.check(&format!("{batch}.decoded_image"), &picture)
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor
        .to_dtype(candle_core::DType::F64)?
        .flatten_all()?
        .to_vec1()?)
}
