//! The formats of a whole canvas, by a file's name.

use std::path::{Path, PathBuf};

/// The formats that hold a whole canvas, pins included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanvasFormat {
    /// Our own.
    Project,
    /// Layers that other programs read.
    OpenRaster,
}

impl CanvasFormat {
    /// By the end of a file's name.
    pub fn from_path(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "wordbrush" => Some(Self::Project),
            "ora" => Some(Self::OpenRaster),
            _ => None,
        }
    }
}

/// Where a canvas is saved that is wanted at `path`: under another ending, others would take it for what it is not,
/// and a picture of that name would be written over.
pub fn canvas_path(mut path: PathBuf) -> PathBuf {
    if CanvasFormat::from_path(&path).is_none() {
        path.as_mut_os_string().push(".wordbrush");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canvas_is_never_saved_under_the_name_of_something_else() {
        for (wanted, path) in [
            ("castle", "castle.wordbrush"),
            ("castle.wordbrush", "castle.wordbrush"),
            ("castle.ORA", "castle.ORA"),
            ("castle.png", "castle.png.wordbrush"),
            ("castle.v2", "castle.v2.wordbrush"),
        ] {
            assert_eq!(canvas_path(wanted.into()), Path::new(path));
        }
    }
}
