//! The complaint about a wrong number of arguments, for present and hyphenated commands alike.

/// Returns the complaint about a wrong number of arguments: `expected 2 arguments, got 1`.
///
/// `most` of [`usize::MAX`] means that there is no upper limit.
pub(crate) fn arity(least: usize, most: usize, got: usize) -> String {
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    if most == usize::MAX {
        format!("expected at least {least} {}, got {got}", plural(least))
    } else if least == most {
        format!("expected {least} {}, got {got}", plural(least))
    } else {
        format!("expected {least} to {most} arguments, got {got}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_counted_in_words() {
        assert_eq!(arity(2, 2, 1), "expected 2 arguments, got 1");
        assert_eq!(arity(1, 1, 0), "expected 1 argument, got 0");
        assert_eq!(arity(0, 1, 3), "expected 0 to 1 arguments, got 3");
        assert_eq!(arity(1, usize::MAX, 0), "expected at least 1 argument, got 0");
    }
}
