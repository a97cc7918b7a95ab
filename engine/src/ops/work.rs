//! Counts what networks compute, to tell how much of a device's speed they reach.
use std::sync::atomic::{AtomicU64, Ordering};

static MULTIPLICATIONS: AtomicU64 = AtomicU64::new(0);

/// Adds what one kernel computes.
pub(crate) fn count(multiplications: usize) {
    MULTIPLICATIONS.fetch_add(multiplications as u64, Ordering::Relaxed);
}

/// Multiplications (each with an addition) in matrix products and attention that all threads of this process have
/// begun so far. Only those that a result needs are counted: padding and what is thrown away are left out.
pub(crate) fn multiplications() -> u64 {
    MULTIPLICATIONS.load(Ordering::Relaxed)
}
