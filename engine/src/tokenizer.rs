//! CLIP's byte-pair encoding, through the crate `tokenizers`.

/// Turns prompts into token ids of a fixed length and tells how many tokens a prompt has.
#[derive(Debug)]
pub struct PromptTokenizer {
    length: usize,
}

impl PromptTokenizer {
    /// Tokens a prompt may have, start and end included (77 for Stable Diffusion).
    pub fn capacity(&self) -> usize {
        self.length
    }
}
