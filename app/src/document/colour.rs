//! Colours that tell regions apart.

const FIRST: [[u8; 3]; 5] = [
    [0x26, 0x92, 0xF3],
    [0xF8, 0x9E, 0x12],
    [0x16, 0xC2, 0x32],
    [0xF9, 0x2F, 0x6C],
    [0xAC, 0x6A, 0xEB],
];

/// Colour of the region with an index, counted from 0, sRGB.
///
/// Five hand-picked ones first, then hues that keep turning by the golden angle, so that neighbours in the list
/// never look alike.
pub fn region_colour(index: usize) -> [u8; 3] {
    const GOLDEN_TURN: f64 = 0.381_966_011_250_105;
    FIRST.get(index).copied().unwrap_or_else(|| {
        let turns = (index - FIRST.len()) as f64;
        let hue = (0.14 + turns * GOLDEN_TURN).fract();
        // Three shades in turn: hues repeat nearly after 13 and 21 steps, their shades then differ.
        let (saturation, value) = [(0.75, 0.95), (0.55, 0.85), (0.85, 0.75)][index % 3];
        rgb_from_hsv(hue, saturation, value)
    })
}

fn rgb_from_hsv(hue: f64, saturation: f64, value: f64) -> [u8; 3] {
    [5.0, 3.0, 1.0].map(|offset: f64| {
        let k = (offset + hue * 6.0) % 6.0;
        let channel = value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0);
        (channel * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_by_index_are_the_known_ones() {
        assert_eq!(region_colour(0), [0x26, 0x92, 0xF3]);
        assert_eq!(region_colour(4), [0xAC, 0x6A, 0xEB]);
    }

    #[test]
    fn forty_regions_have_forty_distinct_colours() {
        let colours: Vec<_> = (0..40).map(region_colour).collect();
        for (i, a) in colours.iter().enumerate() {
            for b in &colours[..i] {
                let distance: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
                assert!(distance > 12, "{a:?} and {b:?} look alike");
            }
        }
    }

    #[test]
    fn hsv_corners_are_right() {
        assert_eq!(rgb_from_hsv(0.0, 1.0, 1.0), [255, 0, 0]);
        assert_eq!(rgb_from_hsv(1.0 / 3.0, 1.0, 1.0), [0, 255, 0]);
        assert_eq!(rgb_from_hsv(2.0 / 3.0, 1.0, 1.0), [0, 0, 255]);
    }
}
