//! Where things are kept on this machine.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use directories::ProjectDirs;

/// Puts everything below one folder: for portable installations and for tests.
pub const HOME_VARIABLE: &str = "WORDBRUSH_HOME";

/// The folders of one user. They are made when something is first put into them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Settings, keys and the user's palettes.
    pub config: PathBuf,
    /// Sessions and logs: what this machine alone needs.
    pub state: PathBuf,
    /// Downloaded models.
    pub data: PathBuf,
}

impl Folders {
    /// The platform's folders, or those below [`HOME_VARIABLE`] where that is set.
    ///
    /// # Errors
    /// If the system tells no home folder.
    pub fn of_user() -> anyhow::Result<Self> {
        if let Some(root) = std::env::var_os(HOME_VARIABLE).filter(|root| !root.is_empty()) {
            return Ok(Self::below(Path::new(&root)));
        }
        let dirs = ProjectDirs::from("", "", "wordbrush")
            .with_context(|| format!("the system tells no home folder: set {HOME_VARIABLE} to a folder"))?;
        Ok(Self {
            config: dirs.config_dir().to_owned(),
            state: dirs
                .state_dir()
                .unwrap_or_else(|| dirs.data_local_dir())
                .to_owned(),
            data: dirs.data_local_dir().to_owned(),
        })
    }

    /// Everything below one folder.
    pub fn below(root: &Path) -> Self {
        Self {
            config: root.join("config"),
            state: root.join("state"),
            data: root.join("data"),
        }
    }

    /// Sessions that are open or were cut off.
    pub fn sessions(&self) -> PathBuf {
        self.state.join("sessions")
    }

    /// Log files.
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Downloaded models.
    pub fn models(&self) -> PathBuf {
        self.data.join("models")
    }

    /// The user's own palettes.
    pub fn palettes(&self) -> PathBuf {
        self.config.join("palettes")
    }
}
