//! A database that is opened when it is first used.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Database, DatabaseError, Schema};

/// A database that is opened, and made if need be, when it is first used.
#[derive(Debug)]
pub struct LazyDatabase {
    path: PathBuf,
    schema: &'static Schema,
    opened: OnceLock<Database>,
}

impl LazyDatabase {
    /// The database at a path; nothing is looked at yet.
    pub fn new(path: impl Into<PathBuf>, schema: &'static Schema) -> Self {
        Self { path: path.into(), schema, opened: OnceLock::new() }
    }

    /// Where it is, or will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database, opened now if it was not yet; after an error the next use tries again.
    ///
    /// # Errors
    ///
    /// As [`Database::open`].
    pub fn get(&self) -> Result<&Database, DatabaseError> {
        if let Some(database) = self.opened.get() {
            return Ok(database);
        }
        // Two threads at once may both open it; the one that comes second is let go.
        let opened = Database::open(&self.path, self.schema)?;
        Ok(self.opened.get_or_init(|| opened))
    }
}
