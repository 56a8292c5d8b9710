//! Which word was meant by one that does not exist.

/// Letters that a word must have before the words it begins count as meant.
const PREFIX_LETTERS: usize = 2;

/// Letters of a short word: a swap and a slip are most of it.
const SHORT: usize = 4;

/// Likeness (Jaro-Winkler, 0 to 1) from which one edit more is forgiven.
const ALIKE: f64 = 0.72;

/// Returns the candidate that a mistyped word most likely stands for, if any is close enough.
///
/// A word that a candidate begins with is taken for its beginning. Otherwise the candidate that takes the
/// fewest edits (insertions, deletions, changes, swaps of neighbours) wins, the one that is more alike from the
/// front among equals; about every third letter may be wrong, in short words one more if they begin alike.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let letters = word.chars().count();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let begins = letters >= PREFIX_LETTERS && candidate.starts_with(&word);
            let edits = strsim::damerau_levenshtein(&word, candidate);
            let allowed = (letters.max(candidate.chars().count()) + 1) / 3;
            let likeness = strsim::jaro_winkler(&word, candidate);
            let close = edits <= allowed || (letters <= SHORT && edits == allowed + 1 && likeness >= ALIKE);
            (begins || close).then_some(((begins, std::cmp::Reverse(edits), likeness), candidate))
        })
        .max_by(|((a_begins, a_edits, a), _), ((b_begins, b_edits, b), _)| {
            // The first of equals is the one that help lists first, so ties keep the earlier one.
            (a_begins, a_edits)
                .cmp(&(b_begins, b_edits))
                .then(a.total_cmp(b))
                .then(std::cmp::Ordering::Greater)
        })
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERBS: &[&str] = &[
        "create",
        "update",
        "edit",
        "inspect",
        "list",
        "delete",
        "put",
        "get",
        "copy",
        "glob",
        "diff",
        "start",
        "finish",
        "stop",
        "resume",
        "rerun",
        "run",
        "restart",
        "wait",
        "subscribe",
        "find",
        "squash",
        "draw",
        "validate",
        "check",
        "next",
        "logs",
        "version",
        "up",
        "config",
        "connect",
        "completion",
        "fsck",
    ];

    #[test]
    fn typing_mistakes_find_the_word_that_was_meant() {
        for (typed, meant) in [
            ("creat", "create"),
            ("craete", "create"),
            ("crate", "create"),
            ("CREATE", "create"),
            ("lst", "list"),
            ("lsit", "list"),
            ("lits", "list"),
            ("isnpect", "inspect"),
            ("inspct", "inspect"),
            ("insp", "inspect"),
            ("delte", "delete"),
            ("del", "delete"),
            ("remov", ""),
            ("strat", "start"),
            ("star", "start"),
            ("sto", "stop"),
            ("restrt", "restart"),
            ("finsh", "finish"),
            ("updat", "update"),
            ("log", "logs"),
            ("lgos", "logs"),
            ("ptu", "put"),
            ("gt", "get"),
            ("waitt", "wait"),
            ("versoin", "version"),
            ("subscrib", "subscribe"),
            ("conect", "connect"),
            ("xyzzy", ""),
            ("make", ""),
        ] {
            assert_eq!(nearest(typed, VERBS.iter().copied()).unwrap_or(""), meant, "{typed}");
        }
        assert_eq!(nearest("rop", ["branch", "commit", "repo"]), Some("repo"));
    }
}
