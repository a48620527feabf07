//! The order of modules, enforced: each may name only those before it.

use std::fs;
use std::path::{Path, PathBuf};

mod circles;

/// The modules from low to high, as `lib.rs` lists them: those of `crates/core`, then those of the node.
const MODULES: [&str; 19] = [
    "primitives",
    "ipld",
    "consensus",
    "state",
    "receipt",
    "storage",
    "chain",
    "mempool",
    "p2p",
    "light",
    "content",
    "wallet",
    "miner",
    "record",
    "sim",
    "runtime",
    "stratum",
    "rpc",
    "cli",
];

/// The same for the files of `primitives`.
const PRIMITIVES: [&str; 18] = [
    "keyed",
    "codec",
    "meter",
    "compact_size",
    "varint",
    "hash",
    "target",
    "time",
    "height",
    "keys",
    "amount",
    "header",
    "tx",
    "block",
    "merkle",
    "mmr",
    "gcs",
    "address",
];

/// And for those of `consensus`.
const CONSENSUS: [&str; 12] = [
    "error",
    "asert",
    "coins",
    "filter",
    "peer_name",
    "params",
    "check",
    "context",
    "headers",
    "commitment",
    "connect",
    "genesis",
];

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the sources of the node and those of the core begin.
fn crates() -> [PathBuf; 2] {
    [root().join("src"), root().join("crates/core/src")]
}

/// Every `.rs` file under `dir`, in order.
pub(super) fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let mut files = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            files.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
    files
}

/// The code of a file: comments, which may name anything, left out.
pub(super) fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The identifier at the start of `text`.
fn identifier(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// First names after every `path` in `code`: `crate::chain::Chain` gives `chain`, `crate::{chain, p2p::Node}` both.
fn named_after(code: &str, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(path) {
        let inside_a_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$');
        if inside_a_word {
            continue;
        }
        let rest = &code[at + path.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(identifier(rest).to_owned());
            continue;
        };
        let (mut depth, mut first) = (1, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => first = true,
                c if depth == 1 && first && !c.is_whitespace() => {
                    names.push(identifier(&group[i..]).to_owned());
                    first = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

fn place(order: &[&str], module: &str) -> usize {
    order
        .iter()
        .position(|known| *known == module)
        .unwrap_or_else(|| panic!("module {module} has no place in the order"))
}

/// The module of a crate that a file under `src` belongs to: `chain/index.rs` and `chain.rs` are both `chain`.
fn module_of(src: &Path, file: &Path) -> String {
    let inside = file.strip_prefix(src).unwrap();
    let first = Path::new(inside.components().next().unwrap().as_os_str());
    first.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// Every file of both crates with its module, except the lists of modules and the program, which may import from all.
fn modules() -> Vec<(String, PathBuf)> {
    let of =
        |src: PathBuf| sources(&src).into_iter().map(move |file| (module_of(&src, &file), file)).collect::<Vec<_>>();
    let mut modules: Vec<_> = crates().into_iter().flat_map(of).collect();
    modules.retain(|(module, _)| module != "lib" && module != "main");
    modules
}

#[test]
fn each_module_names_only_those_before_it() {
    let mut wrong = Vec::new();
    for (module, file) in modules() {
        let own = place(&MODULES, &module);
        for name in named_after(&code(&file), "crate::") {
            if place(&MODULES, &name) > own {
                wrong.push(format!("{}: {module} names {name}, which comes after it", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lib_rs_declares_them_all() {
    let libs = crates().map(|src| code(&src.join("lib.rs"))).join("\n");
    let mut declared: Vec<&str> =
        libs.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")).map(identifier).collect();
    declared.sort_by_key(|module| place(&MODULES, module));
    assert_eq!(declared, MODULES);
    let mut found: Vec<String> = modules().into_iter().map(|(module, _)| module).collect();
    found.sort_by_key(|module| place(&MODULES, module));
    found.dedup();
    assert_eq!(found, MODULES);
}

#[test]
fn files_of_primitives_and_consensus_run_from_low_to_high_too() {
    for (directory, order) in [("primitives", &PRIMITIVES[..]), ("consensus", &CONSENSUS[..])] {
        let directory_path = root().join("crates/core/src").join(directory);
        let files = sources(&directory_path);
        assert_eq!(files.len(), order.len() + 1, "each file of {directory} and its mod.rs");
        for (own, module) in order.iter().enumerate() {
            let code = code(&directory_path.join(format!("{module}.rs")));
            let absolute = format!("crate::{directory}::");
            let names = ["use super::", &absolute].map(|path| named_after(&code, path)).concat();
            for name in names.iter().filter(|name| !name.is_empty()) {
                assert!(place(order, name) <= own, "{directory}: {module} names {name}, which comes after it");
            }
        }
    }
}

/// The rules are functions of their arguments: no clock, disk, network, threads' state or randomness may reach them.
#[test]
fn consensus_reads_nothing_but_its_arguments() {
    for module in ["primitives", "consensus"] {
        for file in sources(&root().join("crates/core/src").join(module)) {
            let code = code(&file);
            for name in named_after(&code, "std::") {
                // Of `std::time` a span is pure; the clocks are looked for by name below.
                let pure = !["fs", "net", "env", "process", "thread", "io"].contains(&name.as_str());
                assert!(pure, "{} uses std::{name}", file.display());
            }
            for foreign in ["tokio", "sled", "rand::rng", "tracing", "Instant", "SystemTime"] {
                assert!(!code.contains(foreign), "{} uses {foreign}", file.display());
            }
        }
    }
}

/// The code of the WebAssembly module uses no disk, socket, clock or source of randomness: a page gives it bytes, times
/// and a seed. Without the feature `node` the compiler would say so of crates, but not of the standard library, which
/// traps there.
#[test]
fn what_light_imports_has_no_input_but_its_arguments() {
    const FOREIGN: [&str; 15] = [
        "tokio",
        "sled::",
        "getrandom",
        "rand::random",
        "rand::rng",
        "std::fs",
        "std::thread",
        "std::env",
        "std::process",
        "std::os::",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "Instant",
        "SystemTime",
    ];
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let wallet = fs::read_to_string(root().join("src/wallet/mod.rs")).unwrap();
    let mut wrong = Vec::new();
    for (module, file) in modules() {
        let path = file.strip_prefix(root()).unwrap().to_str().unwrap();
        if place(&MODULES, &module) > place(&MODULES, "light") {
            // A page has the part of the wallet that has no files.
            let feature = if module == "wallet" { "wallet" } else { "node" };
            let gated = format!("#[cfg(feature = \"{feature}\")]\npub mod {module};");
            assert!(lib.contains(&gated), "{module} is no part of light, and stands behind the feature");
            let name = path.strip_prefix("src/wallet/").and_then(|name| name.strip_suffix(".rs"));
            let is_for_pages = |name: &str| {
                let mut declarations = wallet.split("pub mod ").zip(wallet.split("pub mod ").skip(1));
                declarations.any(|(before, own)| {
                    own.starts_with(&format!("{name};")) && !before.ends_with("#[cfg(feature = \"node\")]\n")
                })
            };
            if !name.is_some_and(is_for_pages) {
                continue;
            }
        }
        let is_for_nodes = path.starts_with("src/storage/disk/") || path == "src/storage/private_file.rs";
        let is_test = path.contains("/tests/") || path.ends_with("tests.rs");
        // How long the node's own chain takes for a block: a light client has no such chain.
        if is_for_nodes || is_test || path == "src/chain/stats.rs" {
            continue;
        }
        let code = code(&file);
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
        // Maps that peers fill are keyed from the seed; the standard library's hash alike in every page.
        let is_unkeyed =
            |line: &str| line.contains("RandomState") || line.contains("std::collections") && line.contains("Hash");
        if path != "crates/core/src/primitives/keyed.rs" && code.lines().any(is_unkeyed) {
            wrong.push(format!("{path}: maps without a key of this crate"));
        }
        wrong.extend(
            FOREIGN.iter().filter(|foreign| code.contains(*foreign)).map(|foreign| format!("{path}: {foreign}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let storage = fs::read_to_string(root().join("src/storage/mod.rs")).unwrap();
    for declaration in ["mod disk;", "pub mod private_file;"] {
        assert!(storage.contains(&format!("#[cfg(feature = \"node\")]\n{declaration}")), "{declaration}");
    }
}

/// Only the crates of the kernels may use unsafe code: the compiler forbids it in the others. An exported name is the one thing
/// in the browser's modules that counts as unsafe.
#[test]
fn unsafe_code_stands_in_the_kernels_alone() {
    for file in ["crates/library/src", "crates/signer/src", "crates/web/src"]
        .iter()
        .flat_map(|place| sources(&root().join(place)))
    {
        let rest = code(&file).replace("#[unsafe(no_mangle)]", "").replace("#![allow(unsafe_code)]", "");
        assert!(!rest.contains("unsafe"), "{} has unsafe code", file.display());
    }
    for file in ["src/lib.rs", "src/main.rs", "crates/core/src/lib.rs"] {
        assert!(code(&root().join(file)).contains("#![forbid(unsafe_code)]"), "{file} lets unsafe code in");
    }
}

/// GitHub Flavored Markdown, section 4.10: a table is a row of names, one of dashes with as many cells, and rows up to the first
/// line that is none. A row behind an empty line is text; cells too many are dropped.
fn table_faults(text: &str) -> Vec<String> {
    let cells = |row: &str| row.trim().replace("\\|", "").trim_matches('|').split('|').count();
    let is_rule = |row: &str| row.contains('-') && row.chars().all(|c| "|-: ".contains(c));
    let mut faults = Vec::new();
    let (mut fenced, mut width) = (false, None);
    let mut lines = text.lines().enumerate().peekable();
    while let Some((n, line)) = lines.next() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced || !line.starts_with('|') {
            width = None;
            continue;
        }
        match width {
            Some(width) if cells(line) == width => {}
            Some(width) => faults.push(format!("line {}: {} cells, where the table has {width}", n + 1, cells(line))),
            None => match lines.next_if(|(_, next)| is_rule(next)) {
                Some((_, rule)) if cells(rule) == cells(line) => width = Some(cells(line)),
                Some((_, rule)) => {
                    faults.push(format!("line {}: {} names, {} columns", n + 1, cells(line), cells(rule)))
                }
                None => faults.push(format!("line {}: a row that belongs to no table", n + 1)),
            },
        }
    }
    faults
}

#[test]
fn every_table_of_the_documents_renders() {
    let mut documents = vec![root().join("README.md")];
    for dir in ["docs", "docker"] {
        let files = fs::read_dir(root().join(dir)).unwrap().map(|entry| entry.unwrap().path());
        documents.extend(files.filter(|file| file.extension().is_some_and(|extension| extension == "md")));
    }
    let mut faults = Vec::new();
    for file in documents {
        let text = fs::read_to_string(&file).unwrap();
        faults.extend(table_faults(&text).into_iter().map(|fault| format!("{}, {fault}", file.display())));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    assert!(table_faults("| a | b |\n|---|---|\n| 1 | 2 |\n").is_empty());
    assert_eq!(table_faults("| a | b |\n|---|---|\n| 1 | 2 |\n\n| 3 | 4 |\n").len(), 1, "an empty line within");
    assert_eq!(table_faults("| a | b |\n|---|---|\n| 1 |\n").len(), 1, "a cell too few");
    assert_eq!(table_faults("| a | b |\n|---|\n").len(), 1, "columns too few");
}

#[test]
fn paths_are_found_however_they_are_written() {
    let code = "use crate::chain::Chain;\nuse crate::{mempool, p2p::{Node, sim}, rpc as r};\nlet x = crate::miner::kernel();\nmycrate::no; $crate::neither";
    assert_eq!(named_after(code, "crate::"), ["chain", "mempool", "p2p", "rpc", "miner"]);
}
