//! What a regular expression costs, told from its text.
//!
//! A search cannot be interrupted, so it is paid for before it is made. It takes at most a number of steps that grows with
//! the length of the text times the size of the pattern.

/// Size from which a pattern is refused; one of 100 letters has 400.
const SIZE_MAX: u64 = 20_000;
/// Steps that it costs to make a pattern ready.
const READY: u64 = 300;
/// What one letter or class counts.
const ATOM: u64 = 4;

/// Steps of a search in `len` bytes. None: the pattern is too large.
pub(super) fn steps(pattern: &str, len: usize) -> Option<u64> {
    let size = size(pattern);
    if size > SIZE_MAX {
        return None;
    }
    Some((READY + size).saturating_add((len as u64).saturating_mul(size) / 8))
}

/// A bound on the states of a pattern, with its counted repetitions written out.
fn size(pattern: &str) -> u64 {
    let mut chars = pattern.chars().peekable();
    // Of each group that is open: its size, and that of its latest part.
    let mut groups = vec![(0_u64, 0_u64)];
    while let Some(char) = chars.next() {
        let is_inside = groups.len() > 1;
        let Some((whole, part)) = groups.last_mut() else {
            return u64::MAX;
        };
        match char {
            '(' => groups.push((0, 0)),
            ')' if is_inside => {
                let inner = groups.pop().map_or(0, |(whole, _)| whole).max(ATOM);
                if let Some((whole, part)) = groups.last_mut() {
                    *whole = whole.saturating_add(inner);
                    *part = inner;
                }
            }
            '{' => {
                let counted: String = chars.by_ref().take_while(|char| *char != '}').collect();
                let times = counted
                    .split(',')
                    .filter_map(|times| times.trim().parse::<u64>().ok())
                    .max()
                    .unwrap_or(1)
                    .max(1);
                *whole = whole.saturating_add(part.saturating_mul(times - 1));
                *part = part.saturating_mul(times);
            }
            '*' | '+' | '?' => {}
            char => {
                if char == '\\' {
                    chars.next();
                }
                // Dots and classes stand for many letters of several bytes.
                let atom = if matches!(char, '.' | '\\' | '[') || !char.is_ascii() {
                    3 * ATOM
                } else {
                    ATOM
                };
                *whole = whole.saturating_add(atom);
                *part = atom;
            }
        }
    }
    // What is left open is not a pattern; it fails on its own.
    groups
        .iter()
        .map(|(whole, _)| *whole)
        .fold(ATOM, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_costs_as_if_it_were_written_out() {
        let cost = |pattern: &str| steps(pattern, 1000);
        assert_eq!(cost("(abc){10}"), cost(&"(abc)".repeat(10)));
        assert!(cost("^[0-9]{4}-[0-9]{2}$").is_some_and(|steps| steps < 20_000));
        for too_large in [
            "(a{1000}){1000}",
            "((a{100}){100}){100}",
            "a{18446744073709551615}{9}",
        ] {
            assert_eq!(cost(too_large), None, "{too_large}");
        }
        for odd in ["", "(", ")", "{", "a{", "[", "\\", "a{,}", "(?<x>a)|b"] {
            assert!(cost(odd).is_some(), "{odd}");
        }
    }
}
