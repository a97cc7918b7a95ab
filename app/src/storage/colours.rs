//! Colours by which regions are told apart.

/// The colour of the region with this index (0 is the first region above the background).
///
/// Five hand-picked colours come first; further hues advance by the golden angle, so that neighbours differ.
pub fn region_colour(index: usize) -> [u8; 3] {
    const FIRST: [[u8; 3]; 5] = [
        [0x26, 0x92, 0xF3],
        [0xF8, 0x9E, 0x12],
        [0x16, 0xC2, 0x32],
        [0xF9, 0x2F, 0x6C],
        [0xAC, 0x6A, 0xEB],
    ];
    const GOLDEN_ANGLE_TURNS: f64 = 0.381_966_011_250_105;
    FIRST.get(index).copied().unwrap_or_else(|| {
        let hue_turns = (index as f64 * GOLDEN_ANGLE_TURNS).fract();
        rgb_from_hue(hue_turns, 0.72, 0.92)
    })
}

fn rgb_from_hue(hue_turns: f64, saturation: f64, value: f64) -> [u8; 3] {
    [5.0, 3.0, 1.0].map(|offset| {
        let k = (offset + hue_turns * 6.0) % 6.0;
        let level = value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0);
        (level * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_hundred_regions_have_a_hundred_colours() {
        let colours: BTreeSet<_> = (0..100).map(region_colour).collect();
        assert_eq!(colours.len(), 100);
        assert_eq!(region_colour(0), [0x26, 0x92, 0xF3]);
        assert!(!colours.contains(&[0, 0, 0]), "black is the background's");
    }
}
