//! The library of palettes: those that come with the program, and the user's own as files in the config folder.
//!
//! The files are ordinary palettes, `TITLE.json`; one that is copied into the folder is in the library.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::{
    atomic::{PreviousVersion, backup_path, write_bytes_atomically},
    masks::file_stem,
    open::{Opened, open_path},
    palette::{Demo, Palette, built_in},
};

/// More palettes than anyone keeps.
const MAX_PALETTES: usize = 1000;

/// A palette of the library.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptPalette {
    /// The palette; it has a title.
    pub palette: Palette,
    /// Its file, if it is one of the user's own.
    pub path: Option<PathBuf>,
}

/// Everything in the library: the built-in palettes, then the user's by their file names. What cannot be read is
/// left out.
pub fn load(folder: Option<&Path>) -> Vec<KeptPalette> {
    let mut palettes: Vec<KeptPalette> = built_in()
        .into_iter()
        .map(|palette| KeptPalette { palette, path: None })
        .collect();
    let Some(entries) = folder.and_then(|folder| std::fs::read_dir(folder).ok()) else {
        // There is no such folder until something is kept.
        return palettes;
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .take(MAX_PALETTES)
        .collect();
    paths.sort();
    palettes.extend(paths.into_iter().filter_map(read));
    palettes
}

fn read(path: PathBuf) -> Option<KeptPalette> {
    let opened = open_path(&path)
        .inspect_err(|error| tracing::warn!("{error:#}"))
        .ok()?;
    let Opened::Palette(mut palette) = opened else {
        tracing::warn!("{} is no palette", path.display());
        return None;
    };
    if palette.title.is_empty() {
        palette.title = path.file_stem()?.to_string_lossy().into_owned();
    }
    Some(KeptPalette {
        palette,
        path: Some(path),
    })
}

/// Keeps a palette under its title; answers with its file. One that is there is never replaced.
///
/// # Errors
/// If it has no brushes, or the folder cannot be written to.
pub fn keep(folder: &Path, palette: &Palette) -> anyhow::Result<PathBuf> {
    ensure!(!palette.brushes.is_empty(), "there are no brushes to keep");
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let stem = file_stem(&palette.title, "palette");
    let path = (1..=1_000)
        .map(|number| match number {
            1 => folder.join(format!("{stem}.json")),
            number => folder.join(format!("{stem}-{number}.json")),
        })
        .find(|path| !path.exists())
        .context("there is no free name")?;
    save(palette, Demo::default(), &path)?;
    Ok(path)
}

/// Writes a palette for a demo.
///
/// # Errors
/// If the folder cannot be written to or the disk is full.
pub fn save(palette: &Palette, demo: Demo, path: &Path) -> anyhow::Result<()> {
    let mut json = palette.to_json(demo);
    json.push('\n');
    write_bytes_atomically(path, PreviousVersion::Discard, json.as_bytes())
}

/// Takes a palette of the user's own out of the library. Its file stays under the name of [`backup_path`], for
/// [`bring_back`].
///
/// # Errors
/// If its file cannot be renamed.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    std::fs::rename(path, backup_path(path))
        .with_context(|| format!("cannot remove the palette {}", path.display()))
}

/// Puts a palette that was removed into the library again.
///
/// # Errors
/// If another one has its name by now, or its file has gone.
pub fn bring_back(path: &Path) -> anyhow::Result<()> {
    ensure!(!path.exists(), "there is another palette {}", path.display());
    std::fs::rename(backup_path(path), path)
        .with_context(|| format!("cannot bring the palette {} back", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn palettes_are_kept_listed_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("palettes");
        assert_eq!(load(None).len(), 6);
        assert_eq!(load(Some(&folder)).len(), 6, "a missing folder is an empty one");
        let mut palette = built_in().swap_remove(1);
        palette.title = "../My: palette?".to_owned();
        palette.brushes[0].colour = [1, 2, 3];
        let first = keep(&folder, &palette).unwrap();
        assert_eq!(first, folder.join("My-palette.json"));
        palette.brushes.truncate(2);
        let second = keep(&folder, &palette).unwrap();
        assert_eq!(second, folder.join("My-palette-2.json"));
        std::fs::write(folder.join("broken.json"), "{").unwrap();
        std::fs::write(folder.join("scene.json"), r#"{"size": [8, 8], "regions": []}"#).unwrap();
        std::fs::write(folder.join("foreign.json"), r#"{"prompts": ["sky", "tree"]}"#).unwrap();

        let found = load(Some(&folder));
        let own: Vec<_> = found[6..]
            .iter()
            .map(|kept| (kept.palette.title.as_str(), kept.palette.brushes.len()))
            .collect();
        let brushes = built_in()[1].brushes.len();
        assert_eq!(
            own,
            [
                ("../My: palette?", 2),
                ("../My: palette?", brushes),
                ("foreign", 1)
            ],
            "by file name; a file without a title is called by its name"
        );
        assert_eq!(found[7].palette.brushes[0].colour, [1, 2, 3]);
        let path = found[6].path.as_deref().unwrap();
        remove(path).unwrap();
        assert_eq!(load(Some(&folder)).len(), 8);
        bring_back(path).unwrap();
        assert_eq!(load(Some(&folder)), found, "whole and at its place");
        assert!(bring_back(path).is_err(), "it is there already");
        assert!(keep(&folder, &Palette::default()).is_err());
    }
}
