//! Bodies too large for the index, one file each.
//!
//! A file is written under a temporary name and renamed before the index learns of it, and is never changed after: its
//! name holds the stamp of the write. So a record and its body always fit, or the checksum says that they do not.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;

use super::{codec::Stamp, key::Key};

/// Folders the files are spread over, by the first byte of the key.
pub(crate) const FOLDERS: u16 = 256;

/// From this many new files on, one sync of the file system is cheaper than one of each file.
const SYNC_EACH_MAX: usize = 32;

/// Body files under one folder.
pub(crate) struct BodyFiles {
    root: PathBuf,
    /// Written since the last sync.
    unsynced: Mutex<Vec<PathBuf>>,
}

impl BodyFiles {
    /// Creates the folder where it is missing.
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        Ok(Self {
            root,
            unsynced: Mutex::default(),
        })
    }

    /// Writes a body; after it returns the file is whole under its name, or not there.
    pub(crate) fn write(&self, key: &Key, stamp: Stamp, body: &[u8]) -> io::Result<()> {
        let path = self.path(key, stamp);
        let temporary = path.with_extension("new");
        let written = write_new(&temporary, body).and_then(|()| fs::rename(&temporary, &path));
        if let Err(error) = written {
            // What is left of it is swept at the next start at the latest.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.unsynced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(path);
        Ok(())
    }

    /// The body, if there is a file of exactly this length.
    pub(crate) fn read(&self, key: &Key, stamp: Stamp, len: u64) -> io::Result<Option<Bytes>> {
        let mut file = match File::open(self.path(key, stamp)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Checked before anything is allocated: a length comes from the disk too.
        if file.metadata()?.len() != len {
            return Ok(None);
        }
        let mut body = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        file.read_to_end(&mut body)?;
        Ok(Some(Bytes::from(body)))
    }

    /// Whether there is a file of exactly this length.
    pub(crate) fn has(&self, key: &Key, stamp: Stamp, len: u64) -> bool {
        fs::metadata(self.path(key, stamp)).is_ok_and(|found| found.is_file() && found.len() == len)
    }

    /// Removes a body; one that is not there is as good as removed.
    pub(crate) fn remove(&self, key: &Key, stamp: Stamp) -> io::Result<()> {
        remove_if_there(&self.path(key, stamp))
    }

    /// Blocks until every body written so far would survive a power cut.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let paths =
            std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        if paths.is_empty() {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        if paths.len() > SYNC_EACH_MAX {
            return Ok(rustix::fs::syncfs(File::open(&self.root)?)?);
        }
        for path in paths {
            match File::open(&path) {
                Ok(file) => file.sync_data()?,
                // Replaced and removed since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            if let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
        }
        Ok(())
    }

    /// Removes the files of one folder (0 to [`FOLDERS`]) that `is_wanted` does not know, unfinished ones included.
    pub(crate) fn sweep<E: From<io::Error>>(
        &self,
        folder: u16,
        mut is_wanted: impl FnMut(&Key, Stamp) -> Result<bool, E>,
    ) -> Result<(), E> {
        let entries = match fs::read_dir(self.root.join(format!("{folder:02x}"))) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let entry = entry?;
            let wanted = match entry.file_name().to_str().and_then(parse_name) {
                Some((key, stamp)) => is_wanted(&key, stamp)?,
                None => false,
            };
            if !wanted && !entry.file_type()?.is_dir() {
                remove_if_there(&entry.path())?;
            }
        }
        Ok(())
    }

    fn path(&self, key: &Key, stamp: Stamp) -> PathBuf {
        let folder = format!("{:02x}", key.as_bytes()[0]);
        self.root.join(folder).join(format!("{key}-{stamp:016x}"))
    }
}

fn write_new(path: &Path, body: &[u8]) -> io::Result<()> {
    let mut file = match File::create(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            File::create(path)?
        }
        Err(error) => return Err(error),
    };
    file.write_all(body)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn parse_name(name: &str) -> Option<(Key, Stamp)> {
    let (hex, stamp) = name.split_once('-')?;
    if hex.len() != 64 || stamp.len() != 16 || !name.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some((Key::from_bytes(bytes), u64::from_str_radix(stamp, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::key;

    #[test]
    fn a_body_of_another_length_is_no_body() {
        let dir = tempfile::tempdir().unwrap();
        let files = BodyFiles::open(dir.path().join("bodies")).unwrap();
        files.write(&key(1), 9, b"hello").unwrap();
        assert_eq!(files.read(&key(1), 9, 5).unwrap().unwrap(), "hello");
        assert_eq!(files.read(&key(1), 9, u64::MAX).unwrap(), None);
        assert_eq!(files.read(&key(1), 8, 5).unwrap(), None);
        files.sync().unwrap();
        files.remove(&key(1), 9).unwrap();
        files.remove(&key(1), 9).unwrap();
        assert!(!files.has(&key(1), 9, 5));
    }

    #[test]
    fn a_sweep_removes_what_no_record_names() {
        let dir = tempfile::tempdir().unwrap();
        let files = BodyFiles::open(dir.path().to_owned()).unwrap();
        files.write(&key(1), 9, b"wanted").unwrap();
        files.write(&key(1), 8, b"older").unwrap();
        let folder = key(1).as_bytes()[0];
        let stray = dir.path().join(format!("{folder:02x}/half.new"));
        fs::write(&stray, b"half").unwrap();
        for folder in 0..FOLDERS {
            files
                .sweep(folder, |_, stamp| Ok::<_, io::Error>(stamp == 9))
                .unwrap();
        }
        assert!(files.has(&key(1), 9, 6));
        assert!(!files.has(&key(1), 8, 5));
        assert!(!stray.exists());
    }
}
