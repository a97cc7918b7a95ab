//! Known models: which there are, whether they are on this machine, and how they get here.
//!
//! [`Catalogue`] is the list that comes with the program (`assets/models.toml`); [`ModelStore`] knows the folder they
//! are kept in; [`Downloader`] fetches their files, one job for the thread "download":
//!
//! ```no_run
//! use wordbrush::{
//!     background_tasks::TaskThread,
//!     models_store::{Downloader, ModelStore},
//!     storage::folders::Folders,
//! };
//!
//! let downloads = TaskThread::start("download", || { /* request a repaint */ })?;
//! let store = ModelStore::of_user(&Folders::of_user()?);
//! let task = downloads.run("Downloading SD-Turbo", move |progress| {
//!     let model = store.catalogue().find("sd-turbo").expect("it is known");
//!     Ok(Downloader::from_environment().pull(&store, model, progress)?)
//! });
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! Nothing goes over the network unless [`Downloader::pull`] is called.

mod addresses;
mod catalogue;
mod download;
mod part;
mod pull_error;
mod store;

pub use catalogue::{Catalogue, KnownModel, ModelFile};
pub use download::{Downloader, RetryPolicy};
pub use pull_error::PullError;
pub use store::{Check, ModelState, ModelStore};
