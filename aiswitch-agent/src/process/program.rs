//! What is started for a task.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::AgentId;

use crate::error::AgentError;
use crate::{Resources, Sandbox};

/// What is started for a task: a program, its arguments, its folder and its environment. No shell is in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The agent that it is started for.
    pub agent: AgentId,
    /// The program's file.
    pub program: PathBuf,
    /// The arguments behind the program's name.
    pub args: Vec<String>,
    /// The folder that it works in.
    pub cwd: PathBuf,
    /// All that it may know.
    pub environment: Environment,
    /// How much of the machine it may take.
    pub resources: Resources,
    /// What it may touch.
    pub sandbox: Sandbox,
    /// Its own folders, from the home.
    pub folders: Vec<String>,
}

/// The variable that names the folder for temporary files.
pub(super) const TEMP_VARIABLE: &str = "TMPDIR";

#[expect(clippy::disallowed_methods, reason = "the walls of a sandbox need these two, which are no secrets")]
impl Launch {
    /// The home that its environment names.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.environment.get("HOME").map(|home| home.expose().into())
    }

    /// Where it keeps temporary files.
    pub(crate) fn temp(&self) -> PathBuf {
        self.environment.get(TEMP_VARIABLE).map_or("/tmp".into(), |temp| temp.expose().into())
    }
}

/// Where the kernel keeps what else it can run, one file for each format; `register` and `status` are none.
const OTHER_FORMATS: &str = "/proc/sys/fs/binfmt_misc";

/// Refuses a file that the kernel cannot run, as the kernel does.
///
/// `execvp(3)`, which is used to start programs, gives such a file to a shell instead, which takes anything for a script.
///
/// # Errors
/// `ENOEXEC`. A file that cannot be read is left to the kernel.
pub(super) fn check_format(program: &Path) -> io::Result<()> {
    let Ok(head) = head(program) else { return Ok(()) };
    let is_known = match &head[..] {
        [b'#', b'!', ..] => true,
        // The class and the machine of an ELF file, see elf(5); one for 32 bits may run on its wider kin.
        [0x7f, b'E', b'L', b'F', class, .., machine_0, machine_1] => {
            let own = head_of_own();
            own.is_none_or(|own| own[4] != *class || own[18..] == [*machine_0, *machine_1])
        }
        _ => false,
    };
    let has_others = || fs::read_dir(OTHER_FORMATS).is_ok_and(|formats| formats.count() > 2);
    if is_known || has_others() { Ok(()) } else { Err(rustix::io::Errno::NOEXEC.into()) }
}

/// The first bytes of a file, as far as those of an ELF file name its machine.
fn head(file: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(file)?.take(20).read_to_end(&mut head)?;
    Ok(head)
}

fn head_of_own() -> Option<Vec<u8>> {
    head(Path::new("/proc/self/exe")).ok().filter(|head| head.len() == 20)
}

/// The file of a program: a path as it stands, a bare name by the `PATH` of the agent's own environment.
#[expect(clippy::disallowed_methods, reason = "the lookup needs the value of PATH, which is no secret")]
pub(crate) fn find_program(
    agent: &AgentId,
    name: &str,
    environment: &Environment,
) -> Result<PathBuf, AgentError> {
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![PathBuf::from(name)]
    } else {
        let path = environment.get("PATH").map(aiswitch_env::Secret::expose).unwrap_or_default();
        path.split(':')
            .filter(|folder| !folder.is_empty())
            .map(|folder| Path::new(folder).join(name))
            .collect()
    };
    let found: Vec<(PathBuf, Metadata)> = candidates
        .into_iter()
        .filter_map(|file| file.metadata().ok().map(|metadata| (file, metadata)))
        .collect();
    let is_program = |metadata: &Metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    match found.iter().find(|(_, metadata)| is_program(metadata)).or(found.first()) {
        Some((file, metadata)) if is_program(metadata) => std::path::absolute(file)
            .map_err(|source| AgentError::Spawn { agent: agent.clone(), program: file.clone(), source }),
        Some((file, _)) => Err(AgentError::NotExecutable { agent: agent.clone(), program: file.clone() }),
        None => Err(AgentError::NotInstalled { agent: agent.clone(), program: name.to_owned() }),
    }
}
