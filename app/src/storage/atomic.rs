//! Files that are either the old version or the new one, never something in between.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{BufWriter, ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow, ensure};
use parking_lot::{RwLock, RwLockWriteGuard};
use tempfile::NamedTempFile;

/// Beginning of the names of files that are being written.
const TEMPORARY_PREFIX: &str = ".wordbrush-";
const TEMPORARY_ENDING: &str = ".tmp";
const BACKUP_ENDING: &str = ".bak";
/// A temporary file that nobody has written to for so long was left by a program that was killed.
const ABANDONED_AFTER: Duration = Duration::from_hours(1);
/// As many links as the system itself follows.
const MAX_LINKS: usize = 40;

/// Held for reading by whoever writes, so that the program does not end in between.
static WRITES: RwLock<()> = RwLock::new(());

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
/// Whatever fails, `path` still holds what it held before, and no temporary file is left. A link keeps pointing to its
/// file, and a file keeps its permissions. Into a pipe or a device it is written as it comes.
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

/// Whether a file could be written, for those who work long before they have something to write.
///
/// # Errors
/// As [`write_atomically`], with the same words.
pub fn check_writable(path: &Path) -> anyhow::Result<()> {
    let check = || -> anyhow::Result<()> {
        if let Target::File { path, existing } = Target::new(path)? {
            drop(temporary_beside(&path, existing.as_ref())?);
        }
        Ok(())
    };
    check().with_context(|| format!("cannot write {}", path.display()))
}

/// Waits until nothing is being written, and holds up further writes: the program may end here.
pub fn between_writes() -> RwLockWriteGuard<'static, ()> {
    WRITES.write()
}

/// Where a write goes.
enum Target {
    /// A file, there or not, with all links followed.
    File {
        path: PathBuf,
        existing: Option<Metadata>,
    },
    /// A pipe or a device: it has no previous version, and must not be replaced by a file.
    Stream,
}

impl Target {
    fn new(path: &Path) -> anyhow::Result<Self> {
        let existing = match std::fs::metadata(path) {
            Ok(existing) => Some(existing),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(existing) = &existing {
            ensure!(!existing.is_dir(), "it is a folder: give the name of a file");
            if !existing.is_file() {
                return Ok(Self::Stream);
            }
            ensure!(
                !existing.permissions().readonly(),
                "the file is write-protected: choose another name"
            );
        }
        Ok(Self::File {
            path: follow_links(path),
            existing,
        })
    }
}

fn try_write(
    path: &Path,
    previous: PreviousVersion,
    write: impl FnOnce(&mut BufWriter<&File>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Target::File {
        path: target,
        existing,
    } = Target::new(path)?
    else {
        return write_into(&OpenOptions::new().write(true).open(path)?, write);
    };
    let _writing = WRITES.read();
    let folder = folder_of(&target);
    let temporary = temporary_beside(&target, existing.as_ref())?;
    write_into(temporary.as_file(), write)?;
    if let Some(existing) = &existing {
        keep_owner_and_permissions(temporary.as_file(), existing)?;
    }
    temporary.as_file().sync_all()?;
    if previous == PreviousVersion::Keep && existing.is_some() {
        keep_backup(&target, folder)?;
    }
    temporary.persist(&target).map_err(|failed| failed.error)?;
    sync_folder(folder);
    remove_abandoned(folder);
    Ok(())
}

fn write_into(
    file: &File,
    write: impl FnOnce(&mut BufWriter<&File>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 16, file);
    write(&mut writer)?;
    writer.flush()?;
    Ok(())
}

/// An empty file in the folder of `target`. It is private where it replaces a file, which may be private, too;
/// otherwise it is as readable as other new files of the user.
fn temporary_beside(target: &Path, existing: Option<&Metadata>) -> anyhow::Result<NamedTempFile> {
    let folder = folder_of(target);
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX).suffix(TEMPORARY_ENDING);
    #[cfg(unix)]
    let permissions = {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::Permissions::from_mode(0o666)
    };
    #[cfg(unix)]
    if existing.is_none() {
        builder.permissions(permissions);
    }
    #[cfg(not(unix))]
    let _ = existing;
    builder.tempfile_in(folder).map_err(|error| match error.kind() {
        // Folders of the system, such as /proc, are there and answer so.
        ErrorKind::NotFound if folder.exists() => {
            anyhow!(
                "no file can be made in the folder {}: choose another one",
                folder.display()
            )
        }
        ErrorKind::NotFound => anyhow!("there is no folder {}: make it first", folder.display()),
        ErrorKind::NotADirectory => anyhow!("{} is no folder", folder.display()),
        ErrorKind::PermissionDenied => {
            anyhow!(
                "you may not write into the folder {}: choose another one",
                folder.display()
            )
        }
        ErrorKind::ReadOnlyFilesystem => {
            anyhow!(
                "the folder {} is on a read-only disk: choose another one",
                folder.display()
            )
        }
        _ => error.into(),
    })
}

/// The present version under the backup's name as well; at no moment is it missing under its own.
fn keep_backup(target: &Path, folder: &Path) -> anyhow::Result<()> {
    let backup = backup_path(target);
    let link = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .suffix(BACKUP_ENDING)
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

/// Saving to a symbolic link changes the file that it points to, or makes it.
fn follow_links(path: &Path) -> PathBuf {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&target) {
            Ok(link) => target = folder_of(&target).join(link),
            Err(_no_link) => break,
        }
    }
    target
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn keep_owner_and_permissions(file: &File, existing: &Metadata) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, fchown};
        // Only root may give files away, and only root needs to.
        fchown(file, Some(existing.uid()), Some(existing.gid())).ok();
    }
    file.set_permissions(existing.permissions())
}

/// Removes temporary files that a program left which was killed.
fn remove_abandoned(folder: &Path) {
    let is_abandoned = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| {
            name.starts_with(TEMPORARY_PREFIX)
                && (name.ends_with(TEMPORARY_ENDING) || name.ends_with(BACKUP_ENDING))
        });
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        is_ours && age().is_some_and(|age| age > ABANDONED_AFTER)
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(is_abandoned) {
        // It is a courtesy: what stays is tried again with the next file.
        std::fs::remove_file(entry.path()).ok();
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
    use crate::storage::names_in;

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

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_file_that_is_not_there_yet_makes_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("elsewhere")).unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        std::os::unix::fs::symlink("second", &first).unwrap();
        std::os::unix::fs::symlink("elsewhere/file", &second).unwrap();
        write_bytes_atomically(&first, PreviousVersion::Keep, b"new").unwrap();
        assert!(first.is_symlink() && second.is_symlink());
        assert_eq!(
            std::fs::read(folder.path().join("elsewhere/file")).unwrap(),
            b"new"
        );
        let round = folder.path().join("round");
        std::os::unix::fs::symlink("round", &round).unwrap();
        assert!(write_bytes_atomically(&round, PreviousVersion::Keep, b"new").is_err());
        assert!(round.is_symlink());
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_kept_and_new_files_are_as_readable_as_others() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| {
            let metadata = std::fs::metadata(folder.path().join(name)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        File::create(folder.path().join("ordinary")).unwrap();
        write_bytes_atomically(&folder.path().join("new"), PreviousVersion::Discard, b"x").unwrap();
        assert_eq!(mode("new"), mode("ordinary"), "as the user's mask says");
        for wanted in [0o600, 0o640, 0o777] {
            let path = folder.path().join("old");
            std::fs::write(&path, "old").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(wanted)).unwrap();
            write_bytes_atomically(&path, PreviousVersion::Keep, b"new").unwrap();
            assert_eq!((mode("old"), mode("old~")), (wanted, wanted));
        }
    }

    #[cfg(unix)]
    #[test]
    fn devices_and_pipes_are_written_into_and_never_replaced() {
        use std::{io::Read as _, os::unix::fs::FileTypeExt as _};

        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("null.png");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        write_bytes_atomically(&link, PreviousVersion::Keep, b"x").unwrap();
        let is_device = || {
            let metadata = std::fs::metadata("/dev/null").unwrap();
            metadata.file_type().is_char_device()
        };
        assert!(is_device());

        let (mut reader, writer) = std::io::pipe().unwrap();
        let open = std::os::fd::AsRawFd::as_raw_fd(&writer);
        let path = PathBuf::from(format!("/proc/self/fd/{open}"));
        if path.exists() {
            write_bytes_atomically(&path, PreviousVersion::Keep, b"through the pipe").unwrap();
            drop(writer);
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "through the pipe");
        }
    }

    #[test]
    fn what_cannot_be_written_to_is_told_beforehand_and_in_plain_words() {
        let folder = tempfile::tempdir().unwrap();
        let told = |path: &Path| {
            let before = format!("{:#}", check_writable(path).unwrap_err());
            let error = write_bytes_atomically(path, PreviousVersion::Keep, b"x").unwrap_err();
            assert_eq!(before, format!("{error:#}"));
            before
        };
        assert!(told(folder.path()).contains("it is a folder"));
        let missing = told(&folder.path().join("missing/out.png"));
        assert!(
            missing.contains("there is no folder") && !missing.contains(TEMPORARY_PREFIX),
            "{missing}"
        );
        #[cfg(target_os = "linux")]
        assert!(told(Path::new("/proc/out.png")).contains("no file can be made in the folder /proc"));
        std::fs::write(folder.path().join("file"), "x").unwrap();
        assert!(told(&folder.path().join("file/out.png")).contains("Not a directory"));
        check_writable(&folder.path().join("out.png")).unwrap();
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "looking leaves nothing behind");
    }

    #[test]
    fn what_a_killed_program_left_is_cleared_away_later() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, age: Duration| {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - age).unwrap();
        };
        let old = ABANDONED_AFTER + Duration::from_mins(1);
        file(".wordbrush-abc.tmp", old);
        file(".wordbrush-abc.bak", old);
        file(".wordbrush-new.tmp", Duration::ZERO);
        file(".wordbrush-notes.txt", old);
        file("mine.tmp", old);
        write_bytes_atomically(&folder.path().join("a.png"), PreviousVersion::Discard, b"x").unwrap();
        assert_eq!(
            names_in(folder.path()),
            [".wordbrush-new.tmp", ".wordbrush-notes.txt", "a.png", "mine.tmp"]
        );
    }
}
