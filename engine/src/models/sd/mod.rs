//! The Stable Diffusion family: 1.x, 2.x, XL and the pocket model are configurations of the same networks.

pub mod clip;
mod transformer;
pub mod unet;
