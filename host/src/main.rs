//! The `dekker` command; see [`dekker_host::cli`].

fn main() -> std::process::ExitCode {
    dekker_host::cli::main()
}
