//! The only place where a process is started, and a secret becomes bytes for it.

mod ancestry;
mod child;
mod faults;
mod foreground;
mod guard;
mod guarded;
mod output;
mod program;
mod replace;
mod suspend;
mod sweep;
mod tree;
mod version;

pub(crate) use ancestry::is_guard;
pub use ancestry::mark_above;
pub(crate) use child::{Child, Ended, Exit, Pipes, over};
pub use faults::{Fault, UnknownFault, misbehave};
pub use foreground::foreground;
pub use guard::{GUARD_MARKER, Guard, guard_main};
pub(crate) use guard::{Walls, probe_launch};
pub(crate) use output::unreadable;
pub use program::Launch;
pub(crate) use program::find_program;
pub use replace::become_program;
pub use suspend::suspend;
pub(crate) use suspend::{go_on, halt};
pub use sweep::{MARKER, reclaim, sweep};
pub(crate) use tree::{ProcessStat, tree};
pub(crate) use version::{VERSION_TIMEOUT, ask_version};
