//! Prints the page of the documentation that lists all networks: docs/models.md.

fn main() {
    print!("{}", squeeze_zoo::markdown());
}
