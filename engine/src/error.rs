//! Everything that can go wrong, in terms of what the caller can do about it.

use std::{path::PathBuf, sync::Arc};

use crate::api::MAX_CANVAS_SIDE;

/// Short for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the engine could not do what was asked. Each message says what, why and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Choose another size.
    #[error(
        "a canvas of {width} x {height} pixels is not possible: both sides must be 1 to {MAX_CANVAS_SIDE}"
    )]
    CanvasSize {
        /// Asked for, in pixels.
        width: u32,
        /// Asked for, in pixels.
        height: u32,
    },
    /// The mask belongs to another canvas.
    #[error("a mask holds {found} values where the canvas has {expected} pixels: it needs one for each")]
    MaskLength {
        /// Pixels of the canvas.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// The picture's bytes do not fit its size.
    #[error("a picture holds {found} bytes where its size needs {expected}")]
    PictureLength {
        /// Bytes needed.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Give indexes that rise and stay below 50.
    #[error("steps {indexes:?} are not possible: they must rise, from 0 up to 49")]
    StepList {
        /// What was given.
        indexes: Vec<u16>,
    },
    /// The scene contradicts itself.
    #[error("the scene cannot be painted: {reason}")]
    Scene {
        /// What is wrong with it.
        reason: String,
    },
    /// Choose another file.
    #[error("{what} is missing: {}", path.display())]
    MissingFile {
        /// What the file would be.
        what: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file cannot be read (rights, disk).
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: Arc<std::io::Error>,
    },
    /// The file is damaged or not what it claims to be.
    #[error("{} cannot be used: {reason}", path.display())]
    InvalidFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The model is of a kind this program does not know.
    #[error("this model is not supported: {reason}")]
    UnsupportedModel {
        /// What was found and what is possible.
        reason: String,
    },
    /// A weight is missing or has another shape than the configuration says.
    #[error("weight {name:?} does not fit the model: {reason}")]
    Weight {
        /// Its name in the file.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The device is not there; the CPU is always possible.
    #[error("{device} cannot be used: {reason}")]
    DeviceUnavailable {
        /// Which.
        device: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Use a smaller canvas, fewer regions or fewer steps.
    #[error("not enough memory on the device for {what}: use a smaller canvas, fewer regions or fewer steps")]
    OutOfMemory {
        /// What did not fit.
        what: String,
    },
    /// The card stopped answering; the processor goes on.
    #[error("the graphics card stopped working while {doing}: {reason}")]
    DeviceLost {
        /// What was being done.
        doing: String,
        /// What its driver says.
        reason: String,
    },
    /// There is no model yet.
    #[error("no model is loaded: choose one first")]
    NoModel,
    /// The user asked for it.
    #[error("cancelled")]
    Cancelled,
    /// Try another precision, a lower guidance scale, or another model file; the scene is kept.
    #[error("the model gave values that are not numbers: try another precision or another model file")]
    NotFinite,
    /// A computation failed; the scene is kept.
    #[error("{doing} failed: {source}")]
    Compute {
        /// What was being done.
        doing: String,
        /// What the tensor library says.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The engine's thread has ended; start another engine.
    #[error("the engine has stopped")]
    Stopped,
}

impl Error {
    /// From the system's answer to opening or reading a file.
    pub(crate) fn reading(path: &std::path::Path, error: std::io::Error) -> Self {
        let path = path.to_owned();
        if error.kind() == std::io::ErrorKind::NotFound {
            Self::MissingFile {
                what: "the file".to_owned(),
                path,
            }
        } else {
            Self::Io {
                path,
                source: Arc::new(error),
            }
        }
    }
}

/// What is wrong with a file that should hold JSON, and what to do if it was cut short or is something else.
pub(crate) fn json_reason(error: &serde_json::Error) -> String {
    if error.is_data() {
        error.to_string()
    } else {
        format!("it is no valid JSON ({error}); the file is damaged: download it again")
    }
}

/// Says what was being done when a tensor operation failed.
pub(crate) trait Doing<T> {
    /// Turns the failure into [`Error::Compute`], or into [`Error::OutOfMemory`] or [`Error::DeviceLost`] where it was
    /// that.
    fn doing(self, what: &str) -> Result<T>;
}

impl<T> Doing<T> for candle_core::Result<T> {
    fn doing(self, what: &str) -> Result<T> {
        self.map_err(|error| {
            if let Some(error) = typed_cause(&error) {
                return error;
            }
            failure_of_card(&error.to_string(), what).unwrap_or_else(|| Error::Compute {
                doing: what.to_owned(),
                source: Arc::new(error),
            })
        })
    }
}

/// What a message of a graphics card's libraries, or of a panic about one, stands for: [`Error::OutOfMemory`] or
/// [`Error::DeviceLost`]. `None` if it is about something else.
pub(crate) fn failure_of_card(text: &str, doing: &str) -> Option<Error> {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let doing = doing.to_owned();
    if says(&["OUT_OF_MEMORY", "out of memory", "ALLOC_FAILED"]) {
        return Some(Error::OutOfMemory { what: doing });
    }
    says(&["DriverError", "CUDA_ERROR", "CUBLAS_STATUS", "CUDNN_STATUS"]).then(|| Error::DeviceLost {
        doing,
        reason: text.to_owned(),
    })
}

/// The error of ours that candle carried upwards, if it is one: see [`carried`].
fn typed_cause(error: &candle_core::Error) -> Option<Error> {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => typed_cause(inner),
        candle_core::Error::WithPath { inner, .. } | candle_core::Error::Context { inner, .. } => {
            typed_cause(inner)
        }
        candle_core::Error::WrappedContext { wrapped, .. } => wrapped.downcast_ref::<Error>().cloned(),
        _ => None,
    }
}

/// Sends an error of ours through functions that speak candle's errors; [`Doing::doing`] finds it again.
pub(crate) fn carried(error: Error) -> candle_core::Error {
    candle_core::Error::WrappedContext {
        context: error.to_string(),
        wrapped: Box::new(error),
    }
}
