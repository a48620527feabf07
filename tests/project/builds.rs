//! What the program is built from reaches each place where it is built: the package and the image have copies of some files
//! alone, and lack one without a word until they are built.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::layout::{code, root, sources};

/// `src/rpc/../../verify.html` is `verify.html`.
fn resolved(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut whole, part| {
        match part {
            Component::ParentDir => assert!(whole.pop(), "{} leaves the repository", path.display()),
            part => whole.push(part),
        }
        whole
    })
}

/// Files outside `src` that the node's sources include, those of tests left out.
fn included() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for file in sources(&root().join("src")) {
        let path = file.strip_prefix(root()).unwrap();
        if path.ends_with("tests.rs") || path.iter().any(|part| part == "tests") {
            continue;
        }
        let code = code(&file);
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for name in ["include_str!(\"", "include_bytes!(\""] {
            for rest in code.split(name).skip(1) {
                found.push(resolved(&path.parent().unwrap().join(rest.split('"').next().unwrap())));
            }
        }
    }
    found.retain(|path| !path.starts_with("src"));
    found
}

#[test]
fn the_package_and_the_image_have_what_the_sources_include() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let (manifest, dockerfile, ignored) = (read("Cargo.toml"), read("docker/Dockerfile"), read(".dockerignore"));
    let package = manifest.lines().find(|line| line.starts_with("include = ")).unwrap();
    // The last of a line's names is the place to which it copies.
    let copied: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .flat_map(|names| names.rsplit(' ').skip(1))
        .collect();
    let files = included();
    assert!(files.contains(&PathBuf::from("genesis.json")), "{files:?}");
    for file in files.iter().map(|file| file.to_str().unwrap()) {
        assert!(package.contains(&format!("\"/{file}\"")), "{file} is not in the package (Cargo.toml)");
        assert!(copied.contains(&file), "{file} is not copied into the image (docker/Dockerfile)");
        assert!(ignored.lines().any(|line| line == format!("!{file}")), "{file} is not sent to docker (.dockerignore)");
    }
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let own = format!("crates/{name}/Cargo.toml");
        assert!(copied.contains(&&*own), "{own} is not copied into the image before the dependencies are built");
    }
}
