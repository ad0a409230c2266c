//! The walls of a sandbox, put up by Landlock around the process that becomes the agent.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::Sandbox;

/// What the kernel must be able to keep for any sandbox: also that files are not cut.
const FILES_MIN: ABI = ABI::V3;

/// What it must be able to keep for a sandbox without TCP.
const TCP_MIN: ABI = ABI::V4;

/// What it is asked to keep beside that, where it can: ioctls of devices, signals, abstract sockets.
const FURTHER: ABI = ABI::V6;

/// How many paths may be opened one by one around what stays closed.
const PATHS_MAX: usize = 50_000;

/// Places for everybody, which are opened only as far as they are named.
const SHARED: &[&str] = &["/dev", "/tmp", "/var/tmp"];

/// Devices that any program may use.
const DEVICES: &[&str] = &[
    "/dev/full",
    "/dev/null",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/random",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];

/// Where a sandbox ends; every path is absolute.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Walls {
    pub(crate) sandbox: Sandbox,
    pub(crate) cwd: OsString,
    pub(crate) program: OsString,
    /// The folder in which the guard makes the agent's own temporary one, then that one.
    pub(crate) temp: OsString,
    /// The agent's own folders, which are made where they are missing.
    pub(crate) own: Vec<OsString>,
    /// What stays closed wherever it is.
    pub(crate) secrets: Vec<OsString>,
    /// What stays as it is in the working folder, also where it is not there yet.
    pub(crate) obeyed: Vec<OsString>,
}

impl Walls {
    /// Has this process, and all that it starts, keep within the walls from here on.
    pub(super) fn put_up(&self) -> io::Result<()> {
        let rules = self.ruleset().map_err(|error| reason(&error))?;
        let secrets: Vec<&Path> = self.secrets.iter().map(Path::new).collect();
        let obeyed = self.obeyed.iter().map(Path::new).chain(secrets.iter().copied()).collect::<Vec<_>>();
        let closed = SHARED.iter().map(Path::new).chain(secrets.iter().copied()).collect::<Vec<_>>();
        let cwd = Path::new(&self.cwd);
        for own in &self.own {
            DirBuilder::new().recursive(true).mode(0o700).create(own)?;
        }
        let mut read = Vec::new();
        open_around(Path::new("/"), &closed, &mut read)?;
        open_around(cwd, &secrets, &mut read)?;
        read.push(self.program.clone().into());
        let mut write: Vec<PathBuf> = DEVICES.iter().map(PathBuf::from).collect();
        write.extend(self.own.iter().chain([&self.temp]).map(PathBuf::from));
        if self.sandbox != Sandbox::ReadOnly {
            open_around(cwd, &obeyed, &mut write)?;
        }
        let rules = allow(rules, &read, AccessFs::from_read(FURTHER))?;
        let rules = allow(rules, &write, AccessFs::from_all(FURTHER))?;
        match rules.restrict_self().map_err(|error| reason(&error))?.ruleset {
            RulesetStatus::NotEnforced => Err(Errno::OPNOTSUPP.into()),
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        }
    }

    fn ruleset(&self) -> Result<RulesetCreated, RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(FILES_MIN))?;
        if self.sandbox == Sandbox::Offline {
            rules = rules.handle_access(AccessNet::from_all(TCP_MIN))?;
        }
        rules
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(FURTHER))?
            .scope(Scope::from_all(FURTHER))?
            .create()
    }
}

/// Names what is to be opened so that all of `top` is but what is `closed`: whole where it can be, else piece by piece.
///
/// A rule holds for all below its path, and none takes anything back. A link opens nothing: what it leads to has a place
/// of its own.
fn open_around(top: &Path, closed: &[&Path], opened: &mut Vec<PathBuf>) -> io::Result<()> {
    if closed.contains(&top) {
        return Ok(());
    }
    if !closed.iter().any(|path| path.starts_with(top)) {
        opened.push(top.to_owned());
        return if opened.len() > PATHS_MAX { Err(Errno::TOOBIG.into()) } else { Ok(()) };
    }
    // What cannot be listed stays closed.
    for entry in fs::read_dir(top).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
            open_around(&entry.path(), closed, opened)?;
        }
    }
    Ok(())
}

fn allow(
    mut rules: RulesetCreated,
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> io::Result<RulesetCreated> {
    for path in paths {
        // What has gone since, or was put in another's place, stays closed.
        let Ok(fd) = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) else {
            continue;
        };
        let access = match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
            FileType::Directory => access,
            FileType::Symlink => continue,
            _ => access & AccessFs::from_file(FURTHER),
        };
        rules = rules.add_rule(PathBeneath::new(fd, access)).map_err(|error| reason(&error))?;
    }
    Ok(rules)
}

/// The system's reason behind an error; without one, the kernel lacks what is asked for.
fn reason(error: &RulesetError) -> io::Error {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return io::Error::from_raw_os_error(code);
        }
        cause = error.source();
    }
    Errno::OPNOTSUPP.into()
}

/// A temporary folder for one agent alone. Dropping it removes it with all that is in it.
pub(super) struct PrivateFolder(PathBuf);

impl PrivateFolder {
    /// Makes one in `base`; its name is free, since it holds the number of this process.
    pub(super) fn create(base: &Path) -> io::Result<Self> {
        let path = base.join(format!("aiswitch-{}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&path) {
            // Left behind by a guard of the same number that was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir_all(&path)?;
                DirBuilder::new().mode(0o700).create(&path)?;
            }
            created => created?,
        }
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // An error leaves a folder that only its owner can enter.
        drop(fs::remove_dir_all(&self.0));
    }
}
