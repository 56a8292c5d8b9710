//! Compiles a pattern's tree into instructions and runs them over a path.
//!
//! A *state* is a pair of an instruction and an offset in the path. [`Machine::run`] searches the states depth
//! first, preferred alternatives first, and visits no state twice: what follows a state does not depend on how the
//! machine reached it. So one run takes at most (instructions x bytes of the path) steps, and captures follow the
//! preferred alternative, as in a backtracking matcher.
//!
//! A negated group `!( )` is a list of instructions of its own. At such a group the machine first collects every
//! offset at which the inside can end, and then continues from each other offset within the path element. That can
//! happen at each offset, so with negated groups a run takes up to (instructions x the square of the bytes) steps.

use std::collections::HashMap;
use std::rc::Rc;

use super::steps::{MatchSteps, OutOfSteps};
use super::syntax::{CharClass, PatternNode, Repetition};

/// One instruction; addresses are indices into the list that holds it.
#[derive(Debug, Clone)]
enum Instruction {
    Char(char),
    NotSlash,
    Anything,
    Class(CharClass),
    /// Continues at the first address, and at the second if no match follows from the first.
    Split(usize, usize),
    Jump(usize),
    /// Stores the current offset as the bound of this number.
    Save(usize),
    /// Consumes a text without slashes that the list of this number does not match.
    Not(usize),
    Accept,
}

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(crate) struct GlobProgram {
    /// The instructions of the pattern itself at index 0, then those of each negated group.
    codes: Vec<Vec<Instruction>>,
}

impl GlobProgram {
    /// Compiles the tree of a pattern.
    pub(crate) fn compile(root: &PatternNode) -> GlobProgram {
        let mut program = GlobProgram {
            codes: vec![Vec::new()],
        };
        program.emit(0, root);
        program.codes[0].push(Instruction::Accept);
        program
    }

    /// Appends the instructions of a node to list `code`.
    fn emit(&mut self, code: usize, node: &PatternNode) {
        match node {
            PatternNode::Char(c) => self.codes[code].push(Instruction::Char(*c)),
            PatternNode::One => self.codes[code].push(Instruction::NotSlash),
            PatternNode::Run => self.repeat(code, |program| program.codes[code].push(Instruction::NotSlash)),
            PatternNode::Deep => self.repeat(code, |program| program.codes[code].push(Instruction::Anything)),
            PatternNode::Class(class) => self.codes[code].push(Instruction::Class(class.clone())),
            PatternNode::Sequence(nodes) => nodes.iter().for_each(|node| self.emit(code, node)),
            PatternNode::Either(alternatives) => self.either(code, alternatives),
            PatternNode::Group(number, repetition, inner) => {
                self.codes[code].push(Instruction::Save(2 * number));
                self.repeated(code, *repetition, inner);
                self.codes[code].push(Instruction::Save(2 * number + 1));
            }
        }
    }

    fn repeated(&mut self, code: usize, repetition: Repetition, inner: &PatternNode) {
        match repetition {
            Repetition::Once => self.emit(code, inner),
            Repetition::Any => self.repeat(code, |program| program.emit(code, inner)),
            Repetition::Some => {
                let start = self.codes[code].len();
                self.emit(code, inner);
                let next = self.codes[code].len() + 1;
                self.codes[code].push(Instruction::Split(start, next));
            }
            Repetition::Optional => {
                let split = self.placeholder(code);
                self.emit(code, inner);
                self.codes[code][split] = Instruction::Split(split + 1, self.codes[code].len());
            }
            Repetition::Not => {
                // A list of its own, because only its ends matter: its `Accept` must not end the whole match.
                let inside = self.codes.len();
                self.codes.push(Vec::new());
                self.emit(inside, inner);
                self.codes[inside].push(Instruction::Accept);
                self.codes[code].push(Instruction::Not(inside));
            }
        }
    }

    /// Appends an instruction whose address is not yet known, and returns its index.
    fn placeholder(&mut self, code: usize) -> usize {
        self.codes[code].push(Instruction::Accept);
        self.codes[code].len() - 1
    }

    /// Appends a loop around `body`, any number of turns, as many as possible first.
    fn repeat(&mut self, code: usize, body: impl FnOnce(&mut GlobProgram)) {
        let split = self.placeholder(code);
        body(self);
        self.codes[code].push(Instruction::Jump(split));
        self.codes[code][split] = Instruction::Split(split + 1, self.codes[code].len());
    }

    /// Appends alternatives, the first one preferred.
    fn either(&mut self, code: usize, alternatives: &[PatternNode]) {
        let Some((last, others)) = alternatives.split_last() else {
            return;
        };
        let mut jumps = Vec::new();
        for alternative in others {
            let split = self.placeholder(code);
            self.emit(code, alternative);
            jumps.push(self.placeholder(code));
            self.codes[code][split] = Instruction::Split(split + 1, self.codes[code].len());
        }
        self.emit(code, last);
        let end = self.codes[code].len();
        for jump in jumps {
            self.codes[code][jump] = Instruction::Jump(end);
        }
    }

    /// Matches the whole text; returns the bounds of the groups: start of group n at 2n, end at 2n + 1.
    pub(crate) fn run(
        &self,
        text: &str,
        bounds: usize,
        steps: &mut MatchSteps,
    ) -> Result<Option<Vec<Option<usize>>>, OutOfSteps> {
        let mut machine = Machine {
            program: self,
            text,
            ends: HashMap::new(),
            steps,
        };
        machine.run(bounds)
    }
}

/// Words of a new set that are cleared in one step.
const WORDS_PER_STEP: u64 = 8;

/// Bytes of the text that are looked at in one step when only ends are counted.
const ENDS_PER_STEP: u64 = 4;

/// The set of visited states, one bit each.
struct Visited {
    width: usize,
    bits: Vec<u64>,
}

impl Visited {
    /// Makes an empty set. Clearing its words is paid with steps: there is a set for each start of a negated group.
    fn new(instructions: usize, text: &str, steps: &mut MatchSteps) -> Result<Visited, OutOfSteps> {
        let width = text.len() + 1;
        let words = instructions.saturating_mul(width).div_ceil(64);
        steps.take(1 + words as u64 / WORDS_PER_STEP)?;
        Ok(Visited {
            width,
            bits: vec![0; words],
        })
    }

    /// Marks a state as visited; returns whether this is the first visit.
    fn first(&mut self, at: usize, offset: usize) -> bool {
        let index = at * self.width + offset;
        let (word, bit) = (index / 64, 1 << (index % 64));
        let first = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        first
    }
}

/// What the machine has still to do, on a stack.
enum Pending {
    /// Continue in a state: instruction and offset.
    Visit(usize, usize),
    /// Put the old value of a bound back.
    Restore(usize, Option<usize>),
}

/// Offsets at which a list of instructions can end, by list and start.
type Ends = HashMap<(usize, usize), Rc<Vec<usize>>>;

struct Machine<'a> {
    program: &'a GlobProgram,
    text: &'a str,
    ends: Ends,
    steps: &'a mut MatchSteps,
}

impl Machine<'_> {
    fn run(&mut self, bounds: usize) -> Result<Option<Vec<Option<usize>>>, OutOfSteps> {
        let program = self.program;
        let code = &program.codes[0];
        let mut bounds = vec![None; bounds];
        let mut visited = Visited::new(code.len(), self.text, self.steps)?;
        // A stack in place of recursion: a long path with a long pattern would overflow the thread's stack.
        let mut pending = vec![Pending::Visit(0, 0)];
        while let Some(next) = pending.pop() {
            let (mut at, mut offset) = match next {
                Pending::Visit(at, offset) => (at, offset),
                Pending::Restore(bound, old) => {
                    bounds[bound] = old;
                    continue;
                }
            };
            // An empty turn of a loop such as `*(|a)` comes back to a visited state and ends here; without the
            // check it would turn for ever.
            while visited.first(at, offset) {
                self.steps.take(1)?;
                match &code[at] {
                    Instruction::Accept if offset == self.text.len() => return Ok(Some(bounds)),
                    Instruction::Accept => break,
                    Instruction::Jump(target) => at = *target,
                    Instruction::Split(first, second) => {
                        pending.push(Pending::Visit(*second, offset));
                        at = *first;
                    }
                    Instruction::Save(bound) => {
                        // Below everything that this alternative pushes, so it is popped when the alternative has
                        // failed. Without it, the next alternative reports the captures of the failed one.
                        pending.push(Pending::Restore(*bound, bounds[*bound]));
                        bounds[*bound] = Some(offset);
                        at += 1;
                    }
                    Instruction::Not(inside) => {
                        let next = at + 1;
                        // Ascending order on a stack: the longest text is tried first, like `*`.
                        let ends = self.unmatched(*inside, offset)?.into_iter();
                        pending.extend(ends.map(|end| Pending::Visit(next, end)));
                        break;
                    }
                    single => match self.take(single, offset) {
                        Some(next) => (at, offset) = (at + 1, next),
                        None => break,
                    },
                }
            }
        }
        Ok(None)
    }

    /// Consumes one character if the instruction allows it; returns the offset after it.
    fn take(&self, instruction: &Instruction, offset: usize) -> Option<usize> {
        let c = self.text[offset..].chars().next()?;
        let fits = match instruction {
            Instruction::Char(wanted) => c == *wanted,
            Instruction::NotSlash => c != '/',
            Instruction::Anything => true,
            Instruction::Class(class) => class.contains(c),
            Instruction::Split(..)
            | Instruction::Jump(_)
            | Instruction::Save(_)
            | Instruction::Not(_)
            | Instruction::Accept => false,
        };
        fits.then(|| offset + c.len_utf8())
    }

    /// Returns the ends of all texts from `start` without slashes that list `inside` does not match, ascending.
    fn unmatched(&mut self, inside: usize, start: usize) -> Result<Vec<usize>, OutOfSteps> {
        let matched = self.ends(inside, start)?;
        let rest = &self.text[start..];
        let run = rest.find('/').unwrap_or(rest.len());
        self.steps.take(1 + run as u64 / ENDS_PER_STEP)?;
        let unmatched = (0..=run)
            // An end within a character would make the next slice of the text panic.
            .filter(|length| rest.is_char_boundary(*length))
            .map(|length| start + length)
            .filter(|end| matched.binary_search(end).is_err())
            .collect();
        Ok(unmatched)
    }

    /// Returns every offset at which a list of instructions that begins at `start` can end, ascending.
    ///
    /// Unlike [`Machine::run`] this does not stop at the first match: `!(a|ab)` excludes both ends. The result does
    /// not depend on captures, so it is computed once for each list and start; without that, nested groups such as
    /// `!(!(!(a)))` would repeat the search at every offset of every level.
    fn ends(&mut self, code: usize, start: usize) -> Result<Rc<Vec<usize>>, OutOfSteps> {
        if let Some(known) = self.ends.get(&(code, start)) {
            return Ok(Rc::clone(known));
        }
        let program = self.program;
        let instructions = &program.codes[code];
        let mut visited = Visited::new(instructions.len(), self.text, self.steps)?;
        let mut ends = Vec::new();
        let mut todo = vec![(0, start)];
        while let Some((at, offset)) = todo.pop() {
            if !visited.first(at, offset) {
                continue;
            }
            self.steps.take(1)?;
            match &instructions[at] {
                Instruction::Accept => ends.push(offset),
                Instruction::Jump(target) => todo.push((*target, offset)),
                Instruction::Split(first, second) => todo.extend([(*first, offset), (*second, offset)]),
                Instruction::Save(_) => todo.push((at + 1, offset)),
                Instruction::Not(inside) => {
                    // The recursion is as deep as the groups nest, which the parser bounds.
                    todo.extend(self.unmatched(*inside, offset)?.into_iter().map(|end| (at + 1, end)));
                }
                single => todo.extend(self.take(single, offset).map(|next| (at + 1, next))),
            }
        }
        ends.sort_unstable();
        let ends = Rc::new(ends);
        self.ends.insert((code, start), Rc::clone(&ends));
        Ok(ends)
    }
}
