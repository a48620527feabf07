//! Notices when pins come and go, whichever process makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::error::{ContentError, at};
use super::pins::PinKind;
use crate::ipld::Cid;

/// A directory that was changed less than this before it was read may be changed again at what its file system takes for the
/// same time.
const SETTLED: Duration = Duration::from_secs(2);

/// The pins of a store, read again when their directories have changed.
#[derive(Debug)]
pub struct PinWatch {
    dirs: [PathBuf; 2],
    /// When the directories had been changed last, if they had settled.
    seen: Option<[Option<SystemTime>; 2]>,
}

impl PinWatch {
    /// Watches the store in `dir`, which need not exist yet.
    pub fn new(dir: &Path) -> Self {
        let pins = dir.join("pins");
        Self { dirs: [PinKind::Recursive, PinKind::Direct].map(|kind| pins.join(kind.to_string())), seen: None }
    }

    /// All pinned CIDs, if they may be others than at the last call; costs two looks into the file system else.
    ///
    /// # Errors
    /// The file system's.
    pub fn changed(&mut self) -> Result<Option<Vec<Cid>>, ContentError> {
        let times = self.dirs.each_ref().map(|dir| fs::metadata(dir).and_then(|metadata| metadata.modified()).ok());
        if self.seen == Some(times) {
            return Ok(None);
        }
        let mut pinned = Vec::new();
        for dir in &self.dirs {
            let files = match fs::read_dir(dir) {
                Ok(files) => files,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(at(dir)(error)),
            };
            for file in files {
                let name = file.map_err(at(dir))?.file_name();
                pinned.extend(name.to_str().and_then(|name| name.parse::<Cid>().ok()));
            }
        }
        let now = SystemTime::now();
        let has_settled = |time: &SystemTime| now.duration_since(*time).is_ok_and(|age| age >= SETTLED);
        self.seen = times.iter().flatten().all(has_settled).then_some(times);
        Ok(Some(pinned))
    }
}
