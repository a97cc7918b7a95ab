//! The latents on their way, and the choice between the two orders of the same steps.

use candle_core::Tensor;

use crate::api::FrameKind;

/// The latents on their way.
pub(super) enum Flight {
    /// The latent that waits before each slot; the first waits for fresh noise.
    Batch(Vec<Option<Tensor>>),
    /// One picture: the slot it has come to and its latent.
    Sequential {
        slot: usize,
        latent: Option<Tensor>,
        /// Whether the canvas changed since the first slot.
        is_outdated: bool,
    },
}

/// The order in which a stream makes its steps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Batch,
    Sequential,
}

impl Flight {
    pub(super) fn empty(order: Order, slots: usize) -> Self {
        match order {
            Order::Batch => Self::Batch(vec![None; slots]),
            Order::Sequential => Self::Sequential {
                slot: 0,
                latent: None,
                is_outdated: false,
            },
        }
    }

    pub(super) fn is_in(&self, order: Order) -> bool {
        matches!(
            (self, order),
            (Self::Batch(_), Order::Batch) | (Self::Sequential { .. }, Order::Sequential)
        )
    }
}

/// How fast the device is, to choose between the two orders.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    /// Rows per second with one noise level in a batch.
    pub one_level: f64,
    /// Rows per second with all noise levels in a batch.
    pub all_levels: f64,
}

impl Throughput {
    /// Of a device that is so slow that a batch of all levels is out of the question.
    pub const TOO_SLOW_FOR_BATCHES: Self = Self {
        one_level: 1.0,
        all_levels: 0.0,
    };

    /// Whether a batch of all levels is worth waiting for.
    ///
    /// A batch answers an edit after `T` rows' time per region where a pass needs one. It pays where that costs at most
    /// two passes: the picture is then complete after at most twice the time, with `T / 2` times as many frames.
    pub(super) fn favours_batch(self, slots: usize) -> bool {
        self.all_levels >= self.one_level * slots as f64 / 2.0
    }
}

/// What a step made, before it is taken over.
pub(super) struct Made {
    pub(super) flight: Flight,
    pub(super) latent: Option<Tensor>,
    pub(super) kind: FrameKind,
    pub(super) steps_left: usize,
    pub(super) rows: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_worth_it_where_it_costs_at_most_two_passes() {
        let throughput = |all_levels| Throughput {
            one_level: 100.0,
            all_levels,
        };
        assert!(throughput(250.0).favours_batch(5));
        assert!(!throughput(240.0).favours_batch(5));
        for slots in [1, 5, 50] {
            assert!(!Throughput::TOO_SLOW_FOR_BATCHES.favours_batch(slots));
        }
    }
}
