//! Suggestions for mistyped words.

/// Fewest letters of a word that is taken as the beginning of a longer one.
const PREFIX_LETTERS: usize = 2;

/// Most letters of a short word, in which one edit more is accepted.
const SHORT: usize = 4;

/// Similarity (Jaro-Winkler, 0 to 1) from which a short word may have one edit more.
const ALIKE: f64 = 0.72;

/// Returns the candidate that is closest to a mistyped word, if any is close enough.
///
/// A candidate that begins with the word comes first. Otherwise the candidate with the fewest edits (insertions,
/// deletions, changes, swaps of neighbours) wins; among equals the more similar one. About a third of the letters may
/// be wrong, in short words one more if the beginnings are similar.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
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
            // Ties keep the earlier candidate, which is the one that help lists first.
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
    fn typing_mistakes_lead_to_the_intended_word() {
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
