//! The `squeeze` command line.

fn main() -> std::process::ExitCode {
    squeeze::commands::main()
}
