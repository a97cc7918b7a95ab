//! The method: regions denoised together, averaged under their masks, with several half-finished pictures in flight.

pub mod blur;
pub mod centering;
pub mod masks;
pub mod noise;
