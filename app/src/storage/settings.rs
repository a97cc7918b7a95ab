//! Settings files: human-readable TOML that is never fatal.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Serialize, de::DeserializeOwned};

use super::atomic::{PreviousVersion, write_bytes_atomically};

/// More than any settings file of ours.
const MAX_SETTINGS_BYTES: u64 = 4 << 20;

/// Settings, and what to tell the user about how they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedSettings<T> {
    /// What the file says, or the defaults.
    pub settings: T,
    /// A sentence for the user if the file could not be used.
    pub notice: Option<String>,
}

/// Reads a settings file. A missing one gives the defaults; a broken one as well, and it is set aside under the name
/// of [`broken_path`], so that nothing of it is lost.
///
/// Mark `T` with `#[serde(default)]`, so that files may leave anything out.
pub fn load<T: DeserializeOwned + Default>(path: &Path) -> LoadedSettings<T> {
    let defaults = |notice| LoadedSettings {
        settings: T::default(),
        notice,
    };
    match read(path) {
        Ok(None) => defaults(None),
        Ok(Some(settings)) => LoadedSettings {
            settings,
            notice: None,
        },
        Err(error) => {
            let aside = broken_path(path);
            let fate = match std::fs::rename(path, &aside) {
                Ok(()) => format!("it was set aside as {}", aside.display()),
                Err(_) => "it is left as it is".to_owned(),
            };
            tracing::warn!("settings {} cannot be used: {error:#}", path.display());
            defaults(Some(format!(
                "The settings file could not be read ({}); {fate}, and the defaults are used.",
                first_line(&format!("{error:#}"))
            )))
        }
    }
}

/// Where a broken settings file is kept.
pub fn broken_path(path: &Path) -> PathBuf {
    path.with_extension("broken.toml")
}

/// Writes a settings file; it is either the old or the new one at every moment.
///
/// # Errors
/// If the folder cannot be made or written to.
pub fn save<T: Serialize>(settings: &T, path: &Path) -> anyhow::Result<()> {
    let text = toml::to_string_pretty(settings).context("cannot describe the settings")?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    write_bytes_atomically(path, PreviousVersion::Discard, text.as_bytes())
}

/// Parses the text of a settings file.
///
/// # Errors
/// If it is no TOML, or a value is of the wrong kind.
pub fn parse<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    Ok(toml::from_str(text)?)
}

fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let metadata = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    anyhow::ensure!(metadata.len() <= MAX_SETTINGS_BYTES, "it is far too large");
    parse(&std::fs::read_to_string(path)?).map(Some)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(default)]
    struct Example {
        scale: u32,
        name: String,
    }

    #[test]
    fn settings_come_back_and_missing_ones_are_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/settings.toml");
        assert_eq!(load::<Example>(&path).settings, Example::default());
        let example = Example {
            scale: 3,
            name: "x".to_owned(),
        };
        save(&example, &path).unwrap();
        assert_eq!(load::<Example>(&path).settings, example);
        std::fs::write(&path, "scale = 5").unwrap();
        assert_eq!(load::<Example>(&path).settings.scale, 5);
    }

    #[test]
    fn broken_files_are_set_aside_with_a_notice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        for broken in [&b"scale = \"many\""[..], b"][", b"\xff\xfe\0"] {
            std::fs::write(&path, broken).unwrap();
            let loaded = load::<Example>(&path);
            assert_eq!(loaded.settings, Example::default());
            assert!(loaded.notice.unwrap().contains("settings.broken.toml"));
            assert!(!path.exists());
            assert_eq!(std::fs::read(broken_path(&path)).unwrap(), broken);
        }
    }
}
