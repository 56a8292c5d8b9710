use super::*;

const ID: &str = "0123456789ab4def0123456789abcdef";

fn words(text: &str) -> Vec<OsString> {
    text.split(' ')
        .filter(|word| !word.is_empty())
        .map(OsString::from)
        .collect()
}

/// Rewrites a command line and joins the results.
fn now(text: &str) -> String {
    let rewritten = rewrite("pachctl", &words(text)).unwrap_or_else(|refusal| panic!("{text}: {refusal:?}"));
    let lines: Vec<String> = rewritten
        .commands
        .iter()
        .map(|line| {
            line.iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    lines.join("; ")
}

#[test]
fn every_command_has_its_present_form() {
    let id = ID;
    let cases = [
        ("create-repo training", "create repo training".to_owned()),
        (
            "create-repo training -d stuff",
            "create repo training --description=stuff".to_owned(),
        ),
        (
            "update-repo training -d x",
            "update repo training --description=x".to_owned(),
        ),
        ("inspect-repo training", "inspect repo training".to_owned()),
        ("list-repo", "list repo".to_owned()),
        ("list-repo -p images", "list repo --provenance=images".to_owned()),
        ("delete-repo -f training", "delete repo training --force".to_owned()),
        ("delete-repo --all", "delete repo --all".to_owned()),
        ("start-commit images", "start commit images".to_owned()),
        (
            "start-commit images master -p master^ -m hello",
            "start commit images@master --parent=master^ --message=hello".to_owned(),
        ),
        (
            &format!("start-commit images {id}"),
            format!("start commit images --parent={id}"),
        ),
        ("finish-commit images master", "finish commit images@master".to_owned()),
        (
            "finish-commit images master -c",
            "delete commit images@master".to_owned(),
        ),
        (
            "inspect-commit images master~2",
            "inspect commit images@master~2".to_owned(),
        ),
        (
            "list-commit images -n 3 -f master",
            "list commit images --number=3 --from=master".to_owned(),
        ),
        ("list-commit images/master", "list commit images@master".to_owned()),
        (
            "flush-commit images/master a@b -r edges -r out",
            "flush commit images@master a@b --repos=edges --repos=out".to_owned(),
        ),
        (
            "flush-job images/master -p edges",
            "flush job images@master --pipeline=edges".to_owned(),
        ),
        (
            "subscribe-commit images master --new",
            "subscribe commit images@master --new".to_owned(),
        ),
        ("delete-commit images master", "delete commit images@master".to_owned()),
        (
            "fork-commit images master dev",
            "create branch images@dev --head=master; start commit images@dev".to_owned(),
        ),
        (
            "create-branch images dev -p a/b -p c@d --head master",
            "create branch images@dev --provenance=a@b --provenance=c@d --head=master".to_owned(),
        ),
        (
            "set-branch images master dev",
            "create branch images@dev --head=master".to_owned(),
        ),
        ("list-branch images", "list branch images".to_owned()),
        ("delete-branch images dev", "delete branch images@dev".to_owned()),
        (
            "put-file training master -c -f training.csv",
            "put file training@master --commit --file=training.csv".to_owned(),
        ),
        (
            "put-file attributes master -c -r -f .",
            "put file attributes@master --commit --recursive --file=.".to_owned(),
        ),
        (
            "put-file images master /x -f a -f b -o -p 4",
            "put file images@master:/x --file=a --file=b --parallelism=4".to_owned(),
        ),
        (
            "put-file images master -cr -fdir",
            "put file images@master --commit --recursive --file=dir".to_owned(),
        ),
        (
            "put-file images master x --split json --target-file-datums 2",
            "put file images@master:x --split=json --target-file-datums=2".to_owned(),
        ),
        (
            "copy-file a master x b dev y -o",
            "copy file a@master:x b@dev:y".to_owned(),
        ),
        (
            "get-file inference master part-1.json",
            "get file inference@master:part-1.json".to_owned(),
        ),
        (
            "get-file inference master / -r -o out -p 3",
            "get file inference@master:/ --recursive --output=out".to_owned(),
        ),
        (
            "inspect-file images master^ x",
            "inspect file images@master^:x".to_owned(),
        ),
        ("delete-file images master x", "delete file images@master:x".to_owned()),
        ("list-file inference master", "list file inference@master".to_owned()),
        (
            "list-file inference master dir --fast",
            "list file inference@master:dir".to_owned(),
        ),
        (
            "glob-file images master *.png",
            "glob file images@master:*.png".to_owned(),
        ),
        ("diff-file a master x", "diff file --name-only a@master:x".to_owned()),
        (
            "diff-file a master x a dev y -s",
            "diff file --name-only a@master:x a@dev:y --shallow".to_owned(),
        ),
        (
            "create-pipeline -f train.json",
            "create pipeline --file=train.json".to_owned(),
        ),
        ("create-pipeline", "create pipeline".to_owned()),
        (
            "update-pipeline -f train.json --reprocess --no-archive",
            "update pipeline --file=train.json --reprocess".to_owned(),
        ),
        ("inspect-pipeline edges", "inspect pipeline edges".to_owned()),
        ("list-pipeline -s", "list pipeline --spec".to_owned()),
        ("extract-pipeline edges", "list pipeline --spec edges".to_owned()),
        (
            "delete-pipeline edges --delete-jobs --delete-repo -f",
            "delete pipeline edges --force".to_owned(),
        ),
        ("start-pipeline edges", "start pipeline edges".to_owned()),
        ("stop-pipeline edges", "stop pipeline edges".to_owned()),
        ("list-job", "list job --expand".to_owned()),
        (
            "list-job images/master -p edges -o edges/master",
            "list job --expand --input=images@master --output-commit=edges@master --pipeline=edges".to_owned(),
        ),
        ("inspect-job 1234 -b", "inspect job 1234 --block".to_owned()),
        ("stop-job 1234", "stop job 1234".to_owned()),
        (
            "list-datum 1234 --pageSize 10 --page 2",
            "list datum 1234 --pageSize=10 --page=2".to_owned(),
        ),
        ("restart-datum 1234 /a,/b", "restart datum 1234 /a,/b".to_owned()),
        ("get-logs --job=1234 --raw", "logs --job=1234 --raw".to_owned()),
        ("get-logs 1234 -t 5", "logs 1234 --tail=5".to_owned()),
        ("delete-all", "delete all".to_owned()),
        (
            "-v --rpc-timeout 5s --no-metrics list-repo",
            "list repo --verbose --rpc-timeout=5s".to_owned(),
        ),
        (
            "put-file --overwrite=false images master --file=x",
            "put file images@master --file=x".to_owned(),
        ),
    ];
    for (old, new) in cases {
        assert_eq!(now(old), new, "{old}");
    }
}

#[test]
fn present_commands_stay_as_they_are() {
    for text in [
        "list repo",
        "port-forward",
        "put file images@master -c -f x",
        "--no-color list job",
        "",
    ] {
        assert_eq!(now(text), text);
        let rewritten = rewrite("howdah", &words(text)).expect("rewritten");
        assert_eq!(rewritten.name, None);
    }
    assert_eq!(
        rewrite("howdah", &words("list-repo")).expect("rewritten").name,
        Some("list-repo")
    );
}

#[test]
fn wrong_arguments_print_the_expected_number() {
    let usage = |text: &str| match rewrite("pachctl", &words(text)) {
        Err(RewriteError::Usage { message, usage }) => format!("{message} | {usage}"),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(
        usage("create-repo"),
        "expected 1 argument, got 0 | Usage: pachctl create-repo REPO [flags]"
    );
    assert_eq!(
        usage("put-file images"),
        "expected 2 to 3 arguments, got 1 | Usage: pachctl put-file REPO BRANCH [PATH] [flags]"
    );
    assert_eq!(
        usage("flush-commit"),
        "expected at least 1 argument, got 0 | Usage: pachctl flush-commit REPO/COMMIT ... [flags]"
    );
    assert_eq!(
        usage("list-repo --bogus"),
        "unknown flag: --bogus | Usage: pachctl list-repo [flags]"
    );
    assert_eq!(
        usage("create-repo x -d"),
        "flag needs an argument: -d | Usage: pachctl create-repo REPO [flags]"
    );
}

#[test]
fn commands_that_are_not_provided_name_their_successor() {
    match rewrite("howdah", &words("squash-commit a b")) {
        Err(RewriteError::NotProvided { message }) => {
            assert!(message.contains("`howdah squash commit ID`"), "{message}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn help_explains_what_is_different() {
    let Err(RewriteError::Help(text)) = rewrite("pachctl", &words("put-file -h")) else {
        panic!("no help")
    };
    insta::assert_snapshot!(text);
}
