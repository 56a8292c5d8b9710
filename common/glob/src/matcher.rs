//! From a syntax tree to a small program, and its execution.
//!
//! The machine walks through pairs of (instruction, place in the path), preferred ways first, and never visits
//! a pair twice: whatever led there, the rest of the way is the same. Groups of the form `!( )` are answered
//! by first collecting every place where their inside can end.

use std::collections::HashMap;
use std::rc::Rc;

use super::syntax::{Class, Part, Quantity};

#[derive(Debug, Clone)]
enum Step {
    Char(char),
    NotSlash,
    Anything,
    Class(Class),
    /// Goes to the first address, and to the second if that leads nowhere.
    Split(usize, usize),
    Jump(usize),
    /// Notes the place in a slot.
    Save(usize),
    /// A run without slashes that the program of this number does not match.
    Not(usize),
    Accept,
}

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The steps of the pattern itself, then of every negated group.
    codes: Vec<Vec<Step>>,
}

impl Program {
    pub fn compile(root: &Part) -> Program {
        let mut program = Program {
            codes: vec![Vec::new()],
        };
        program.emit(0, root);
        program.codes[0].push(Step::Accept);
        program
    }

    fn emit(&mut self, code: usize, part: &Part) {
        match part {
            Part::Char(c) => self.codes[code].push(Step::Char(*c)),
            Part::One => self.codes[code].push(Step::NotSlash),
            Part::Run => self.repeat(code, |program| program.codes[code].push(Step::NotSlash)),
            Part::Deep => self.repeat(code, |program| program.codes[code].push(Step::Anything)),
            Part::Class(class) => self.codes[code].push(Step::Class(class.clone())),
            Part::Sequence(parts) => parts.iter().for_each(|part| self.emit(code, part)),
            Part::Either(parts) => self.either(code, parts),
            Part::Group(number, quantity, inner) => {
                self.codes[code].push(Step::Save(2 * number));
                self.quantified(code, *quantity, inner);
                self.codes[code].push(Step::Save(2 * number + 1));
            }
        }
    }

    fn quantified(&mut self, code: usize, quantity: Quantity, inner: &Part) {
        match quantity {
            Quantity::Once => self.emit(code, inner),
            Quantity::Any => self.repeat(code, |program| program.emit(code, inner)),
            Quantity::Some => {
                let start = self.codes[code].len();
                self.emit(code, inner);
                let next = self.codes[code].len() + 1;
                self.codes[code].push(Step::Split(start, next));
            }
            Quantity::Optional => {
                let split = self.codes[code].len();
                self.codes[code].push(Step::Accept);
                self.emit(code, inner);
                self.codes[code][split] = Step::Split(split + 1, self.codes[code].len());
            }
            Quantity::Not => {
                let inside = self.codes.len();
                self.codes.push(Vec::new());
                self.emit(inside, inner);
                self.codes[inside].push(Step::Accept);
                self.codes[code].push(Step::Not(inside));
            }
        }
    }

    fn repeat(&mut self, code: usize, body: impl FnOnce(&mut Program)) {
        let split = self.codes[code].len();
        self.codes[code].push(Step::Accept);
        body(self);
        self.codes[code].push(Step::Jump(split));
        self.codes[code][split] = Step::Split(split + 1, self.codes[code].len());
    }

    fn either(&mut self, code: usize, parts: &[Part]) {
        let Some((last, others)) = parts.split_last() else {
            return;
        };
        let mut jumps = Vec::new();
        for part in others {
            let split = self.codes[code].len();
            self.codes[code].push(Step::Accept);
            self.emit(code, part);
            jumps.push(self.codes[code].len());
            self.codes[code].push(Step::Accept);
            self.codes[code][split] = Step::Split(split + 1, self.codes[code].len());
        }
        self.emit(code, last);
        let end = self.codes[code].len();
        for jump in jumps {
            self.codes[code][jump] = Step::Jump(end);
        }
    }

    /// Matches the whole text; returns the filled slots.
    pub fn run(&self, text: &str, slots: usize) -> Option<Vec<Option<usize>>> {
        let mut machine = Machine {
            program: self,
            text,
            ends: HashMap::new(),
        };
        machine.run(slots)
    }
}

/// Pairs of (instruction, place) that were visited.
struct Visited {
    width: usize,
    bits: Vec<u64>,
}

impl Visited {
    fn new(steps: usize, text: &str) -> Visited {
        let width = text.len() + 1;
        Visited {
            width,
            bits: vec![0; (steps * width).div_ceil(64)],
        }
    }

    /// Returns whether this is the first visit.
    fn first(&mut self, step: usize, place: usize) -> bool {
        let index = step * self.width + place;
        let (word, bit) = (index / 64, 1 << (index % 64));
        let first = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        first
    }
}

enum Job {
    Visit(usize, usize),
    /// Undoes a save when the machine goes back over it.
    Restore(usize, Option<usize>),
}

/// Places where a program can end, per program and starting place.
type Ends = HashMap<(usize, usize), Rc<Vec<usize>>>;

struct Machine<'a> {
    program: &'a Program,
    text: &'a str,
    ends: Ends,
}

impl Machine<'_> {
    fn run(&mut self, slots: usize) -> Option<Vec<Option<usize>>> {
        let program = self.program;
        let steps = &program.codes[0];
        let mut slots = vec![None; slots];
        let mut visited = Visited::new(steps.len(), self.text);
        let mut jobs = vec![Job::Visit(0, 0)];
        while let Some(job) = jobs.pop() {
            let (mut step, mut place) = match job {
                Job::Visit(step, place) => (step, place),
                Job::Restore(slot, old) => {
                    slots[slot] = old;
                    continue;
                }
            };
            while visited.first(step, place) {
                match &steps[step] {
                    Step::Accept if place == self.text.len() => return Some(slots),
                    Step::Accept => break,
                    Step::Jump(target) => step = *target,
                    Step::Split(first, second) => {
                        jobs.push(Job::Visit(*second, place));
                        step = *first;
                    }
                    Step::Save(slot) => {
                        jobs.push(Job::Restore(*slot, slots[*slot]));
                        slots[*slot] = Some(place);
                        step += 1;
                    }
                    Step::Not(inside) => {
                        // Pushed from short to long, so that the longest is tried first.
                        let next = step + 1;
                        jobs.extend(
                            self.unmatched(*inside, place)
                                .into_iter()
                                .map(|end| Job::Visit(next, end)),
                        );
                        break;
                    }
                    single => match self.take(single, place) {
                        Some(next) => (step, place) = (step + 1, next),
                        None => break,
                    },
                }
            }
        }
        None
    }

    /// Consumes one character, if the step allows it.
    fn take(&self, step: &Step, place: usize) -> Option<usize> {
        let c = self.text[place..].chars().next()?;
        let fits = match step {
            Step::Char(wanted) => c == *wanted,
            Step::NotSlash => c != '/',
            Step::Anything => true,
            Step::Class(class) => class.contains(c),
            Step::Split(..) | Step::Jump(_) | Step::Save(_) | Step::Not(_) | Step::Accept => false,
        };
        fits.then(|| place + c.len_utf8())
    }

    /// Returns the ends of all runs without slashes from `place` that program `inside` does not match, ascending.
    fn unmatched(&mut self, inside: usize, place: usize) -> Vec<usize> {
        let matched = self.ends(inside, place);
        let rest = &self.text[place..];
        let run = rest.find('/').unwrap_or(rest.len());
        let is_boundary = |offset: &usize| rest.is_char_boundary(*offset);
        (0..=run)
            .filter(is_boundary)
            .map(|offset| place + offset)
            .filter(|end| matched.binary_search(end).is_err())
            .collect()
    }

    /// Returns every place where a program that starts at `place` can end, ascending.
    fn ends(&mut self, code: usize, start: usize) -> Rc<Vec<usize>> {
        if let Some(known) = self.ends.get(&(code, start)) {
            return Rc::clone(known);
        }
        let program = self.program;
        let steps = &program.codes[code];
        let mut visited = Visited::new(steps.len(), self.text);
        let mut ends = Vec::new();
        let mut todo = vec![(0, start)];
        while let Some((step, place)) = todo.pop() {
            if !visited.first(step, place) {
                continue;
            }
            match &steps[step] {
                Step::Accept => ends.push(place),
                Step::Jump(target) => todo.push((*target, place)),
                Step::Split(first, second) => todo.extend([(*first, place), (*second, place)]),
                Step::Save(_) => todo.push((step + 1, place)),
                Step::Not(inside) => {
                    todo.extend(self.unmatched(*inside, place).into_iter().map(|end| (step + 1, end)));
                }
                single => todo.extend(self.take(single, place).map(|next| (step + 1, next))),
            }
        }
        ends.sort_unstable();
        let ends = Rc::new(ends);
        self.ends.insert((code, start), Rc::clone(&ends));
        ends
    }
}
