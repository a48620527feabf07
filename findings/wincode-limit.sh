#!/usr/bin/env bash
# wincode, which replaces the unmaintained bincode in some projects, and bincode 2: the same bytes, and one more limit.
#
# wincode 0.6.3 with its defaults and bincode 2.0.1 with fixed-width little-endian integers.
#
# Expected: integers, strings, vectors and options have the same bytes; chars, times and addresses differ or are missing. A
#           vector of any length that can be written can be read.
# Seen:     all of 23 values have the same bytes, including chars, SystemTime and SocketAddr, and each library reads the
#           other's. But wincode limits a sequence to 4 MiB of memory, and refuses to read or write more. bincode has no limit
#           by default. So the first long vector can make data unreadable that bincode wrote for years.
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
bincode = "=2.0.1"
wincode = "=0.6.3"

[workspace]
TOML
cat >"$dir/src/main.rs" <<'RUST'
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn bincode<T: bincode::Encode>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(value, bincode::config::standard().with_fixed_int_encoding()).unwrap()
}

macro_rules! same {
    ($($type:ty: $value:expr;)*) => {{
        let mut count = 0;
        $(
            let value: $type = $value;
            let bytes = bincode(&value);
            assert_eq!(wincode::serialize(&value).unwrap(), bytes, stringify!($type));
            assert_eq!(wincode::deserialize::<$type>(&bytes).unwrap(), value, stringify!($type));
            count += 1;
        )*
        count
    }};
}

fn main() {
    let count = same! {
        bool: true;
        u8: 7;
        u32: 7;
        i64: -7;
        u128: 7;
        usize: 7;
        f64: 1.5;
        char: 'A';
        char: '\u{1D11E}';
        String: "abc".to_owned();
        Vec<u16>: vec![1, 2];
        [u8; 3]: [1, 2, 3];
        (u8, u16): (1, 2);
        Option<u8>: Some(7);
        Option<u8>: None;
        Result<u8, u8>: Ok(7);
        BTreeMap<u8, u8>: BTreeMap::from([(1, 2)]);
        NonZeroU32: NonZeroU32::new(7).unwrap();
        Duration: Duration::new(1, 2);
        SystemTime: UNIX_EPOCH + Duration::new(1, 2);
        Ipv4Addr: [127, 0, 0, 1].into();
        IpAddr: IpAddr::V6(1.into());
        SocketAddr: "127.0.0.1:80".parse().unwrap();
    };
    println!("{count} values are the same bytes");
    assert_eq!(count, 23);

    let limit = 4 << 20;
    for length in [limit, limit + 1] {
        let value = vec![7u8; length];
        let bytes = bincode(&value);
        let written = wincode::serialize(&value).map(|own| own == bytes).map_err(|error| error.to_string());
        let read = wincode::deserialize::<Vec<u8>>(&bytes).map(|own| own == value).map_err(|error| error.to_string());
        println!("a vector of {length} bytes: written {written:?}, read {read:?}");
        for outcome in [written, read] {
            match outcome {
                Ok(is_same) => assert!(is_same && length <= limit),
                Err(error) => assert!(length > limit && error.contains("preallocation limit of 4194304 bytes")),
            }
        }
    }
}
RUST
cargo run --quiet --manifest-path "$dir/Cargo.toml"
