//! The program of the test pipelines: executes its arguments as actions, one after the other.
//!
//! | argument | action |
//! | --- | --- |
//! | `copy` | copies every input file to the path in `/pfs/out` that it has in its repo |
//! | `stamp=TEXT` | as `copy`, with `TEXT:` in front of the content |
//! | `join=NAME` | writes the contents of all input files, in order, into `/pfs/out/NAME` |
//! | `pair` | writes `a-b: A+B` for the two input files a, b into `/pfs/out/a-b` |
//! | `link` | makes symbolic links in `/pfs/out` to every input file |
//! | `link-to=PATH` | makes a symbolic link `/pfs/out/link` to PATH |
//! | `write=NAME` | writes a line into `/pfs/out/NAME` |
//! | `socket=NAME` | makes a Unix socket `/pfs/out/NAME` |
//! | `print=TEXT` | prints a line |
//! | `spam=N` | prints N numbered lines |
//! | `flood=N` | prints N numbered lines of a thousand characters |
//! | `deep=PATH:N` | makes N folders in PATH, each in the one before |
//! | `sparse=BYTES` | makes the file `/pfs/out/sparse` of so many bytes, without data |
//! | `sleep=MS` | sleeps |
//! | `exit=CODE` | ends |
//! | `exit-if=TEXT` | ends with code 1 if an input file contains TEXT |
//! | `sleep-if=TEXT` | sleeps for an hour if an input file contains TEXT |
//! | `first-time-exit=CODE` | ends with CODE if it has not run in this container before |
//! | `first-time-hang` | sleeps for an hour if it has not run in this container before |
//! | `write-input` | appends to every input file |
//! | `change-input` | appends to every input file, then copies |
//! | `env` | writes the environment, sorted, into `/pfs/out/env` |
//! | `dot-env` | copies `/pfs/.env` to `/pfs/out/dot-env` |
//! | `process` | writes user, group, and folder into `/pfs/out/process` |
//! | `tree` | writes the names of everything below `/pfs` into `/pfs/out/tree` |
//! | `stdin` | copies standard input to `/pfs/out/stdin` |
//! | `ignore-stdin` | closes standard input unread |
//! | `leave=PATH` | writes a line into the file PATH of the container |
//! | `absent=PATH` | ends with code 1 if the container has something at PATH |
//! | `lock=PATH` | takes the permissions of others from PATH |
//! | `background=MS` | starts a copy of itself that sleeps, and does not wait for it |

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::thread::sleep;
use std::time::Duration;

unsafe extern "C" {
    safe fn getuid() -> u32;
    safe fn getgid() -> u32;
}

const PFS: &str = "/pfs";
const OUT: &str = "/pfs/out";

fn main() {
    for action in std::env::args().skip(1) {
        let (name, value) = action.split_once('=').unwrap_or((&action, ""));
        if let Err(error) = act(name, value) {
            eprintln!("{action}: {error}");
            exit(1);
        }
    }
}

fn act(name: &str, value: &str) -> io::Result<()> {
    match name {
        "copy" => copy("")?,
        "stamp" => copy(&format!("{value}:"))?,
        "join" => {
            let mut all = Vec::new();
            for (_, path) in inputs()? {
                all.extend(read(&path)?);
            }
            write(&Path::new(OUT).join(value), &all)?;
        }
        "pair" => {
            let inputs: Vec<_> = inputs()?.into_values().collect();
            let names: Vec<_> = inputs
                .iter()
                .map(|path| path.file_name().unwrap_or_default().to_string_lossy())
                .collect();
            let texts = inputs.iter().map(|path| read(path)).collect::<io::Result<Vec<_>>>()?;
            let texts: Vec<_> = texts.iter().map(|text| String::from_utf8_lossy(text)).collect();
            let name = names.join("-");
            write(
                &Path::new(OUT).join(&name),
                format!("{name}: {}\n", texts.join("+")).as_bytes(),
            )?;
        }
        "link" => {
            for (relative, path) in inputs()? {
                let target = Path::new(OUT).join(relative);
                fs::create_dir_all(target.parent().unwrap_or(Path::new(OUT)))?;
                symlink(path, target)?;
            }
        }
        "link-to" => symlink(value, Path::new(OUT).join("link"))?,
        "write" => write(&Path::new(OUT).join(value), b"written\n")?,
        "socket" => drop(UnixListener::bind(Path::new(OUT).join(value))?),
        "print" => println!("{value}"),
        "spam" => {
            for line in 0..number(value)? {
                println!("line {line}");
            }
        }
        "flood" => {
            for line in 0..number(value)? {
                println!("line {line:0995}");
            }
        }
        "deep" => {
            let (folder, depth) = value.split_once(':').unwrap_or((OUT, value));
            std::env::set_current_dir(folder)?;
            for _ in 0..number(depth)? {
                fs::create_dir("d")?;
                std::env::set_current_dir("d")?;
            }
            std::env::set_current_dir("/")?;
        }
        "sparse" => File::create(Path::new(OUT).join("sparse"))?.set_len(number(value)?)?,
        "sleep" => sleep(Duration::from_millis(number(value)?)),
        "exit" => exit(number(value)? as i32),
        "exit-if" => {
            if any_input_contains(value)? {
                println!("an input contains {value}");
                exit(1);
            }
        }
        "sleep-if" => {
            if any_input_contains(value)? {
                sleep(Duration::from_secs(3600));
            }
        }
        "first-time-exit" => {
            if fs::create_dir("/been-here").is_ok() {
                exit(number(value)? as i32);
            }
        }
        "first-time-hang" => {
            if fs::create_dir("/been-here").is_ok() {
                sleep(Duration::from_secs(3600));
            }
        }
        "write-input" => change_inputs()?,
        "change-input" => {
            change_inputs()?;
            copy("")?;
        }
        "env" => {
            let variables: BTreeMap<_, _> = std::env::vars().collect();
            let text: String = variables
                .iter()
                .map(|(name, value)| format!("{name}={value}\n"))
                .collect();
            write(&Path::new(OUT).join("env"), text.as_bytes())?;
        }
        "dot-env" => write(&Path::new(OUT).join("dot-env"), &read(Path::new("/pfs/.env"))?)?,
        "process" => {
            let folder = std::env::current_dir()?;
            let text = format!("uid={} gid={} folder={}\n", getuid(), getgid(), folder.display());
            write(&Path::new(OUT).join("process"), text.as_bytes())?;
        }
        "tree" => {
            let mut names = Vec::new();
            walk(Path::new(PFS), &mut names)?;
            let text: String = names.iter().map(|path| format!("{}\n", path.display())).collect();
            write(&Path::new(OUT).join("tree"), text.as_bytes())?;
        }
        "stdin" => {
            let mut text = Vec::new();
            io::stdin().read_to_end(&mut text)?;
            write(&Path::new(OUT).join("stdin"), &text)?;
        }
        // SAFETY: no later code of this program uses standard input.
        "ignore-stdin" => drop(unsafe { File::from_raw_fd(0) }),
        "leave" => write(Path::new(value), b"left\n")?,
        "absent" => {
            if fs::symlink_metadata(value).is_ok() {
                println!("{value} is there");
                exit(1);
            }
        }
        "lock" => fs::set_permissions(value, fs::Permissions::from_mode(0o700))?,
        "background" => {
            let own = std::env::current_exe()?;
            Command::new(own)
                .arg(format!("sleep={value}"))
                .stdin(Stdio::null())
                .spawn()?;
        }
        _ => return Err(io::Error::other("testbox knows no such action")),
    }
    Ok(())
}

fn number(text: &str) -> io::Result<u64> {
    text.parse()
        .map_err(|_| io::Error::other(format!("{text:?} is not a number")))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn copy(stamp: &str) -> io::Result<()> {
    for (relative, path) in inputs()? {
        let mut content = stamp.as_bytes().to_vec();
        content.extend(read(&path)?);
        write(&Path::new(OUT).join(relative), &content)?;
    }
    Ok(())
}

fn change_inputs() -> io::Result<()> {
    for (_, path) in inputs()? {
        let file = OpenOptions::new().append(true).open(&path);
        let mut file = file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        file.write_all(b"changed")?;
    }
    Ok(())
}

fn any_input_contains(text: &str) -> io::Result<bool> {
    for (_, path) in inputs()? {
        if String::from_utf8_lossy(&read(&path)?).contains(text) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns every input file: its path in its repo, and its path in the container. With several inputs the name of the
/// input precedes the key, so files are sorted by input.
fn inputs() -> io::Result<BTreeMap<PathBuf, PathBuf>> {
    let mut files = Vec::new();
    let mut folders: Vec<_> = fs::read_dir(PFS)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    folders.sort();
    folders.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name != "out" && !name.starts_with('.')
    });
    let several = folders.len() > 1;
    for folder in folders {
        let mut found = Vec::new();
        // An input is a symbolic link; the trailing slash follows it.
        walk(&folder.join(""), &mut found)?;
        for path in found.into_iter().filter(|path| path.is_file()) {
            let relative = path
                .strip_prefix(if several { Path::new(PFS) } else { &folder })
                .unwrap_or(&path);
            files.push((relative.to_owned(), path.clone()));
        }
    }
    Ok(files.into_iter().collect())
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    for path in entries {
        found.push(path.clone());
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            walk(&path, found)?;
        }
    }
    Ok(())
}
