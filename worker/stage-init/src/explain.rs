//! Finds the program to run, and explains to the user why a program cannot be run.
//!
//! The errors of the kernel are ambiguous: "not found" may mean the program or its interpreter. So
//! this module looks at the files and names the missing part.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Search path when the environment has no `PATH`: the default of container engines.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Finds the program for `argv[0]`, relative to the current directory.
///
/// A name with a slash is a path. Other names are searched in the directories of `path`. The error
/// is a text for the user.
pub fn find_program(name: &str, path: Option<&str>) -> Result<PathBuf, String> {
    if name.is_empty() {
        return Err("the command's first word is empty".to_owned());
    }
    if name.contains('/') {
        return match program_at(Path::new(name)) {
            ProgramCheck::Executable => Ok(name.into()),
            ProgramCheck::Missing => Err(format!("{name}: not found in the image")),
            ProgramCheck::Directory => Err(format!("{name}: is a directory, not a program")),
            ProgramCheck::NotExecutable => Err(not_executable(name)),
        };
    }
    let path = path.unwrap_or(DEFAULT_PATH);
    let mut denied = None;
    for dir in path.split(':') {
        // An empty entry means the current directory.
        let candidate = Path::new(if dir.is_empty() { "." } else { dir }).join(name);
        match program_at(&candidate) {
            ProgramCheck::Executable => return Ok(candidate),
            ProgramCheck::NotExecutable => denied = denied.or(Some(candidate)),
            ProgramCheck::Missing | ProgramCheck::Directory => {}
        }
    }
    Err(match denied {
        Some(found) => not_executable(&found.to_string_lossy()),
        None => format!("{name}: not found in the image (looked in PATH {path})"),
    })
}

/// State of a path that may be a program.
enum ProgramCheck {
    Executable,
    Missing,
    Directory,
    NotExecutable,
}

fn program_at(path: &Path) -> ProgramCheck {
    match fs::metadata(path) {
        Err(_) => ProgramCheck::Missing,
        Ok(meta) if meta.is_dir() => ProgramCheck::Directory,
        Ok(meta) if meta.permissions().mode() & 0o111 == 0 => ProgramCheck::NotExecutable,
        Ok(_) => ProgramCheck::Executable,
    }
}

fn not_executable(name: &str) -> String {
    format!("{name}: permission denied (the file is not executable; chmod +x it in the image)")
}

/// Returns a text for the user: why the start of `program` failed with `error`.
pub fn spawn_error(program: &Path, user: &str, error: &io::Error) -> String {
    let name = program.display();
    match error.raw_os_error() {
        // `find_program` has just found the file, so its interpreter is missing.
        Some(2) => match interpreter(program) {
            Some(interpreter) => format!("{name}: its interpreter {interpreter} was not found in the image"),
            None => format!("{name}: not found in the image"),
        },
        Some(7) => format!("{name}: the arguments and environment are too long for the system"),
        Some(8) => format!(
            "{name}: cannot be executed (neither a program for this machine's processor nor a script that starts with #!)"
        ),
        Some(11) => format!("{name}: no more processes can be started in the container"),
        Some(12) => format!("{name}: not enough memory to start it"),
        Some(13) if user.is_empty() => format!("{name}: permission denied"),
        Some(1 | 13) => format!("{name}: permission denied for user {user}"),
        Some(26) => format!("{name}: is still open for writing"),
        _ if error.kind() == io::ErrorKind::InvalidInput => {
            format!("{name}: an argument or variable contains a zero byte")
        }
        _ => format!("{name}: cannot be started: {error}"),
    }
}

/// Returns the program that the kernel runs in order to run `program`: the interpreter of a script
/// or the loader of an ELF file.
fn interpreter(program: &Path) -> Option<String> {
    let mut head = Vec::new();
    let file = fs::File::open(program).ok()?;
    file.take(4096).read_to_end(&mut head).ok()?;
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|b| *b == b'\n').next()?;
        let line = String::from_utf8_lossy(line);
        let mut name = line.split_ascii_whitespace().next()?.to_owned();
        if line.ends_with('\r') {
            name = name.trim_end_matches('\r').to_owned();
            name.push_str(" (the script has Windows line ends)");
        }
        return Some(name);
    }
    elf_interpreter(&head)
}

/// Returns the dynamic loader that a 64-bit little-endian ELF file requires.
fn elf_interpreter(head: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    };
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(number(32, 8)?).ok()?;
    let entry_size = number(54, 2)? as usize;
    let count = number(56, 2)? as usize;
    for i in 0..count {
        let entry = table.checked_add(i * entry_size)?;
        if number(entry, 4)? == PT_INTERP {
            let offset = usize::try_from(number(entry.checked_add(8)?, 8)?).ok()?;
            let size = usize::try_from(number(entry.checked_add(32)?, 8)?).ok()?;
            let name = head.get(offset..offset.checked_add(size)?)?;
            let name = String::from_utf8_lossy(name);
            let name = name.trim_end_matches('\0');
            return Some(format!(
                "{name} (the program is linked dynamically; link it statically or use a base image with that loader)"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A temporary folder of programs, removed at the end of the test.
    struct ProgramFolder(PathBuf);

    impl ProgramFolder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("howdah-explain-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    impl Drop for ProgramFolder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn missing() -> io::Error {
        io::Error::from_raw_os_error(2)
    }

    #[test]
    fn programs_are_searched_in_the_order_of_path() {
        let a = ProgramFolder::new("order-a");
        let b = ProgramFolder::new("order-b");
        a.file("tool", b"", 0o644);
        let good = b.file("tool", b"", 0o755);
        let path = format!("/nowhere:{}:{}", a.0.display(), b.0.display());
        assert_eq!(find_program("tool", Some(&path)).unwrap(), good);
    }

    #[test]
    fn errors_contain_the_missing_program() {
        let f = ProgramFolder::new("missing");
        f.file("plain", b"", 0o644);
        let path = f.0.display().to_string();
        let text = find_program("train", Some(&path)).unwrap_err();
        assert_eq!(text, format!("train: not found in the image (looked in PATH {path})"));
        let text = find_program("/train", None).unwrap_err();
        assert_eq!(text, "/train: not found in the image");
        let text = find_program("plain", Some(&path)).unwrap_err();
        assert!(text.starts_with(&format!("{path}/plain: permission denied")), "{text}");
        assert!(find_program(&path, None).unwrap_err().contains("is a directory"));
        assert!(find_program("", None).unwrap_err().contains("empty"));
    }

    #[test]
    fn errors_contain_the_missing_interpreter() {
        let f = ProgramFolder::new("interpreter");
        let script = f.file("s", b"#! /bin/none -x\necho\n", 0o755);
        let text = spawn_error(&script, "", &missing());
        assert!(
            text.ends_with("its interpreter /bin/none was not found in the image"),
            "{text}"
        );
        let script = f.file("w", b"#!/bin/sh\r\necho\r\n", 0o755);
        let text = spawn_error(&script, "", &missing());
        assert!(text.contains("/bin/sh (the script has Windows line ends)"), "{text}");
    }

    #[test]
    fn errors_contain_the_loader_of_a_dynamic_program() {
        let mut elf = vec![0_u8; 200];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64; // offset of the program headers
        elf[54] = 56; // size of a program header
        elf[56] = 1; // number of program headers
        elf[64] = 3; // PT_INTERP
        elf[64 + 8] = 150;
        elf[64 + 32] = 9;
        elf[150..159].copy_from_slice(b"/lib/ld.\0");
        assert!(elf_interpreter(&elf).unwrap().starts_with("/lib/ld. (the program"));
        // A truncated file gives no loader and does not panic.
        for len in 0..elf.len() {
            let _ = elf_interpreter(&elf[..len]);
        }
        let f = ProgramFolder::new("loader");
        let program = f.file("p", &elf, 0o755);
        assert!(spawn_error(&program, "", &missing()).contains("link it statically"));
    }

    #[test]
    fn permission_errors_contain_the_user() {
        let text = spawn_error(Path::new("/x"), "web", &io::Error::from_raw_os_error(13));
        assert_eq!(text, "/x: permission denied for user web");
    }
}
