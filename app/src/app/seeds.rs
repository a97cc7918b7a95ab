//! Seeds that nobody chose.

use std::hash::{BuildHasher as _, RandomState};

use wordbrush_engine::api::Seed;

/// Draws seeds, each as likely as any other.
pub(super) struct SeedSource {
    state: u64,
}

impl SeedSource {
    /// Larger numbers lose their last digits in the fields for seeds, and in most of what reads JSON.
    const BITS: u32 = 53;

    /// Begins where the system's own randomness says.
    pub(super) fn new() -> Self {
        Self::beginning_at(RandomState::new().hash_one(0_u8))
    }

    fn beginning_at(state: u64) -> Self {
        Self { state }
    }

    /// The next one, by `SplitMix64` (Steele, Lea and Flood 2014), which goes through every state before one comes again.
    pub(super) fn draw(&mut self) -> Seed {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Seed((mixed ^ (mixed >> 31)) >> (u64::BITS - Self::BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_follow_from_the_first_and_fill_their_range() {
        // The generator's published first numbers for 1234567.
        let mut source = SeedSource::beginning_at(1_234_567);
        let first = [source.draw(), source.draw()].map(|seed| seed.0);
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317_u64 >> 11,
                3_203_168_211_198_807_973_u64 >> 11
            ]
        );
        let seeds: Vec<u64> = (0..1000).map(|_| source.draw().0).collect();
        let middle = 1 << (SeedSource::BITS - 1);
        let high = seeds.iter().filter(|seed| **seed >= middle).count();
        assert!((400..600).contains(&high), "{high}");
        assert!(seeds.iter().all(|seed| *seed as f64 as u64 == *seed));
    }
}
