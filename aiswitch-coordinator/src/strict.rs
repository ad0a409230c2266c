//! Who else could change or read the files of a home: what others can change is not used.

use std::fmt;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::HomeError;
use crate::home::{FILE_MODE, FOLDER_MODE};
use crate::{Home, RunId};

/// The permission bits by which a file or folder can be changed by others than its owner.
const CHANGE_MODE: u32 = 0o022;

/// The permission bits of all others than the owner.
const OTHERS_MODE: u32 = 0o077;

/// The permission bits of a mode, without those that tell of the kind of file.
const MODE_BITS: u32 = 0o7777;

/// The user who may change everything anyway.
const ROOT: u32 = 0;

/// A file or folder of a home that others could change or read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HomeProblem {
    /// The file or folder.
    pub path: PathBuf,
    /// Why others could.
    #[serde(flatten)]
    pub fault: FileFault,
}

/// Why others could change or read a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FileFault {
    /// It is a symbolic link, whose target may be anywhere.
    Link,
    /// It belongs to neither this user nor root.
    Foreign {
        /// The user it belongs to.
        uid: u32,
    },
    /// Others may change it.
    Writable {
        /// Its permission bits.
        mode: u32,
    },
    /// Others may read or enter it, which alone keeps nobody from using it.
    Readable {
        /// Its permission bits.
        mode: u32,
    },
}

impl FileFault {
    /// Whether what has it is not used.
    pub fn is_refused(self) -> bool {
        !matches!(self, Self::Readable { .. })
    }

    /// Whether other permission bits take it away.
    pub fn is_of_mode(self) -> bool {
        matches!(self, Self::Writable { .. } | Self::Readable { .. })
    }
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link => f.write_str("it is a symbolic link"),
            Self::Foreign { uid } => write!(f, "it belongs to user {uid}"),
            Self::Writable { mode } => write!(f, "others may change it (mode {mode:04o})"),
            Self::Readable { mode } => write!(f, "others may read or enter it (mode {mode:04o})"),
        }
    }
}

/// Refuses a file that others could change or read, as ssh does with its keys.
///
/// The folders above it are not looked at: who can change those can put anything into its place.
///
/// # Errors
/// [`HomeError::Unsafe`] says why it is not used; or it is not there.
pub fn check_private(path: &Path) -> Result<(), HomeError> {
    let found = fs::symlink_metadata(path).map_err(HomeError::io("look at", path))?;
    match fault_of(&found) {
        Some(fault) => Err(HomeError::Unsafe { path: path.to_owned(), fault }),
        None => Ok(()),
    }
}

impl Home {
    /// Refuses a home of which others could change the folder, or anything in it but what runs have kept.
    ///
    /// What editors leave beside the files of a person (names that begin with `.` or `#`, or end in `~`) is not looked at.
    ///
    /// # Errors
    /// [`HomeError::Unsafe`] names the first file or folder that is not used, and why; or something cannot be looked at.
    pub fn check(&self) -> Result<(), HomeError> {
        walk(self.root(), &|path| path != self.runs_dir(), &mut |path, found| refuse(path, fault_of(found)))
    }

    /// Refuses what a run has kept, if others could change any of it.
    pub(crate) fn check_run(&self, run: &RunId) -> Result<(), HomeError> {
        check_below(&self.run_dir(run))
    }

    /// Everything in the home that others could change or read, in the order of the paths.
    ///
    /// # Errors
    /// Something cannot be looked at.
    pub fn problems(&self) -> Result<Vec<HomeProblem>, HomeError> {
        let mut problems = Vec::new();
        walk(self.root(), &|_| true, &mut |path, found| {
            problems.extend(fault_of(found).map(|fault| HomeProblem { path: path.to_owned(), fault }));
            Ok(())
        })?;
        Ok(problems)
    }

    /// Closes every file and folder that others could change or read; what it closed.
    ///
    /// No link is followed, and what belongs to somebody else stays as it is: [`problems`](Self::problems) tells of it.
    ///
    /// # Errors
    /// Something cannot be looked at or closed; what was closed before it stays so.
    pub fn fix(&self) -> Result<Vec<HomeProblem>, HomeError> {
        let mut closed = Vec::new();
        // A folder is closed before what is in it is looked at, so that nobody else can exchange that in between.
        walk(self.root(), &|_| true, &mut |path, found| {
            let Some(fault) = fault_of(found).filter(|fault| fault.is_of_mode()) else { return Ok(()) };
            let mode = if found.is_dir() { FOLDER_MODE } else { FILE_MODE };
            fs::set_permissions(path, Permissions::from_mode(mode)).map_err(HomeError::io("close", path))?;
            closed.push(HomeProblem { path: path.to_owned(), fault });
            Ok(())
        })?;
        Ok(closed)
    }
}

/// Refuses a folder if others could change it or anything below it.
pub(crate) fn check_below(path: &Path) -> Result<(), HomeError> {
    walk(path, &|_| true, &mut |path, found| refuse(path, fault_of(found)))
}

/// Shows what is there, then what is below it as far as `enters` wants, each folder in the order of the names.
fn walk(
    path: &Path,
    enters: &dyn Fn(&Path) -> bool,
    see: &mut dyn FnMut(&Path, &Metadata) -> Result<(), HomeError>,
) -> Result<(), HomeError> {
    let Some(found) = look(path)? else { return Ok(()) };
    see(path, &found)?;
    if !found.is_dir() || !enters(path) {
        return Ok(());
    }
    let entries = fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>());
    let mut entries = match entries {
        Ok(entries) => entries,
        // Somebody removed it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(HomeError::io("read the folder", path)(error)),
    };
    entries.retain(|entry| !is_of_an_editor(entry));
    entries.sort();
    entries.iter().try_for_each(|entry| walk(entry, enters, see))
}

fn is_of_an_editor(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b".") || name.starts_with(b"#") || name.ends_with(b"~")
}

fn look(path: &Path) -> Result<Option<Metadata>, HomeError> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HomeError::io("look at", path)(error)),
    }
}

fn refuse(path: &Path, fault: Option<FileFault>) -> Result<(), HomeError> {
    match fault {
        Some(fault) if fault.is_refused() => Err(HomeError::Unsafe { path: path.to_owned(), fault }),
        _ => Ok(()),
    }
}

fn fault_of(found: &Metadata) -> Option<FileFault> {
    let (uid, mode) = (found.uid(), found.mode() & MODE_BITS);
    if found.is_symlink() {
        Some(FileFault::Link)
    } else if uid != ROOT && uid != rustix::process::geteuid().as_raw() {
        Some(FileFault::Foreign { uid })
    } else if mode & CHANGE_MODE != 0 {
        Some(FileFault::Writable { mode })
    } else if mode & OTHERS_MODE != 0 {
        Some(FileFault::Readable { mode })
    } else {
        None
    }
}
