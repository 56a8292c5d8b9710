//! The contestants, and the command of each for each phase.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::phase::{ContestPlace, Phase};
use crate::harness::find_howdah;
use crate::options::CommonOptions;

/// A program that stores files.
pub(crate) trait Contestant {
    /// Its name in tables.
    fn name(&self) -> &'static str;
    /// Returns its version, or how to install it.
    fn version(&self) -> Result<String, String>;
    /// Returns whether it needs a running Howdah.
    fn needs_server(&self) -> bool {
        false
    }
    /// Returns the commands to run before the first phase.
    fn setup(&self, place: &ContestPlace) -> Vec<Command>;
    /// Returns the command of a phase; none if it has no such command.
    fn command(&self, phase: Phase, place: &ContestPlace) -> Option<Command>;
    /// Returns the folder with the files of the source after [`Phase::Get`].
    fn got(&self, place: &ContestPlace) -> PathBuf {
        place.out.clone()
    }
}

/// Howdah itself: its command line against a server.
pub(crate) struct Howdah {
    program: PathBuf,
}

/// The repository for Howdah's files.
pub(crate) const REPO: &str = "files";

impl Howdah {
    /// Finds the program.
    pub(crate) fn new(common: &CommonOptions) -> anyhow::Result<Self> {
        Ok(Self {
            program: find_howdah(common)?,
        })
    }

    fn howdah(&self, place: &ContestPlace, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("PACH_CONFIG", place.own.join("config.json"));
        if let Some(address) = &place.address {
            command.env("PACHD_ADDRESS", address.to_string());
        }
        command
    }
}

impl Contestant for Howdah {
    fn name(&self) -> &'static str {
        "howdah"
    }

    fn version(&self) -> Result<String, String> {
        Ok(env!("CARGO_PKG_VERSION").to_owned())
    }

    fn needs_server(&self) -> bool {
        true
    }

    fn setup(&self, place: &ContestPlace) -> Vec<Command> {
        vec![self.howdah(place, &["create", "repo", REPO])]
    }

    fn command(&self, phase: Phase, place: &ContestPlace) -> Option<Command> {
        let head = format!("{REPO}@master");
        let source = text(&place.source);
        let out = text(&place.out);
        Some(match phase {
            Phase::Put | Phase::PutAgain => {
                self.howdah(place, &["put", "file", "-r", &format!("{head}:/"), "-f", &source])
            }
            Phase::List => self.howdah(place, &["glob", "file", &format!("{head}:/**")]),
            Phase::ListFolder => self.howdah(place, &["list", "file", &format!("{head}:/{}", place.folder)]),
            Phase::Get => self.howdah(place, &["get", "file", "-r", &format!("{head}:/"), "-o", &out]),
        })
    }
}

/// Plain copies without history or checks: `cp`.
pub(crate) struct Cp;

impl Contestant for Cp {
    fn name(&self) -> &'static str {
        "cp -r"
    }

    fn version(&self) -> Result<String, String> {
        Ok(String::new())
    }

    fn setup(&self, _: &ContestPlace) -> Vec<Command> {
        Vec::new()
    }

    fn command(&self, phase: Phase, place: &ContestPlace) -> Option<Command> {
        let copy = place.own.join("copy");
        match phase {
            Phase::Put => Some(command("cp", &["-r", &text(&place.source), &text(&copy)])),
            Phase::Get => Some(command("cp", &["-r", &text(&copy), &text(&place.out)])),
            _ => None,
        }
    }
}

/// One archive without history or checks: `tar`.
pub(crate) struct Tar;

impl Contestant for Tar {
    fn name(&self) -> &'static str {
        "tar"
    }

    fn version(&self) -> Result<String, String> {
        ask("tar", &["--version"], "apt-get install tar")
    }

    fn setup(&self, place: &ContestPlace) -> Vec<Command> {
        vec![command("mkdir", &[&text(&place.out)])]
    }

    fn command(&self, phase: Phase, place: &ContestPlace) -> Option<Command> {
        let archive = text(&place.own.join("archive.tar"));
        match phase {
            Phase::Put => Some(command("tar", &["-cf", &archive, "-C", &text(&place.source), "."])),
            Phase::List => Some(command("tar", &["-tf", &archive])),
            Phase::Get => Some(command("tar", &["-xf", &archive, "-C", &text(&place.out)])),
            _ => None,
        }
    }
}

/// The backup program restic, with its defaults.
pub(crate) struct Restic;

impl Restic {
    fn restic(place: &ContestPlace, arguments: &[&str]) -> Command {
        let mut restic = command("restic", &["--quiet", "-r", &text(&place.own.join("repo"))]);
        restic
            .args(["--cache-dir", &text(&place.own.join("cache"))])
            .args(arguments)
            .env("RESTIC_PASSWORD", "benchmark")
            .current_dir(&place.source);
        restic
    }
}

impl Contestant for Restic {
    fn name(&self) -> &'static str {
        "restic"
    }

    fn version(&self) -> Result<String, String> {
        ask("restic", &["version"], "apt-get install restic")
    }

    fn setup(&self, place: &ContestPlace) -> Vec<Command> {
        vec![Self::restic(place, &["init"])]
    }

    fn command(&self, phase: Phase, place: &ContestPlace) -> Option<Command> {
        Some(match phase {
            Phase::Put | Phase::PutAgain => Self::restic(place, &["backup", "."]),
            Phase::List => Self::restic(place, &["ls", "latest"]),
            Phase::ListFolder => return None,
            Phase::Get => Self::restic(place, &["restore", "latest", "--target", &text(&place.out)]),
        })
    }
}

/// The backup program BorgBackup, without encryption.
pub(crate) struct Borg;

impl Borg {
    fn borg(place: &ContestPlace, arguments: &[&str]) -> Command {
        let mut borg = command("borg", arguments);
        borg.env("BORG_REPO", place.own.join("repo"))
            .env("BORG_BASE_DIR", place.own.join("base"))
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
            .current_dir(&place.source);
        borg
    }
}

impl Contestant for Borg {
    fn name(&self) -> &'static str {
        "borg"
    }

    fn version(&self) -> Result<String, String> {
        ask("borg", &["--version"], "apt-get install borgbackup")
    }

    fn setup(&self, place: &ContestPlace) -> Vec<Command> {
        vec![
            Self::borg(place, &["init", "--encryption", "none"]),
            command("mkdir", &[&text(&place.out)]),
        ]
    }

    fn command(&self, phase: Phase, place: &ContestPlace) -> Option<Command> {
        Some(match phase {
            Phase::Put => Self::borg(place, &["create", "::first", "."]),
            Phase::PutAgain => Self::borg(place, &["create", "::second", "."]),
            Phase::List => Self::borg(place, &["list", "::first"]),
            Phase::ListFolder => return None,
            Phase::Get => {
                let mut extract = Self::borg(place, &["extract", "::first"]);
                extract.current_dir(&place.out);
                extract
            }
        })
    }
}

/// The backup program rustic, with its defaults.
pub(crate) struct Rustic;

impl Rustic {
    fn rustic(place: &ContestPlace, arguments: &[&str]) -> Command {
        let mut rustic = command("rustic", &["--no-progress", "--log-level", "warn"]);
        rustic
            .args(["-r", &text(&place.own.join("repo")), "--password", "benchmark"])
            .args(["--cache-dir", &text(&place.own.join("cache"))])
            .args(arguments)
            .env("HOME", &place.own)
            .current_dir(&place.source);
        rustic
    }
}

impl Contestant for Rustic {
    fn name(&self) -> &'static str {
        "rustic"
    }

    fn version(&self) -> Result<String, String> {
        ask("rustic", &["--version"], "cargo install rustic-rs")
    }

    fn setup(&self, place: &ContestPlace) -> Vec<Command> {
        vec![Self::rustic(place, &["init"])]
    }

    fn command(&self, phase: Phase, place: &ContestPlace) -> Option<Command> {
        Some(match phase {
            Phase::Put | Phase::PutAgain => Self::rustic(place, &["backup", "."]),
            Phase::List => Self::rustic(place, &["ls", "latest"]),
            Phase::ListFolder => return None,
            Phase::Get => Self::rustic(place, &["restore", "latest", &text(&place.out)]),
        })
    }
}

/// The data versioning program DVC, with its defaults except that it uses no version control system.
///
/// Two of its workspaces share one cache: data is added in the first and checked out in the second.
pub(crate) struct Dvc;

impl Dvc {
    fn added(place: &ContestPlace) -> PathBuf {
        place.own.join("add")
    }

    fn checked_out(place: &ContestPlace) -> PathBuf {
        place.own.join("checkout")
    }

    fn dvc(place: &ContestPlace, workspace: &Path, arguments: &[&str]) -> Command {
        let mut dvc = command("dvc", arguments);
        Self::at_home(&mut dvc, place, workspace);
        dvc
    }

    /// Keeps all files of a command in the contestant's own folder, and turns its usage reports off.
    fn at_home(command: &mut Command, place: &ContestPlace, workspace: &Path) {
        command
            .env("DVC_NO_ANALYTICS", "1")
            .env("DVC_SITE_CACHE_DIR", place.own.join("site"))
            .env("DVC_GLOBAL_CONFIG_DIR", place.own.join("global"))
            .env("DVC_SYSTEM_CONFIG_DIR", place.own.join("system"))
            .current_dir(workspace);
    }
}

impl Contestant for Dvc {
    fn name(&self) -> &'static str {
        "dvc"
    }

    fn version(&self) -> Result<String, String> {
        ask("dvc", &["--version"], "pip install dvc")
    }

    fn setup(&self, place: &ContestPlace) -> Vec<Command> {
        let (added, out) = (Self::added(place), Self::checked_out(place));
        let init = |workspace: &Path| Self::dvc(place, workspace, &["init", "--no-scm", "--quiet"]);
        vec![
            command("mkdir", &[&text(&added), &text(&out)]),
            init(&added),
            init(&out),
            Self::dvc(place, &out, &["cache", "dir", &text(&added.join(".dvc/cache"))]),
        ]
    }

    fn command(&self, phase: Phase, place: &ContestPlace) -> Option<Command> {
        let (added, out, source) = (Self::added(place), Self::checked_out(place), text(&place.source));
        let add = |more: &[&str]| {
            let mut add = Self::dvc(place, &added, &["add", "--quiet", "--out", "data"]);
            add.args(more).arg(&source);
            add
        };
        Some(match phase {
            Phase::Put => add(&[]),
            Phase::PutAgain => add(&["--force"]),
            Phase::List => Self::dvc(place, &added, &["list", ".", "data", "--recursive"]),
            Phase::ListFolder => Self::dvc(place, &added, &["list", ".", &format!("data/{}", place.folder)]),
            Phase::Get => {
                // The file that names the data usually comes from git; here it is copied.
                let script = "cp ../add/data.dvc . && exec dvc checkout --quiet";
                let mut get = command("sh", &["-c", script]);
                Self::at_home(&mut get, place, &out);
                get
            }
        })
    }

    fn got(&self, place: &ContestPlace) -> PathBuf {
        Self::checked_out(place).join("data")
    }
}

/// Returns every peer, installed or not.
pub(crate) fn peers() -> Vec<Box<dyn Contestant>> {
    vec![
        Box::new(Restic),
        Box::new(Borg),
        Box::new(Rustic),
        Box::new(Dvc),
        Box::new(Tar),
        Box::new(Cp),
    ]
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Returns the version of a program, or how to install it.
fn ask(program: &str, arguments: &[&str], remedy: &str) -> Result<String, String> {
    let answer = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    match answer {
        Ok(output) if output.status.success() => {
            let printed = String::from_utf8_lossy(&output.stdout);
            Ok(printed.lines().next().unwrap_or_default().to_owned())
        }
        _ => Err(format!("not installed ({remedy})")),
    }
}
