//! The rules of the house that neither the compiler nor rustfmt checks.

use std::fs;
use std::path::{Path, PathBuf};

/// The floor of each crate and what it may use: the table in ARCHITECTURE.md.
const CRATES: &[(&str, &[&str])] = &[
    ("tensor", &[]),
    ("kernels", &[]),
    ("graph", &[]),
    ("zoo", &["graph"]),
    ("data", &["tensor"]),
    ("formats", &["graph", "tensor", "kernels"]),
    ("rewrite", &["graph", "tensor"]),
    ("infer", &["graph", "tensor", "kernels", "rewrite"]),
    ("train", &["graph", "tensor", "kernels", "data", "rewrite"]),
    ("measure", &["graph", "tensor", "infer", "rewrite"]),
    (
        "search",
        &["graph", "tensor", "data", "train", "measure", "infer"],
    ),
];

const LONGEST_FILE: usize = 600;

/// A test that counts allocations: the standard library's trait for allocators is unsafe.
const COUNTS_ALLOCATIONS: &str = "squeeze-infer/tests/allocation.rs";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the repository")
}

/// Every Rust file of the workspace: path from `crates/`, and text.
fn sources() -> Vec<(String, String)> {
    let crates = root().join("crates");
    let mut files = vec![];
    let mut folders = vec![crates.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry"))
        {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path
                    .strip_prefix(&crates)
                    .expect("below crates")
                    .display()
                    .to_string();
                files.push((name, fs::read_to_string(&path).expect("UTF-8 text")));
            }
        }
    }
    files.sort();
    assert!(files.len() > 20, "only {} files found", files.len());
    files
}

/// Lines of code: comments and the contents of strings taken away, roughly.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let stripped = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    stripped.enumerate().map(|(at, line)| (at + 1, line))
}

#[track_caller]
fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn imports_run_downward() {
    let mut wrong = vec![];
    for (name, may_use) in CRATES {
        let path = root().join(format!("crates/squeeze-{name}/Cargo.toml"));
        let text = fs::read_to_string(&path).expect("a manifest");
        let manifest: toml::Table = toml::from_str(&text).expect("valid TOML");
        // Tests may reach sideways, never up; the table's order is the order of the floors.
        let floor = CRATES.iter().position(|(other, _)| other == name);
        for (section, for_tests) in [("dependencies", false), ("dev-dependencies", true)] {
            let Some(used) = manifest.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for used in used.keys().filter_map(|key| key.strip_prefix("squeeze-")) {
                let below = CRATES.iter().position(|(other, _)| *other == used) < floor;
                if !(may_use.contains(&used) || for_tests && below) {
                    wrong.push(format!("squeeze-{name} uses squeeze-{used}"));
                }
            }
        }
    }
    none("imports that do not run downward", wrong);
}

#[test]
fn every_crate_is_in_the_table() {
    let folders = fs::read_dir(root().join("crates")).expect("a folder");
    let names = folders.map(|entry| entry.expect("an entry").file_name());
    let unknown = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| {
            let stem = name.strip_prefix("squeeze-");
            name != "squeeze" && !CRATES.iter().any(|(known, _)| stem == Some(*known))
        });
    none("crates missing from the table", unknown.collect());
}

#[test]
fn architecture_shows_the_same_table() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let row = |name: &str, uses: &[&str]| {
        let uses = if uses.is_empty() {
            "-".into()
        } else {
            uses.join(", ")
        };
        text.lines().any(|line| {
            line.contains(&format!("| `squeeze-{name}` |"))
                && line.ends_with(&format!("| {uses} |"))
        })
    };
    let missing = CRATES.iter().filter(|(name, uses)| !row(name, uses));
    let shown = missing.map(|(name, uses)| format!("squeeze-{name}: {}", uses.join(", ")));
    none("rows that ARCHITECTURE.md lacks", shown.collect());
}

#[test]
fn files_are_short_and_say_what_they_hold() {
    let mut wrong = vec![];
    for (name, text) in sources() {
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            wrong.push(format!("{name}: {lines} lines"));
        }
        if !text.starts_with("//! ") {
            wrong.push(format!("{name}: the first line is not `//! `"));
        }
    }
    none("files that break the rules", wrong);
}

#[test]
fn unsafe_stays_in_its_crate() {
    let mut wrong = vec![];
    for (name, text) in sources() {
        let may = ["squeeze-kernels/", COUNTS_ALLOCATIONS];
        if may.iter().any(|start| name.starts_with(start)) {
            continue;
        }
        let uses = code(&text).filter(|(_, line)| line.contains(concat!("uns", "afe {")));
        wrong.extend(uses.map(|(at, _)| format!("{name}:{at}")));
    }
    none("unsafe outside of squeeze-kernels", wrong);
}

#[test]
fn nothing_is_left_unfinished() {
    let words = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
    ];
    let mut wrong = vec![];
    for (name, text) in sources() {
        for (at, line) in text.lines().enumerate() {
            let found = words.iter().filter(|word| line.contains(**word));
            wrong.extend(found.map(|word| format!("{name}:{}: {word}", at + 1)));
        }
    }
    none("unfinished places", wrong);
}

#[test]
fn names_say_something() {
    let vague = [
        "util", "utils", "common", "helper", "helpers", "manager", "base", "misc",
    ];
    let mut wrong = vec![];
    for (name, _) in sources() {
        let parts = Path::new(&name).with_extension("");
        let parts = parts.iter().map(|part| part.to_string_lossy().into_owned());
        if parts.into_iter().any(|part| vague.contains(&part.as_str())) {
            wrong.push(name);
        }
    }
    none("vague names", wrong);
}

#[test]
fn only_the_command_line_prints() {
    let prints = [concat!("print", "ln!("), concat!("eprint", "ln!(")];
    let mut wrong = vec![];
    for (name, text) in sources() {
        let is_library = name.contains("/src/") && !name.starts_with("squeeze/");
        if !is_library {
            continue;
        }
        let body = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code(body).filter(|(_, line)| prints.iter().any(|print| line.contains(print)));
        wrong.extend(lines.map(|(at, _)| format!("{name}:{at}")));
    }
    none("libraries that print", wrong);
}

#[test]
fn manifests_inherit_the_workspace() {
    let mut wrong = vec![];
    for entry in fs::read_dir(root().join("crates")).expect("a folder") {
        let path = entry.expect("an entry").path().join("Cargo.toml");
        let manifest: toml::Table =
            toml::from_str(&fs::read_to_string(&path).expect("a manifest")).expect("valid TOML");
        if manifest.contains_key("features") {
            wrong.push(format!("{}: has features", path.display()));
        }
        if !manifest.contains_key("lints") {
            wrong.push(format!("{}: has no lints", path.display()));
        }
    }
    none("manifests that go their own way", wrong);
}
