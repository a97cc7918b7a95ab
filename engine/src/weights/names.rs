//! Older and newer names of the same weights in diffusers folders.

use super::Network;

/// The name a network uses for a weight that a diffusers folder calls `stored`.
pub(crate) fn canonical(network: Network, stored: &str) -> String {
    match network {
        Network::TextEncoder | Network::TextEncoder2 => {
            stored.strip_prefix("text_model.").unwrap_or(stored).to_owned()
        }
        Network::Codec => {
            // The attention of AutoencoderKL was renamed once; many published files keep the old names.
            const RENAMED: [(&str, &str); 4] = [
                (".query.", ".to_q."),
                (".key.", ".to_k."),
                (".value.", ".to_v."),
                (".proj_attn.", ".to_out.0."),
            ];
            let mut name = stored.to_owned();
            for (old, new) in RENAMED {
                name = name.replace(old, new);
            }
            name
        }
        Network::Denoiser => stored.to_owned(),
    }
}
