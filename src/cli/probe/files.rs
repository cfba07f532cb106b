//! Files: where what `write` says is put.
//!
//! # Invariants
//!
//! - Neither file is replaced unless that was asked for; what is written is there whole or not at all.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::write::Draft;

/// The config.
const CONFIG: &str = "proxy.toml";
/// The folder of the schema, beside the config.
pub(super) const SCHEMAS: &str = "contracts";

/// Whether nothing would be replaced.
///
/// # Errors
///
/// What is there already, and what to do.
pub(super) fn is_free(folder: &Path, force: bool) -> Result<(), String> {
    let config = folder.join(CONFIG);
    if folder.exists() && !folder.is_dir() {
        return Err(format!("{} is no folder", folder.display()));
    }
    if !force && config.exists() {
        return Err(taken(&config));
    }
    Ok(())
}

fn taken(path: &Path) -> String {
    format!(
        "{} is there already: --force replaces it, another --write DIR does not have to",
        path.display()
    )
}

/// Writes both files; what to do next, for people.
///
/// # Errors
///
/// What could not be written, and why.
pub(super) fn write(folder: &Path, draft: &Draft, force: bool) -> Result<String, String> {
    is_free(folder, force)?;
    let mut files: Vec<(PathBuf, &str)> = Vec::new();
    if let Some((name, text)) = &draft.schema {
        let path = folder.join(SCHEMAS).join(format!("{name}.json"));
        if !force && path.exists() {
            return Err(taken(&path));
        }
        files.push((path, text));
    }
    // Last: where it is, all that it names is there.
    files.push((folder.join(CONFIG), &draft.config));
    let mut told = String::new();
    for (path, text) in &files {
        save(path, text, force)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        let _ = writeln!(told, "written: {}", path.display());
    }
    for variable in &draft.variables {
        let _ = writeln!(told, "it asks for the environment variable {variable}");
    }
    let _ = writeln!(
        told,
        "next: larder check --config {}",
        folder.join(CONFIG).display()
    );
    Ok(told)
}

/// Whole or not at all: what took the place of nothing and could not be finished is taken away again.
fn save(path: &Path, text: &str, force: bool) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    if !force {
        // Unlike a rename, this never replaces what somebody put there meanwhile.
        let mut file = fs::File::create_new(path)?;
        return file.write_all(text.as_bytes()).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = fs::remove_file(path);
        });
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    fs::write(&unfinished, text)?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_replaced_only_if_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let draft = |config: &str| Draft {
            config: config.to_owned(),
            schema: Some(("prices".to_owned(), "{}".to_owned())),
            variables: vec!["VENDOR_TOKEN".to_owned()],
        };
        let told = write(folder.path(), &draft("one"), false).unwrap();
        assert!(
            told.contains("VENDOR_TOKEN") && told.contains("larder check"),
            "{told}"
        );
        let why = write(folder.path(), &draft("two"), false).unwrap_err();
        assert!(why.contains("--force"), "{why}");
        let config = folder.path().join(CONFIG);
        assert_eq!(fs::read_to_string(&config).unwrap(), "one");
        fs::remove_file(&config).unwrap();
        let why = write(folder.path(), &draft("three"), false).unwrap_err();
        assert!(why.contains("prices.json") && !config.exists(), "{why}");
        write(folder.path(), &draft("four"), true).unwrap();
        assert_eq!(fs::read_to_string(&config).unwrap(), "four");
        let names = fs::read_dir(folder.path()).unwrap();
        assert_eq!(names.count(), 2, "nothing unfinished is left");
    }
}
