//! Real data sets that cannot be part of the repository; skipped with a line where they are absent.

use std::path::Path;

use squeeze_data::{DataSet, OpenOptions};

#[test]
fn cifar10_sheets() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/cifar10");
    if !path.exists() {
        println!("skipped: no CIFAR-10 sheets at {}", path.display());
        return;
    }
    let name = path.to_str().expect("the path of the sources is UTF-8");
    let set = DataSet::open(name, &OpenOptions::default()).unwrap();
    assert_eq!(set.labels.len(), 10);
    assert_eq!(set.train.len() + set.validation.len(), 27_000);
    assert_eq!(set.test.len(), 3_000);
}
