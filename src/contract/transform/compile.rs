//! From the text of a program to something that runs, or to a sentence about what is wrong with it, and where.

use jaq_core::{
    Compiler, Filter,
    compile::Undefined,
    load::{Arena, File, Lexer, Loader, lex, parse, span},
};

use super::{data::Jq, functions};

/// Bytes of a program.
pub(super) const TEXT_MAX: usize = 64 * 1024;
/// Words and signs of a program: the parser may go into each inside the one before.
const TOKENS_MAX: usize = 10_000;
/// Brackets inside each other.
const NESTING_MAX: usize = 100;

/// Why a text is not a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramError {
    /// Which byte of the program.
    pub offset: usize,
    /// What is wrong with it, in words.
    pub message: String,
    /// What to write instead, where that can be told.
    pub hint: Option<String>,
}

impl ProgramError {
    fn new(offset: usize, message: impl Into<String>) -> Self {
        Self {
            offset,
            message: message.into(),
            hint: None,
        }
    }
}

/// Compiles a program. Goes as deep into the stack as the program is nested.
pub(super) fn compile(text: &str) -> Result<Filter<Jq>, ProgramError> {
    if text.len() > TEXT_MAX {
        return Err(ProgramError::new(
            TEXT_MAX,
            format!("a program is {TEXT_MAX} bytes long at most"),
        ));
    }
    if let Some(offset) = text.find(functions::INTERNAL) {
        return Err(ProgramError::new(
            offset,
            format!("names that begin with `{}` are taken", functions::INTERNAL),
        ));
    }
    check_nesting(text)?;
    // The text that was written tells where its errors are; what runs counts some of its calls.
    filter(text)?;
    filter(&counted(text))
}

/// The lexer goes into brackets, the parser into brackets and signs.
fn check_nesting(text: &str) -> Result<(), ProgramError> {
    let (mut depth, mut tokens, mut was_word) = (0_usize, 0_usize, false);
    for (offset, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let is_word = byte.is_ascii_alphanumeric() || byte == b'_';
        let goes_on = byte.is_ascii_whitespace() || (is_word && was_word);
        tokens += usize::from(!goes_on);
        was_word = is_word;
        if depth > NESTING_MAX || tokens > TOKENS_MAX {
            return Err(ProgramError::new(
                offset,
                "the program is nested too deep, or too long",
            ));
        }
    }
    Ok(())
}

fn filter(text: &str) -> Result<Filter<Jq>, ProgramError> {
    let arena = Arena::default();
    let file = File {
        code: text,
        path: (),
    };
    let modules = Loader::new(functions::definitions())
        .load(&arena, file)
        .map_err(|errors| first(text, errors, not_loaded))?;
    Compiler::default()
        .with_funs(functions::natives())
        .compile(modules)
        .map_err(|errors| {
            first(text, errors, |text, undefined| {
                let error = undefined.into_iter().next();
                error.map(|(name, what)| not_defined(text, name, &what))
            })
        })
}

/// The first error, in words.
fn first<E>(
    text: &str,
    errors: Vec<(File<&str, ()>, E)>,
    words: impl Fn(&str, E) -> Option<ProgramError>,
) -> ProgramError {
    errors
        .into_iter()
        // Errors of the definitions here would be a defect; they have no place in the text.
        .find_map(|(file, error)| {
            std::ptr::eq(file.code, text)
                .then(|| words(text, error))
                .flatten()
        })
        .unwrap_or_else(|| ProgramError::new(0, "the program cannot be compiled"))
}

fn offset_of(text: &str, part: &str) -> usize {
    span(text, part).start.min(text.len())
}

/// What stands there, for a message.
fn found(part: &str) -> String {
    let word: String = part
        .chars()
        .take(20)
        .take_while(|char| !char.is_whitespace())
        .collect();
    if word.is_empty() {
        "the end of the program".to_owned()
    } else {
        format!("`{word}`")
    }
}

fn not_loaded(text: &str, error: jaq_core::load::Error<&str>) -> Option<ProgramError> {
    use jaq_core::load::Error;
    Some(match error {
        Error::Io(files) => {
            let (path, _) = files.into_iter().next()?;
            ProgramError::new(
                offset_of(text, path),
                "a program cannot import or include other files",
            )
        }
        Error::Lex(errors) => {
            let (expected, part) = errors.into_iter().next()?;
            not_lexed(text, &expected, part)
        }
        Error::Parse(errors) => {
            let (expected, part) = errors.into_iter().next()?;
            let what = match expected {
                parse::Expect::Just(word) => format!("`{word}`"),
                parse::Expect::Var => "a variable (`$name`)".to_owned(),
                parse::Expect::Pattern => "a variable or pattern after `as`".to_owned(),
                parse::Expect::ElseOrEnd => "`else` or `end`".to_owned(),
                parse::Expect::CommaOrRBrack => "`,` or `]`".to_owned(),
                parse::Expect::CommaOrRBrace => "`,` or `}`".to_owned(),
                parse::Expect::SemicolonOrRParen => "`;` or `)`".to_owned(),
                parse::Expect::Term => "a filter".to_owned(),
                parse::Expect::Key => "a key".to_owned(),
                parse::Expect::Ident => "a name".to_owned(),
                parse::Expect::Arg => "the name of an argument".to_owned(),
                parse::Expect::Str => "a string".to_owned(),
                parse::Expect::Nothing => {
                    let message = format!("{} is not expected here", found(part));
                    return Some(ProgramError::new(offset_of(text, part), message));
                }
                other => other.as_str().to_owned(),
            };
            let message = format!("expected {what}, found {}", found(part));
            ProgramError::new(offset_of(text, part), message)
        }
    })
}

fn not_lexed(text: &str, expected: &lex::Expect<&str>, part: &str) -> ProgramError {
    let offset = offset_of(text, part);
    match expected {
        // The part is what was opened.
        lex::Expect::Delim(open) => {
            let open_at = offset_of(text, open);
            ProgramError::new(open_at, format!("`{open}` is never closed"))
        }
        lex::Expect::Token => ProgramError::new(offset, format!("{} is not jq", found(part))),
        lex::Expect::Digit => {
            ProgramError::new(offset, format!("expected a digit, found {}", found(part)))
        }
        lex::Expect::Ident => {
            ProgramError::new(offset, format!("expected a name, found {}", found(part)))
        }
        lex::Expect::Escape => ProgramError::new(
            offset,
            format!(
                "{} after a backslash in a string is not an escape",
                found(part)
            ),
        ),
        other => ProgramError::new(
            offset,
            format!("expected a {}, found {}", other.as_str(), found(part)),
        ),
    }
}

fn not_defined(text: &str, name: &str, what: &Undefined) -> ProgramError {
    let offset = offset_of(text, name);
    let arity = match what {
        Undefined::Filter(arity) => *arity,
        Undefined::Var if name == "$ENV" => {
            return outside(offset, name);
        }
        Undefined::Var => {
            return ProgramError::new(offset, format!("there is no variable `{name}` here"));
        }
        Undefined::Label => {
            return ProgramError::new(offset, format!("there is no `label {name}` here"));
        }
        _ => return ProgramError::new(offset, format!("there is no module `{name}`")),
    };
    if functions::OUTSIDE.contains(&name) {
        return outside(offset, name);
    }
    let mut error = ProgramError::new(offset, format!("there is no function `{name}/{arity}`"));
    error.hint = similar(name, arity);
    error
}

fn outside(offset: usize, name: &str) -> ProgramError {
    ProgramError::new(
        offset,
        format!("`{name}` does not exist here: a program sees the answer and nothing else"),
    )
}

/// A function that may have been meant.
fn similar(name: &str, arity: usize) -> Option<String> {
    let known = functions::definitions()
        .map(|def| (def.name, def.args.len()))
        .chain(functions::natives().map(|(name, args, _)| (name, args.len())))
        .filter(|(known, _)| !known.starts_with('_') && !known.starts_with('!'));
    let mut best: Option<(f64, String)> = None;
    let mut others = Vec::new();
    for (known, args) in known {
        if known == name {
            others.push(args);
        }
        let is_part = name.len() > 3 && known.contains(name);
        let likeness = strsim::jaro_winkler(known, name).max(if is_part { 0.9 } else { 0.0 })
            - if args == arity { 0.0 } else { 0.02 };
        if known != name && best.as_ref().is_none_or(|(least, _)| likeness > *least) {
            best = Some((likeness, format!("did you mean `{known}/{args}`?")));
        }
    }
    if !others.is_empty() {
        others.sort_unstable();
        others.dedup();
        let takes: Vec<String> = others.iter().map(usize::to_string).collect();
        return Some(format!(
            "`{name}` takes {} arguments, not {arity}",
            takes.join(" or ")
        ));
    }
    best.filter(|(likeness, _)| *likeness > 0.85)
        .map(|(_, hint)| hint)
}

/// The program with a count at the beginning of each function that takes filters and calls itself: the filters it is called
/// with hold on to those of the call before, in a chain that is dropped one inside the other, so it must not grow for ever.
fn counted(text: &str) -> String {
    let mut places = Vec::new();
    if let Ok(tokens) = Lexer::new(text).lex() {
        find_recursive(text, &tokens, &mut places);
    }
    places.sort_unstable();
    let mut counted = String::with_capacity(text.len() + places.len() * 20);
    let mut from = 0;
    for place in places {
        counted.push_str(&text[from..place]);
        counted.push_str(" _larder_call | ");
        from = place;
    }
    counted.push_str(&text[from..]);
    counted
}

type Token<'a> = lex::Token<&'a str>;

/// Where the bodies of such functions begin.
fn find_recursive(text: &str, tokens: &[Token<'_>], places: &mut Vec<usize>) {
    for (index, lex::Token(word, token)) in tokens.iter().enumerate() {
        match token {
            lex::Tok::Block(inner) => find_recursive(text, inner, places),
            lex::Tok::Str(parts) => {
                for part in parts {
                    if let lex::StrPart::Term(term) = part {
                        find_recursive(text, std::slice::from_ref(term), places);
                    }
                }
            }
            lex::Tok::Word if *word == "def" => {
                let rest = tokens.get(index + 1..).unwrap_or_default();
                if let [
                    lex::Token(name, _),
                    lex::Token(_, lex::Tok::Block(args)),
                    lex::Token(colon, _),
                    body @ ..,
                ] = rest
                    && *colon == ":"
                    && args.iter().any(|arg| matches!(arg.1, lex::Tok::Word))
                    && mentions(name, body_of(body))
                {
                    places.push(offset_of(text, colon) + 1);
                }
            }
            _ => {}
        }
    }
}

/// Up to the semicolon that ends a definition, those inside it counted.
fn body_of<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let mut inner = 0_usize;
    for (index, lex::Token(word, _)) in tokens.iter().enumerate() {
        match *word {
            "def" => inner += 1,
            ";" if inner == 0 => return &tokens[..index],
            ";" => inner -= 1,
            _ => {}
        }
    }
    tokens
}

fn mentions(name: &str, tokens: &[Token<'_>]) -> bool {
    tokens.iter().any(|lex::Token(word, token)| match token {
        lex::Tok::Word => *word == name,
        lex::Tok::Block(inner) => mentions(name, inner),
        lex::Tok::Str(parts) => parts.iter().any(|part| match part {
            lex::StrPart::Term(term) => mentions(name, std::slice::from_ref(term)),
            _ => false,
        }),
        _ => false,
    })
}
