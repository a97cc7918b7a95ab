//! Kind `centering`: rolling latents so that a mask lies in the middle, and back; exact.

use anyhow::{Context as _, Result};
use wordbrush_engine::low_level::stream::{
    centering::{Shift, from_center, to_center},
    masks::LatentSize,
};

use super::case::Case;

pub(crate) fn replay(case: &mut Case) -> Result<()> {
    let sets: Vec<String> = case.settings["mask_names"]
        .as_object()
        .context("case.json has no mask_names")?
        .keys()
        .cloned()
        .collect();
    let tolerance = case.settings["tolerance"].as_f64().unwrap_or(0.0);
    for set in sets {
        let latents = case.input(&format!("{set}.latents"))?.clone();
        let masks = case.input(&format!("{set}.masks"))?;
        let (_, _, height, width) = masks.dims4()?;
        let size = LatentSize { height, width };
        let masks = masks.flatten_from(1)?.to_vec2::<f32>()?;
        let shifts: Vec<Shift> = masks.iter().map(|mask| Shift::of_mask(mask, size)).collect();
        let centred = to_center(&latents, &shifts)?;
        let back = from_center(&latents, &shifts)?;
        case.check_within(&format!("{set}.to_center"), &centred, tolerance)?;
        case.check_within(&format!("{set}.from_center"), &back, tolerance)?;
    }
    Ok(())
}
