//! Looking into a network while it runs.

use std::{cell::RefCell, collections::BTreeMap, fmt};

use candle_core::Tensor;

/// Keeps intermediate results by name where a test asks for them; otherwise it does nothing and costs nothing.
#[derive(Debug, Default)]
pub struct Trace {
    kept: Option<RefCell<BTreeMap<String, Tensor>>>,
}

impl Trace {
    /// Keeps nothing.
    pub const OFF: Self = Self { kept: None };

    /// Keeps everything.
    pub fn new() -> Self {
        Self {
            kept: Some(RefCell::default()),
        }
    }

    /// Whether anything is kept.
    pub(crate) fn is_on(&self) -> bool {
        self.kept.is_some()
    }

    /// Keeps a result, unless there is one of the same name already.
    pub(crate) fn keep(&self, name: fmt::Arguments<'_>, tensor: &Tensor) {
        if let Some(kept) = &self.kept {
            let mut kept = kept.borrow_mut();
            kept.entry(name.to_string()).or_insert_with(|| tensor.clone());
        }
    }

    /// What was kept.
    pub fn into_tensors(self) -> BTreeMap<String, Tensor> {
        self.kept.map(RefCell::into_inner).unwrap_or_default()
    }
}
