//! A design on a disk that is full: status 2, the file and the remedy, and once there is room the
//! same command goes on.
//!
//! The disk is a tmpfs that grows, in a namespace of its own (`unshare`). Where the system does not
//! let users have one, the test says so and does nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs a script where it may mount disks of its own.
fn apart(script: &str, words: &[&Path]) -> Option<Output> {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-euc", script, "sh"]);
    command.args(words).output().ok()
}

/// Runs the design `$1` on the disk `$2` with the data `$3`, on a disk of each size in turn; after
/// what each says comes its exit status, a line of its own. Networks are of the smallest space.
const SCRIPT: &str = r#"
mount -t tmpfs -o size=4k tmpfs "$2"
mkdir "$2/run"
printf 0 > "$2/run/family.json"
for size in 4k 16k 1m 2m 64m; do
    mount -o remount,size=$size "$2"
    status=0
    "$1" design --data "$3" --p90 1s --minutes 0.3 -o "$2/run" 2>&1 || status=$?
    echo "status $status"
done
"#;

#[test]
fn a_design_goes_on_when_there_is_room_again() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let (disk, data) = (root.path().join("disk"), root.path().join("data.csv"));
    fs::create_dir(&disk).expect("writable");
    let small = apart("mount -t tmpfs -o size=4k tmpfs \"$1\"", &[&disk]);
    if small.is_none_or(|output| !output.status.success()) {
        println!("skipped: no disk of its own for a test on this system");
        return;
    }
    fs::write(&data, table()).expect("writable");
    let squeeze = Path::new(env!("CARGO_BIN_EXE_squeeze"));
    let output = apart(SCRIPT, &[squeeze, &disk, &data]).expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let mut runs: Vec<&str> = said.split_inclusive("status ").collect();
    let end = runs.pop().expect("a last status");
    assert_eq!(end.trim(), "0", "{said}");
    let last = runs.pop().expect("a last run");
    let kept = last.matches("(from the earlier run)").count();
    assert!(kept >= 3, "a finished stage was done again: {said}");
    assert_eq!(runs.len(), 4);
    // What each size is too small for.
    let files = ["request.json", "", "supernet.safetensors", "train.ckpt"];
    let folder = disk.join("run").display().to_string();
    for (run, file) in runs.iter().zip(files) {
        let error = run.lines().find(|line| line.starts_with("squeeze: "));
        let error = error.unwrap_or(run);
        let remedy = "free some space there, then the same command goes on";
        let told = error.contains(&folder) && error.contains(file) && error.contains(remedy);
        assert!(told, "{file}: {error}");
    }
    let statuses = said.lines().filter_map(|line| line.strip_prefix("status "));
    assert_eq!(
        statuses.collect::<Vec<_>>(),
        ["2", "2", "2", "2", "0"],
        "{said}"
    );
}

/// Two classes that one word tells apart.
fn table() -> String {
    let rows = (0..100).map(|row| {
        let class = ["colour", "food"][row % 2];
        let word = [["red", "blue", "grey"], ["plum", "oat", "leek"]][row % 2][row % 3];
        format!("{word} number {row},{class}\n")
    });
    format!("text,label\n{}", rows.collect::<String>())
}

#[test]
fn a_disk_that_may_not_be_written() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let (disk, data) = (root.path().join("disk"), root.path().join("data.csv"));
    fs::create_dir(&disk).expect("writable");
    fs::write(&data, table()).expect("writable");
    let script = r#"
        mount -t tmpfs -o size=64k tmpfs "$2" || { echo skipped; exit 0; }
        mkdir "$2/old"
        mount -o remount,ro "$2"
        for folder in old new; do
            status=0
            "$1" design --data "$3" --p90 1ms -o "$2/$folder" 2>&1 || status=$?
            echo "status $status"
        done
    "#;
    let squeeze = Path::new(env!("CARGO_BIN_EXE_squeeze"));
    let output = apart(script, &[squeeze, &disk, &data]);
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let Some(said) = said.filter(|said| said.contains("status")) else {
        println!("skipped: no disk of its own for a test on this system");
        return;
    };
    let folder = |name: &str| disk.join(name).display().to_string();
    for wanted in [
        format!(
            "squeeze: cannot write to {}: choose another folder with -o",
            folder("old")
        ),
        format!(
            "squeeze: cannot make the folder {}: choose another with -o",
            folder("new")
        ),
    ] {
        assert!(said.contains(&wanted), "{said}");
    }
    assert_eq!(said.matches("status 2").count(), 2, "{said}");
}
