//! Models are loaded on a thread of their own while the stream goes on with the one it has.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crossbeam_channel::{Receiver, bounded};

use super::outlet::Outlet;
use crate::{
    Error, Result,
    api::{DeviceChoice, ModelChoice, Phase, Precision},
    device::{Compute, abandon},
    error::failure_of_card,
    mailbox::Mailbox,
    models::{self, LoadedModel},
    ops::{Workers, cuda::beside_recordings},
    weights::LoadWatch,
};

/// Where a model is to run.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) device: DeviceChoice,
    pub(super) precision: Option<Precision>,
}

/// A model on its way. Dropping it cancels the load.
pub(super) struct Loader {
    cancel: Arc<AtomicBool>,
    result: Receiver<Result<Loaded>>,
}

/// A model that arrived.
pub(super) struct Loaded {
    pub(super) model: LoadedModel,
    /// Why it does not run where it was hoped for, if so.
    pub(super) remark: Option<String>,
    /// The threads that it shares among its kernels.
    pub(super) workers: Arc<Workers>,
}

impl Loader {
    /// Starts the thread "model-loader"; `mailbox` is poked when the result is there.
    pub(super) fn start(
        choice: ModelChoice,
        place: Place,
        outlet: &Arc<Outlet>,
        mailbox: &Arc<Mailbox>,
    ) -> Self {
        let cancel = Arc::new(AtomicBool::new(false));
        let (sender, result) = bounded(1);
        let job = {
            let (cancel, outlet, mailbox) = (Arc::clone(&cancel), Arc::clone(outlet), Arc::clone(mailbox));
            let sender = sender.clone();
            move || {
                // Opening a card and freeing what was loaded in vain would end a recording of the stream's.
                let _beside = beside_recordings();
                let loaded = caught(|| load(&choice, place, &outlet, &cancel));
                // The receiver is gone if another model was asked for meanwhile.
                drop(sender.send(loaded));
                mailbox.poke();
            }
        };
        if let Err(error) = std::thread::Builder::new()
            .name("model-loader".to_owned())
            .spawn(job)
        {
            let source = Arc::new(error);
            drop(sender.send(Err(Error::Compute {
                doing: "starting the loader's thread".to_owned(),
                source,
            })));
        }
        Self { cancel, result }
    }

    /// The model, once.
    pub(super) fn take(&self) -> Option<Result<Loaded>> {
        self.result.try_recv().ok()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

/// A panic is an error like others.
fn caught<T>(load: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|panic| {
        let text = super::panic_text(&*panic);
        Err(
            failure_of_card(&text, "loading the model").unwrap_or_else(|| Error::UnsupportedModel {
                reason: format!("loading it failed unexpectedly ({text})"),
            }),
        )
    })
}

fn load(choice: &ModelChoice, place: Place, outlet: &Outlet, cancel: &AtomicBool) -> Result<Loaded> {
    let compute = Compute::choose(place.device, place.precision)?;
    let loaded = caught(|| load_onto(&compute, choice, outlet, cancel));
    if matches!(loaded, Err(Error::DeviceLost { .. })) {
        abandon(compute);
    }
    loaded
}

fn load_onto(
    compute: &Compute,
    choice: &ModelChoice,
    outlet: &Outlet,
    cancel: &AtomicBool,
) -> Result<Loaded> {
    let report = |progress: crate::weights::LoadProgress<'_>| {
        outlet.set_status(|status| {
            // Who cancelled has said already what phase it is.
            if !cancel.load(Ordering::Relaxed) {
                status.phase = Phase::Loading {
                    what: progress.what.to_owned(),
                    fraction: progress.fraction,
                };
            }
        });
        outlet.wake();
    };
    let model = models::load(choice, compute, &LoadWatch::new(&report, cancel))?;
    Ok(Loaded {
        model,
        remark: compute.remark.clone(),
        workers: Arc::clone(&compute.workers),
    })
}
