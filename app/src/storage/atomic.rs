//! Files that are either the old version or the new one, never something in between.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

/// What becomes of a file that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreviousVersion {
    /// It is gone.
    Discard,
    /// It stays beside the new one, see [`backup_path`].
    Keep,
}

/// Where the previous version of a file is kept: `name.wordbrush` becomes `name.wordbrush~`.
pub fn backup_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("~");
    PathBuf::from(name)
}

/// Writes a file through a temporary one beside it: written, synced, renamed, folder synced.
///
/// Whatever fails, `path` still holds what it held before, and no temporary file is left.
///
/// # Errors
/// If the folder cannot be written to, the disk is full, or `write` fails.
pub fn write_atomically(
    path: &Path,
    previous: PreviousVersion,
    write: impl FnOnce(&mut BufWriter<&File>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    try_write(path, previous, write).with_context(|| format!("cannot write {}", path.display()))
}

/// As [`write_atomically`], with the bytes at hand.
///
/// # Errors
/// If the folder cannot be written to or the disk is full.
pub fn write_bytes_atomically(path: &Path, previous: PreviousVersion, bytes: &[u8]) -> anyhow::Result<()> {
    write_atomically(path, previous, |file| Ok(file.write_all(bytes)?))
}

fn try_write(
    path: &Path,
    previous: PreviousVersion,
    write: impl FnOnce(&mut BufWriter<&File>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let target = follow_link(path);
    let folder = folder_of(&target);
    let existing = std::fs::metadata(&target).ok();
    ensure!(
        !existing
            .as_ref()
            .is_some_and(|file| file.permissions().readonly()),
        "the file is write-protected: choose another name"
    );
    let temporary = tempfile::Builder::new()
        .prefix(".wordbrush-")
        .suffix(".tmp")
        .tempfile_in(folder)?;
    let mut writer = BufWriter::with_capacity(1 << 16, temporary.as_file());
    write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    set_permissions(temporary.as_file(), existing.as_ref())?;
    temporary.as_file().sync_all()?;
    if previous == PreviousVersion::Keep && existing.is_some() {
        keep_backup(&target, folder)?;
    }
    temporary.persist(&target).map_err(|failed| failed.error)?;
    sync_folder(folder);
    Ok(())
}

/// The present version under the backup's name as well; at no moment is it missing under its own.
fn keep_backup(target: &Path, folder: &Path) -> anyhow::Result<()> {
    let backup = backup_path(target);
    let link = tempfile::Builder::new()
        .prefix(".wordbrush-")
        .suffix(".bak")
        .tempfile_in(folder)?
        .into_temp_path();
    std::fs::remove_file(&link)?;
    // A second name for the same data costs nothing; file systems that have no such names get a copy.
    if std::fs::hard_link(target, &link).is_err() {
        std::fs::copy(target, &link)?;
        File::open(&link)?.sync_all()?;
    }
    link.persist(&backup).map_err(|failed| failed.error)?;
    Ok(())
}

/// Saving to a symbolic link changes the file that it points to.
fn follow_link(path: &Path) -> PathBuf {
    if path.is_symlink() {
        std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    } else {
        path.to_owned()
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Temporary files are private; what takes their place is as readable as other files of the user.
fn set_permissions(file: &File, existing: Option<&std::fs::Metadata>) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = existing.map_or_else(
            || std::fs::Permissions::from_mode(0o644),
            |existing| existing.permissions(),
        );
        file.set_permissions(permissions)
    }
    #[cfg(not(unix))]
    {
        let (_, _) = (file, existing);
        Ok(())
    }
}

/// Makes a rename last through a power cut, where the system can do that.
pub(crate) fn sync_folder(folder: &Path) {
    // Not every file system lets folders be synced, and the file itself is safe already.
    drop(File::open(folder).and_then(|folder| folder.sync_all()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        write_bytes_atomically(&path, PreviousVersion::Discard, b"old").unwrap();
        let failed = write_atomically(&path, PreviousVersion::Keep, |file| {
            file.write_all(b"half")?;
            anyhow::bail!("no space left")
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("no space left"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_previous_version_is_kept_as_a_backup() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wordbrush");
        for version in [b"1", b"2", b"3"] {
            write_bytes_atomically(&path, PreviousVersion::Keep, version).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"3");
        assert_eq!(std::fs::read(backup_path(&path)).unwrap(), b"2");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_write_protected_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious.png");
        std::fs::write(&path, "old").unwrap();
        let mut permissions = std::fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(&path, permissions).unwrap();
        let error = write_bytes_atomically(&path, PreviousVersion::Keep, b"new").unwrap_err();
        assert!(format!("{error:#}").contains("write-protected"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_keeps_pointing_to_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_bytes_atomically(&link, PreviousVersion::Discard, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
    }
}
