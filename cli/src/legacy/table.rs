//! The table of hyphenated commands: one row for each.

use super::grammar::{FlagUse, LegacyArguments, LegacyCommand, LegacyFlag};
use crate::refs::is_id;

const MANY: usize = usize::MAX;

const fn value(long: &'static str, short: char) -> LegacyFlag {
    LegacyFlag {
        long,
        short: Some(short),
        takes_value: true,
        flag_use: FlagUse::Keep,
    }
}

const fn value_long(long: &'static str) -> LegacyFlag {
    LegacyFlag {
        long,
        short: None,
        takes_value: true,
        flag_use: FlagUse::Keep,
    }
}

const fn switch(long: &'static str, short: char) -> LegacyFlag {
    LegacyFlag {
        long,
        short: Some(short),
        takes_value: false,
        flag_use: FlagUse::Keep,
    }
}

const fn switch_long(long: &'static str) -> LegacyFlag {
    LegacyFlag {
        long,
        short: None,
        takes_value: false,
        flag_use: FlagUse::Keep,
    }
}

const fn with(flag: LegacyFlag, flag_use: FlagUse) -> LegacyFlag {
    LegacyFlag { flag_use, ..flag }
}

const RAW: LegacyFlag = switch_long("raw");
const FULL: LegacyFlag = switch_long("full-timestamps");
const NO_PAGER: LegacyFlag = switch_long("no-pager");

/// Splits a command line made of words without blanks.
fn line(text: &str) -> Vec<String> {
    text.split(' ')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Makes one command line of fixed words and arguments that may hold anything.
fn one(words: &str, arguments: impl IntoIterator<Item = String>) -> Result<Vec<Vec<String>>, String> {
    let mut line = line(words);
    line.extend(arguments);
    Ok(vec![line])
}

/// Passes the arguments on as they are.
fn same(words: &str, given: &LegacyArguments) -> Result<Vec<Vec<String>>, String> {
    one(words, given.arguments.iter().cloned())
}

/// `R C` becomes `R@C`.
fn at(given: &LegacyArguments) -> String {
    format!("{}@{}", given.argument(0), given.argument(1))
}

/// `R C PATH` becomes `R@C:PATH`.
fn file_at(given: &LegacyArguments, first: usize) -> String {
    let (repo, commit, path) = (
        given.argument(first),
        given.argument(first + 1),
        given.argument(first + 2),
    );
    if given.arguments.len() > first + 2 {
        format!("{repo}@{commit}:{path}")
    } else {
        format!("{repo}@{commit}")
    }
}

/// `R/C` becomes `R@C`.
fn slash(text: &str) -> String {
    match text.split_once('/') {
        Some((repo, commit)) if !text.contains('@') => format!("{repo}@{commit}"),
        _ => text.to_owned(),
    }
}

fn not_provided(message: &str) -> Result<Vec<Vec<String>>, String> {
    Err(message.to_owned())
}

fn start_commit(given: &LegacyArguments) -> Result<Vec<Vec<String>>, String> {
    let (repo, second) = (given.argument(0), given.argument(1));
    if is_id(second) {
        // In 1.2 and 1.3 the second argument is the parent.
        return one("start commit", [repo.to_owned(), format!("--parent={second}")]);
    }
    one(
        "start commit",
        [if second.is_empty() { repo.to_owned() } else { at(given) }],
    )
}

fn list_commit(given: &LegacyArguments) -> Result<Vec<Vec<String>>, String> {
    one("list commit", given.arguments.iter().map(|text| slash(text)))
}

fn create_branch(given: &LegacyArguments) -> Result<Vec<Vec<String>>, String> {
    let provenance = given.values("provenance").flat_map(|text| text.split(','));
    one(
        "create branch",
        [at(given)]
            .into_iter()
            .chain(provenance.map(|text| format!("--provenance={}", slash(text)))),
    )
}

fn fork_commit(given: &LegacyArguments) -> Result<Vec<Vec<String>>, String> {
    let branch = format!("{}@{}", given.argument(0), given.argument(2));
    Ok(vec![
        vec![
            "create".into(),
            "branch".into(),
            branch.clone(),
            format!("--head={}", given.argument(1)),
        ],
        vec!["start".into(), "commit".into(), branch],
    ])
}

fn set_branch(given: &LegacyArguments) -> Result<Vec<Vec<String>>, String> {
    let branch = format!("{}@{}", given.argument(0), given.argument(2));
    one("create branch", [branch, format!("--head={}", given.argument(1))])
}

fn diff_file(given: &LegacyArguments) -> Result<Vec<Vec<String>>, String> {
    if !matches!(given.arguments.len(), 3 | 6) {
        return Err("diff-file takes REPO COMMIT PATH, and once more REPO COMMIT PATH for the old side".to_owned());
    }
    let old = (given.arguments.len() == 6).then(|| file_at(given, 3));
    one("diff file --name-only", [file_at(given, 0)].into_iter().chain(old))
}

fn list_job(given: &LegacyArguments) -> Result<Vec<Vec<String>>, String> {
    let inputs = given
        .values("input")
        .map(str::to_owned)
        .chain(given.arguments.iter().cloned());
    let inputs = inputs.map(|text| format!("--input={}", slash(&text)));
    let output = given
        .value("output")
        .map(|text| format!("--output-commit={}", slash(text)));
    one("list job --expand", inputs.chain(output))
}

fn flush_job(given: &LegacyArguments) -> Result<Vec<Vec<String>>, String> {
    one("flush job", given.arguments.iter().map(|text| slash(text)))
}

fn flush_commit(given: &LegacyArguments) -> Result<Vec<Vec<String>>, String> {
    one("flush commit", given.arguments.iter().map(|text| slash(text)))
}

const CREATE_PIPELINE_FLAGS: &[LegacyFlag] = &[
    value("file", 'f'),
    switch("push-images", 'p'),
    value("registry", 'r'),
    value("username", 'u'),
    with(switch_long("password"), FlagUse::Ignore),
];

const UPDATE_PIPELINE_FLAGS: &[LegacyFlag] = &[
    value("file", 'f'),
    switch("push-images", 'p'),
    value("registry", 'r'),
    value("username", 'u'),
    with(switch_long("password"), FlagUse::Ignore),
    switch_long("reprocess"),
    with(switch_long("archive"), FlagUse::Ignore),
    with(switch_long("no-archive"), FlagUse::Ignore),
];

const PUT_FILE_FLAGS: &[LegacyFlag] = &[
    value("file", 'f'),
    value("input-file", 'i'),
    switch("recursive", 'r'),
    switch("commit", 'c'),
    switch("append", 'a'),
    with(switch("overwrite", 'o'), FlagUse::Ignore),
    value("parallelism", 'p'),
    value("message", 'm'),
    with(value("description", 'd'), FlagUse::Rename("message")),
    value_long("split"),
    value_long("target-file-datums"),
    value_long("target-file-bytes"),
    value_long("header-records"),
];

const PUT_FILE_NOTES: &str = "\
A file that exists is replaced, with or without -o; -a adds to its end. Without PATH a file is put
under the whole text given with -f (-f data/x.csv makes /data/x.csv), a folder (-r) under its own
name, and `-r -f .` puts what is in the current folder at the root. With PATH and several sources,
PATH is a prefix. A put to a branch without an open commit makes a commit of its own, with or
without -c.";

const LOG_FLAGS: &[LegacyFlag] = &[
    value("pipeline", 'p'),
    value("job", 'j'),
    value_long("datum"),
    value_long("inputs"),
    switch_long("master"),
    switch_long("worker"),
    RAW,
    switch("follow", 'f'),
    value("tail", 't'),
    value_long("since"),
];

/// Writes one row: name, arguments, fewest and most of them, flags, rewriting.
macro_rules! row {
    ($name:literal, $arguments:literal, $least:expr, $most:expr, $flags:expr, $convert:expr) => {
        row!($name, $arguments, $least, $most, $flags, $convert, "")
    };
    ($name:literal, $arguments:literal, $least:expr, $most:expr, $flags:expr, $convert:expr, $notes:expr) => {
        LegacyCommand {
            name: $name,
            arguments: $arguments,
            least: $least,
            most: $most,
            flags: $flags,
            notes: $notes,
            convert: $convert,
        }
    };
}

/// Every hyphenated command.
pub(super) static COMMANDS: &[LegacyCommand] = &[
    // Repos.
    row!("create-repo", "REPO", 1, 1, &[value("description", 'd')], |given| same(
        "create repo",
        given
    )),
    row!("update-repo", "REPO", 1, 1, &[value("description", 'd')], |given| same(
        "update repo",
        given
    )),
    row!("inspect-repo", "REPO", 1, 1, &[RAW, FULL], |given| same(
        "inspect repo",
        given
    )),
    row!("list-repo", "", 0, 0, &[RAW, FULL, value("provenance", 'p')], |given| {
        same("list repo", given)
    }),
    row!(
        "delete-repo",
        "[REPO]",
        0,
        1,
        &[switch("force", 'f'), switch_long("all")],
        |given| same("delete repo", given)
    ),
    // Commits.
    row!(
        "start-commit",
        "REPO [BRANCH]",
        1,
        2,
        &[
            value("parent", 'p'),
            value("message", 'm'),
            with(value_long("description"), FlagUse::Rename("message"))
        ],
        start_commit
    ),
    row!(
        "finish-commit",
        "REPO COMMIT",
        2,
        2,
        &[
            value("message", 'm'),
            with(value_long("description"), FlagUse::Rename("message")),
            with(switch("cancel", 'c'), FlagUse::Read)
        ],
        |given| if given.has("cancel") {
            one("delete commit", [at(given)])
        } else {
            one("finish commit", [at(given)])
        },
        "-c drops the commit instead of finishing it."
    ),
    row!("inspect-commit", "REPO COMMIT", 2, 2, &[RAW, FULL], |given| one(
        "inspect commit",
        [at(given)]
    )),
    row!(
        "list-commit",
        "REPO[/COMMIT]",
        1,
        1,
        &[value("from", 'f'), value("number", 'n'), RAW, FULL, NO_PAGER],
        list_commit
    ),
    row!(
        "flush-commit",
        "REPO/COMMIT ...",
        1,
        MANY,
        &[with(value("repos", 'r'), FlagUse::Keep), RAW, FULL],
        flush_commit
    ),
    row!(
        "flush-job",
        "REPO/COMMIT ...",
        1,
        MANY,
        &[value("pipeline", 'p'), RAW, FULL],
        flush_job
    ),
    row!(
        "subscribe-commit",
        "REPO BRANCH",
        2,
        2,
        &[value_long("from"), switch_long("new"), RAW, FULL],
        |given| one("subscribe commit", [at(given)])
    ),
    row!("delete-commit", "REPO COMMIT", 2, 2, &[], |given| one(
        "delete commit",
        [at(given)]
    )),
    row!(
        "fork-commit",
        "REPO PARENT BRANCH",
        3,
        3,
        &[value("message", 'm')],
        fork_commit
    ),
    row!("squash-commit", "...", 0, MANY, &[], |_| not_provided(
        "squash-commit of 1.x is not provided; `{program} squash commit ID` removes a set of commits and keeps its data"
    )),
    row!("replay-commit", "...", 0, MANY, &[], |_| not_provided(
        "replay-commit of 1.x is not provided; `{program} create branch REPO@BRANCH --head COMMIT` moves a branch"
    )),
    row!("archive-all", "", 0, MANY, &[], |_| not_provided(
        "archive-all of 1.x is not provided; `{program} delete commit ID` removes a set of commits"
    )),
    // Branches.
    row!(
        "create-branch",
        "REPO BRANCH",
        2,
        2,
        &[with(value("provenance", 'p'), FlagUse::Read), value_long("head")],
        create_branch
    ),
    row!("set-branch", "REPO COMMIT BRANCH", 3, 3, &[], set_branch),
    row!("inspect-branch", "REPO BRANCH", 2, 2, &[RAW, FULL], |given| one(
        "inspect branch",
        [at(given)]
    )),
    row!("list-branch", "REPO", 1, 1, &[RAW], |given| same("list branch", given)),
    row!("delete-branch", "REPO BRANCH", 2, 2, &[switch("force", 'f')], |given| {
        one("delete branch", [at(given)])
    }),
    // Files.
    row!(
        "put-file",
        "REPO BRANCH [PATH]",
        2,
        3,
        PUT_FILE_FLAGS,
        |given| one("put file", [file_at(given, 0)]),
        PUT_FILE_NOTES
    ),
    row!(
        "copy-file",
        "REPO COMMIT PATH REPO BRANCH PATH",
        6,
        6,
        &[with(switch("overwrite", 'o'), FlagUse::Ignore)],
        |given| one("copy file", [file_at(given, 0), file_at(given, 3)])
    ),
    row!(
        "get-file",
        "REPO COMMIT PATH",
        3,
        3,
        &[
            value("output", 'o'),
            switch("recursive", 'r'),
            with(value("parallelism", 'p'), FlagUse::Ignore)
        ],
        |given| one("get file", [file_at(given, 0)])
    ),
    row!("inspect-file", "REPO COMMIT PATH", 3, 3, &[RAW, FULL], |given| one(
        "inspect file",
        [file_at(given, 0)]
    )),
    row!(
        "delete-file",
        "REPO BRANCH PATH",
        3,
        3,
        &[switch("recursive", 'r')],
        |given| one("delete file", [file_at(given, 0)])
    ),
    row!(
        "list-file",
        "REPO COMMIT [PATH]",
        2,
        3,
        &[
            RAW,
            FULL,
            with(switch_long("recurse"), FlagUse::Ignore),
            with(switch_long("fast"), FlagUse::Ignore)
        ],
        |given| one("list file", [file_at(given, 0)])
    ),
    row!("glob-file", "REPO COMMIT PATTERN", 3, 3, &[RAW, FULL], |given| one(
        "glob file",
        [file_at(given, 0)]
    )),
    row!(
        "diff-file",
        "REPO COMMIT PATH [REPO COMMIT PATH]",
        3,
        6,
        &[switch("shallow", 's')],
        diff_file,
        "Prints the names of files that differ."
    ),
    row!("get-object", "HASH", 0, MANY, &[], |_| not_provided(
        "get-object is not provided: objects have no names here; `{program} get file REPO@COMMIT:PATH` reads a file"
    )),
    row!("get-tag", "TAG", 0, MANY, &[], |_| not_provided(
        "get-tag is not provided: objects have no names here; `{program} get file REPO@COMMIT:PATH` reads a file"
    )),
    // Pipelines.
    row!("create-pipeline", "", 0, 0, CREATE_PIPELINE_FLAGS, |given| same(
        "create pipeline",
        given
    )),
    row!(
        "update-pipeline",
        "",
        0,
        0,
        UPDATE_PIPELINE_FLAGS,
        |given| same("update pipeline", given),
        "When the transform has changed, every result is computed again, as if --reprocess were given."
    ),
    row!("inspect-pipeline", "PIPELINE", 1, 1, &[RAW, FULL], |given| same(
        "inspect pipeline",
        given
    )),
    row!(
        "list-pipeline",
        "[PIPELINE]",
        0,
        1,
        &[switch("spec", 's'), RAW, FULL, value_long("history")],
        |given| { same("list pipeline", given) }
    ),
    row!("extract-pipeline", "PIPELINE", 1, 1, &[], |given| same(
        "list pipeline --spec",
        given
    )),
    row!(
        "edit-pipeline",
        "PIPELINE",
        1,
        1,
        &[value_long("editor"), switch_long("reprocess")],
        |given| same("edit pipeline", given)
    ),
    row!("start-pipeline", "PIPELINE", 1, 1, &[], |given| same(
        "start pipeline",
        given
    )),
    row!("stop-pipeline", "PIPELINE", 1, 1, &[], |given| same(
        "stop pipeline",
        given
    )),
    row!(
        "delete-pipeline",
        "[PIPELINE]",
        0,
        1,
        &[
            switch_long("all"),
            switch("force", 'f'),
            with(switch_long("delete-jobs"), FlagUse::Ignore),
            with(switch_long("delete-repo"), FlagUse::Ignore)
        ],
        |given| same("delete pipeline", given)
    ),
    row!(
        "run-pipeline",
        "PIPELINE",
        0,
        MANY,
        &[value("file", 'f')],
        |given| same("run pipeline", given)
    ),
    row!("create-job", "", 0, MANY, &[value("file", 'f')], |given| same(
        "create job",
        given
    )),
    // Jobs, datums, logs.
    row!(
        "list-job",
        "[REPO/COMMIT ...]",
        0,
        MANY,
        &[
            value("pipeline", 'p'),
            with(value("output", 'o'), FlagUse::Read),
            with(value("input", 'i'), FlagUse::Read),
            value_long("history"),
            value_long("state"),
            RAW,
            FULL,
            NO_PAGER
        ],
        list_job
    ),
    row!("inspect-job", "ID", 1, 1, &[switch("block", 'b'), RAW, FULL], |given| {
        same("inspect job", given)
    }),
    row!("stop-job", "ID", 1, 1, &[], |given| same("stop job", given)),
    row!("delete-job", "ID", 1, 1, &[], |given| same("delete job", given)),
    row!(
        "list-datum",
        "ID",
        1,
        1,
        &[value_long("pageSize"), value_long("page"), RAW],
        |given| same("list datum", given)
    ),
    row!("inspect-datum", "ID DATUM", 2, 2, &[RAW], |given| same(
        "inspect datum",
        given
    )),
    row!("restart-datum", "ID PATHS", 2, 2, &[], |given| same(
        "restart datum",
        given
    )),
    row!("get-logs", "[ID]", 0, 1, LOG_FLAGS, |given| same("logs", given)),
    // Others.
    row!("delete-all", "", 0, 0, &[switch("yes", 'y')], |given| same(
        "delete all",
        given
    )),
    row!("update-dash", "", 0, MANY, &[], |_| not_provided(
        "update-dash is not provided: installation is separate"
    )),
];
