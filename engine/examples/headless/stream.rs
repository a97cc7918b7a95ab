//! A model with a stream of one canvas.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result};
use candle_core::Tensor;
use wordbrush_engine::{
    api::{FrameKind, Picture, Revision, Scene},
    low_level::{
        stream::Session,
        traits::{Conditioning, ModelParts},
    },
};

/// A model with a session and the prompts it has encoded.
pub(crate) struct Stream {
    pub(crate) parts: ModelParts,
    pub(crate) session: Session,
    prompts: RefCell<BTreeMap<String, Arc<Conditioning>>>,
    revision: u64,
}

impl Stream {
    pub(crate) fn new(parts: ModelParts) -> Self {
        Self {
            session: Session::new(&parts),
            parts,
            prompts: RefCell::default(),
            revision: 0,
        }
    }

    /// Forgets everything that was streamed.
    pub(crate) fn restart(&mut self) {
        self.session = Session::new(&self.parts);
    }

    pub(crate) fn apply(&mut self, scene: &Scene) -> Result<()> {
        self.revision += 1;
        let lookup = |prompt: &str| {
            if let Some(known) = self.prompts.borrow().get(prompt) {
                return Some(Arc::clone(known));
            }
            let encoded = Arc::new(self.parts.text_encoder.encode(prompt).ok()?);
            self.prompts
                .borrow_mut()
                .insert(prompt.to_owned(), Arc::clone(&encoded));
            Some(encoded)
        };
        self.session
            .apply(Revision(self.revision), scene, &lookup, &self.parts)?;
        Ok(())
    }

    /// One step, and its picture if it has one.
    pub(crate) fn step(&mut self) -> Result<Option<(Picture, FrameKind)>> {
        let outcome = self.session.step(self.parts.denoiser.as_mut())?;
        let Some(latent) = outcome.latent else {
            return Ok(None);
        };
        let decoded = self.decode(&latent)?;
        Ok(Some((self.session.picture(&decoded)?, outcome.kind)))
    }

    /// The decoded latent, `[1, 3, H, W]` in -1..1.
    pub(crate) fn decode(&mut self, latent: &Tensor) -> Result<Tensor> {
        Ok(self.parts.codec.decode(&latent.to_dtype(self.parts.dtype)?)?)
    }

    /// The latent of a settled stream.
    pub(crate) fn settled_latent(&mut self) -> Result<Tensor> {
        let outcome = self.session.step(self.parts.denoiser.as_mut())?;
        outcome.latent.context("a settled stream has a latent")
    }

    /// Steps until nothing changes any more.
    pub(crate) fn settle(&mut self) -> Result<Picture> {
        loop {
            let picture = self.step()?;
            if self.session.is_settled() {
                return Ok(picture.context("a settled stream has a picture")?.0);
            }
        }
    }
}
