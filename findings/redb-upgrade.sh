#!/usr/bin/env bash
# A redb database of version 2, upgraded as redb documents it and opened by version 4.
#
# redb 2.6.3 writes three tables and upgrades the file; redb 4.6.0 opens it.
#
# Expected: before the upgrade 4.6.0 refuses the file and asks for the upgrade; after it, all tables can be read.
# Seen:     the first holds. After `upgrade()`, which returns Ok(true), version 4 still refuses each table whose key or value
#           is a tuple with a member of variable length. The error names the stored type, and it is the same as the requested
#           one. A tuple of integers can be read. Only version 3 can read the other tables, through a wrapper that version 4
#           removed. So the way from 2 to 4 needs a copy of every such table made with 3.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
new = { package = "redb", version = "=4.6.0" }
old = { package = "redb", version = "=2.6.3" }

[workspace]
TOML
cat >"$dir/src/main.rs" <<'RUST'
use new::{DatabaseError, ReadableDatabase, TableError};

fn main() {
    let path = std::path::Path::new(&std::env::args().nth(1).unwrap()).join("file.redb");
    let mut database = old::Database::create(&path).unwrap();
    let writing = database.begin_write().unwrap();
    let named = old::TableDefinition::<(u32, &str), u64>::new("named");
    writing.open_table(named).unwrap().insert((1, "one"), 11).unwrap();
    let numbered = old::TableDefinition::<(u64, u64), u64>::new("numbered");
    writing.open_table(numbered).unwrap().insert((1, 2), 12).unwrap();
    let plain = old::TableDefinition::<&str, u64>::new("plain");
    writing.open_table(plain).unwrap().insert("one", 13).unwrap();
    writing.commit().unwrap();
    drop(database);

    let refusal = new::Database::open(&path).unwrap_err();
    println!("before the upgrade: {refusal}");
    assert!(matches!(refusal, DatabaseError::UpgradeRequired(2)));

    database = old::Database::open(&path).unwrap();
    let upgraded = database.upgrade().unwrap();
    println!("upgrade: {upgraded}");
    assert!(upgraded);
    drop(database);

    let database = new::Database::open(&path).unwrap();
    let reading = database.begin_read().unwrap();
    let numbered = reading.open_table(new::TableDefinition::<(u64, u64), u64>::new("numbered")).unwrap();
    assert_eq!(numbered.get((1, 2)).unwrap().unwrap().value(), 12);
    let plain = reading.open_table(new::TableDefinition::<&str, u64>::new("plain")).unwrap();
    assert_eq!(plain.get("one").unwrap().unwrap().value(), 13);

    let refusal = reading.open_table(new::TableDefinition::<(u32, &str), u64>::new("named")).unwrap_err();
    println!("a key of (u32, &str): {refusal}");
    let TableError::TableTypeMismatch { key, value, .. } = refusal else { panic!("{refusal}") };
    println!("stored: a key of {}, a value of {}", key.name(), value.name());
    assert_eq!((key.name(), value.name()), ("(u32,&str)", "u64"));
}
RUST
cargo run --quiet --manifest-path "$dir/Cargo.toml" -- "$dir"
