//! Imports run one way: the entries of a directory, its files and each subdirectory as a whole, form no circle by the paths
//! that they name. So no two files reach each other, and each can be read after those below it.
//!
//! A directory's parent (`mod.rs`, `lib.rs`) is no entry of its own directory but stands for it one level up. Within
//! it, parent and children are one module in several files: it declares and puts together its children, which may use
//! what it defines (`super::Name`) and add methods to its types. What a parent only re-exports (`pub use`) belongs to
//! the child: `super::Name` then leads to the child that defines it, and counts for that one. Any other file on the way
//! of a path counts too.
//!
//! Code for tests alone (`#[cfg(test)]`) may name anything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

use super::{root, sources};

/// A path in a file, from the crate's root on.
type Names = Vec<String>;

/// What a `use` brings into a module.
struct Import {
    path: Names,
    /// As what: the last name, or the one behind `as`; `*` for all.
    name: String,
}

struct Source<'a> {
    file: &'a str,
    module: Names,
    /// Whether other files are its children.
    is_parent: bool,
    imports: Vec<Import>,
    /// Paths in the code itself.
    mentions: Vec<Names>,
}

/// Words, `::` and single signs; without comments, strings and characters.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let hashes = rest[word..].len() - rest[word..].trim_start_matches('#').len();
        let is_raw = matches!(&rest[..word], "r" | "br") && rest[word + hashes..].starts_with('"');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if is_raw {
            let (start, end) = (word + hashes + 1, format!("\"{}", "#".repeat(hashes)));
            rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len())
        } else if c == '"' {
            quoted(rest, '"')
        } else if c == '\'' {
            // A character literal; or a lifetime, whose apostrophe alone is left out.
            let is_character = rest[1..].starts_with('\\') || rest[1..].chars().nth(1) == Some('\'');
            if is_character { quoted(rest, '\'') } else { 1 }
        } else {
            let length = if word > 0 {
                word
            } else if rest.starts_with("::") {
                2
            } else {
                c.len_utf8()
            };
            if !c.is_whitespace() {
                tokens.push(&rest[..length]);
            }
            length
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the literal at the start of `text`, its quotation marks included.
fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == mark && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// Where the block that opens at or after `from` ends; or the statement, if it has none.
fn end_of_item(tokens: &[&str], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match *token {
            "{" => depth += 1,
            "}" => depth -= 1,
            ";" if depth == 0 => return at,
            _ => continue,
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Adds what the tree of a `use` at `at` names, below `path`, and returns the place behind it.
fn tree(tokens: &[&str], mut at: usize, path: &[&str], leaves: &mut Vec<(Names, String)>) -> usize {
    let mut path = path.to_vec();
    while let Some(token) = tokens.get(at) {
        match *token {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    at = tree(tokens, at, &path, leaves);
                    at += usize::from(tokens.get(at) == Some(&","));
                }
                return at + 1;
            }
            token if token == "*" || is_word(token) && token != "as" => {
                path.push(token);
                at += 1;
            }
            _ => break,
        }
    }
    if path.len() > 1 && path.last() == Some(&"self") {
        path.pop();
    }
    let alias = (tokens.get(at) == Some(&"as")).then(|| tokens[at + 1]);
    let name = alias.or(path.last().copied()).unwrap_or_default();
    leaves.push((path.iter().map(|name| (*name).to_owned()).collect(), name.to_owned()));
    if alias.is_some() { at + 2 } else { at }
}

/// `path`, as `module` writes it, from the crate's root on; `None` if it leads out of the crate.
fn absolute(path: &[String], module: &[String], modules: &BTreeSet<Names>) -> Option<Names> {
    let mut base = module.to_vec();
    let mut names = path.iter().peekable();
    match names.peek()?.as_str() {
        "crate" => {
            base.clear();
            names.next();
        }
        "self" => drop(names.next()),
        "super" => {
            while names.next_if(|name| *name == "super").is_some() {
                base.pop();
            }
        }
        first => {
            let child = [module, &[first.to_owned()]].concat();
            modules.contains(&child).then_some(())?;
        }
    }
    base.extend(names.cloned());
    Some(base)
}

fn read<'a>(file: &'a str, text: &str, modules: &BTreeSet<Names>) -> Source<'a> {
    let own = module_of(file);
    let is_parent = modules.iter().any(|module| module.len() > own.len() && module.starts_with(&own));
    let mut source = Source { file, module: own, is_parent, imports: Vec::new(), mentions: Vec::new() };
    let tokens = tokens(text);
    // The module at this place, and where those written out within the file end.
    let (mut module, mut ends) = (source.module.clone(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        if ends.last() == Some(&at) {
            ends.pop();
            module.pop();
        }
        let before = if at > 0 { tokens[at - 1] } else { "" };
        match &tokens[at..] {
            ["#", "[", "cfg", "(", "test", ")", "]", ..] => at = end_of_item(&tokens, at),
            ["mod", name, "{", ..] => {
                module.push((*name).to_owned());
                ends.push(end_of_item(&tokens, at));
                at += 2;
            }
            ["use", ..] => {
                let mut leaves = Vec::new();
                at = tree(&tokens, at + 1, &[], &mut leaves);
                for (path, name) in leaves {
                    let Some(path) = absolute(&path, &module, modules) else { continue };
                    source.imports.push(Import { path, name });
                }
            }
            [first, "::", ..] if before != "::" && is_word(first) => {
                let mut path = Vec::new();
                while let [name, rest @ ..] = &tokens[at..]
                    && is_word(name)
                {
                    path.push((*name).to_owned());
                    at += 1 + usize::from(rest.first() == Some(&"::"));
                    if rest.first() != Some(&"::") {
                        break;
                    }
                }
                source.mentions.extend(absolute(&path, &module, modules));
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    source
}

/// `p2p/kad/id.rs` is `["p2p", "kad", "id"]`, and `p2p/mod.rs` is `["p2p"]`.
fn module_of(file: &str) -> Names {
    let path = file.trim_end_matches(".rs");
    let names = path.split('/').filter(|name| !["mod", "lib"].contains(name));
    names.map(str::to_owned).collect()
}

/// Adds the files that `path` leads to.
fn resolve(
    path: &[String],
    sources: &BTreeMap<Names, Source>,
    seen: &mut BTreeSet<Names>,
    found: &mut BTreeSet<Names>,
) {
    if !seen.insert(path.to_vec()) {
        return;
    }
    let known = (0..=path.len()).rev().find(|length| sources.contains_key(&path[..*length])).unwrap_or_default();
    let Some(source) = sources.get(&path[..known]) else { return };
    let Some(name) = path.get(known) else {
        found.insert(source.module.clone());
        return;
    };
    let bound: Vec<&Import> =
        source.imports.iter().filter(|import| import.name == *name || import.name == "*").collect();
    let passes = bound.iter().any(|import| import.name == *name);
    for import in &bound {
        let mut target = import.path.clone();
        if import.name == "*" {
            target.pop();
            target.push(name.clone());
        }
        target.extend_from_slice(&path[known + 1..]);
        resolve(&target, sources, seen, found);
    }
    if !(passes && source.is_parent) {
        found.insert(source.module.clone());
    }
}

/// The circles, as texts that name each step: in every directory, for each entry that is in any, the shortest one.
fn circles(files: &[(String, String)]) -> Vec<String> {
    let modules: BTreeSet<Names> = files.iter().map(|(file, _)| module_of(file)).collect();
    let sources: BTreeMap<Names, Source> =
        files.iter().map(|(file, text)| (module_of(file), read(file, text, &modules))).collect();
    let mut steps = Vec::new();
    for source in sources.values() {
        for path in source.imports.iter().map(|import| &import.path).chain(&source.mentions) {
            let named = path.strip_suffix(&["*".to_owned()]).unwrap_or(path);
            let mut found = BTreeSet::new();
            resolve(named, &sources, &mut BTreeSet::new(), &mut found);
            steps.extend(found.into_iter().map(|target| (source, target, path)));
        }
    }
    let mut texts = Vec::new();
    for directory in &modules {
        let entry = |module: &Names| module.strip_prefix(directory.as_slice()).and_then(|rest| rest.first()).cloned();
        let mut edges: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (source, target, path) in &steps {
            if let (Some(from), Some(to)) = (entry(&source.module), entry(target))
                && from != to
            {
                let step = || format!("{} names {}", source.file, path.join("::"));
                edges.entry(from).or_default().entry(to).or_insert_with(step);
            }
        }
        let found: BTreeSet<Vec<&String>> = edges.keys().filter_map(|entry| shortest_circle(&edges, entry)).collect();
        for circle in found {
            let next = circle.iter().cycle().skip(1);
            texts.push(
                circle.iter().zip(next).map(|(from, to)| edges[*from][*to].as_str()).collect::<Vec<_>>().join("; "),
            );
        }
    }
    texts
}

/// The shortest way from `start` back to it, begun at its first entry so that it is the same for each of them.
fn shortest_circle<'a>(
    edges: &'a BTreeMap<String, BTreeMap<String, String>>,
    start: &'a String,
) -> Option<Vec<&'a String>> {
    let mut before: BTreeMap<&String, &String> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(entry) = queue.pop_front() {
        for next in edges.get(entry).into_iter().flat_map(BTreeMap::keys) {
            before.entry(next).or_insert_with(|| {
                queue.push_back(next);
                entry
            });
        }
    }
    let mut circle = vec![*before.get(start)?];
    while let Some(last) = circle.last().filter(|last| **last != start) {
        circle.push(before[last]);
    }
    circle.reverse();
    let first = (0..circle.len()).min_by_key(|at| circle[*at])?;
    circle.rotate_left(first);
    Some(circle)
}

#[test]
fn no_two_files_reach_each_other() {
    let mut roots = vec![root().join("src")];
    roots.extend(fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path().join("src")));
    assert!(roots.len() > 2, "the node, the core and the kernels");
    let mut found = Vec::new();
    for root in roots {
        let file = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let files = sources(&root).into_iter().map(|path| (file(&path), fs::read_to_string(&path).unwrap()));
        // The program is a separate crate, and test files are not part of the library.
        let files: Vec<_> = files.filter(|(file, _)| file != "main.rs" && !file.ends_with("/tests.rs")).collect();
        assert!(!files.is_empty(), "{} holds no files", root.display());
        found.extend(circles(&files));
    }
    assert!(found.is_empty(), "{} circles:\n{}", found.len(), found.join("\n"));
}

#[test]
fn circles_are_found_however_they_are_written() {
    let found = |files: &[(&str, &str)]| {
        circles(&files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect::<Vec<_>>())
    };
    let lib = ("lib.rs", "pub mod a;");
    // The texts of a/mod.rs, a/b.rs and a/c.rs, and the files of the circle if there is one.
    for (parent, b, c, expected) in [
        ("mod b; mod c;", "use crate::a::c::C;", "", None),
        ("mod b; mod c;", "use crate::a::c::C;", "use crate::a::b::B;", Some("a/b.rs a/c.rs")),
        ("mod b; mod c;", "use super::c::C;", "use crate::{x, a::{d::D, b::{self, B}}};", Some("a/b.rs a/c.rs")),
        ("mod b; mod c;", "use super::c;", "fn f() -> super::b::B { todo!() }", Some("a/b.rs a/c.rs")),
        (
            "mod b; mod c;",
            "use super::c;",
            "fn f() { let x: &'static str = \"\"; crate::a::b::g::<u8>() }",
            Some("a/b.rs a/c.rs"),
        ),
        ("mod b; mod c;", "use super::c as other;", "mod inner { use super::super::b::B; }", Some("a/b.rs a/c.rs")),
        // A parent's re-exports belong to the child; its definitions are its own.
        ("mod b; pub mod c; pub use b::B; pub(crate) use self::c::C;", "use super::X;", "use super::{B, Y};", None),
        (
            "mod b; mod c; pub use b::{self, B as Better}; pub use c::C;",
            "use super::C;",
            "use crate::a::Better;",
            Some("a/b.rs a/c.rs"),
        ),
        ("mod b; mod c; pub use b::*; pub use c::C;", "use super::C;", "use super::B;", Some("a/b.rs a/c.rs")),
        ("mod b; mod c; use b::B; struct X(B);", "use super::X;", "use super::*;", None),
        // A directory is one entry of the one around it.
        ("mod b; mod c;", "use crate::d::D;", "", Some("a/b.rs d.rs")),
        ("mod b; mod c; use crate::d::D;", "use super::X;", "", Some("a/mod.rs d.rs")),
        // Who takes what a file passes on depends on that file too.
        ("mod b; mod c;", "pub use std::fmt; use super::c::C;", "use super::b::fmt;", Some("a/b.rs a/c.rs")),
        // Neither comments, texts nor tests count.
        (
            "mod b; mod c;",
            "use super::c::C;",
            "// use super::b::B;\n/* super::b::B */ const T: &str = \"super::b::B\";",
            None,
        ),
        ("mod b; mod c;", "use super::c::C;", "const T: &str = r#\"\"super::b::B\"#; const Q: char = '\"';", None),
        ("mod b; mod c;", "use super::c::C;", "#[cfg(test)] mod tests { use super::*; use crate::a::b::B; }", None),
        (
            "mod b; mod c;",
            "use super::c::C;",
            "#[cfg(test)] mod tests { use super::*; } use crate::a::b::B;",
            Some("a/b.rs a/c.rs"),
        ),
    ] {
        let found = found(&[lib, ("a/mod.rs", parent), ("a/b.rs", b), ("a/c.rs", c), ("d.rs", "use crate::a::c::C;")]);
        let texts = format!("{parent} | {b} | {c}: {found:?}");
        assert_eq!(found.len(), usize::from(expected.is_some()), "{texts}");
        for file in expected.unwrap_or_default().split_whitespace() {
            assert!(found[0].contains(file), "{file}, {texts}");
        }
    }
    let said = found(&[
        ("lib.rs", ""),
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use crate::c::C;"),
        ("c.rs", "use crate::a::A;"),
    ]);
    assert_eq!(said, ["a.rs names b::B; b.rs names c::C; c.rs names a::A"]);
}
