# Recipes for contributors: `just` lists them (https://just.systems). CI runs `.ci/run`.

# List the recipes.
default:
    @just --list

# Format the code.
fmt:
    cargo fmt

# Check formatting, lints and documentation, without warnings.
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked --no-default-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# Run all tests.
test:
    cargo test --locked

# Run the unit tests and the checks of the source: the fast part of the tests.
test-fast:
    cargo test --locked --lib
    cargo test --locked --test integration tidy

# Run the benches of the stack, the token and the whole proxy.
bench:
    cargo bench --locked --bench stack --bench token --bench end_to_end

# Compare the instructions of a request with the budget. Needs valgrind.
instructions:
    VALGRIND=required cargo bench --locked --bench instructions

# Make faults at random on all sides for minutes: after a change to bodies, connections or retries.
storm:
    cargo bench --locked --bench storm -- run

# Run each fuzz target for a while.
fuzz:
    .ci/fuzz

# Check the dependencies against deny.toml.
deny:
    .ci/deny

# Build the book of docs/ into target/book, and check its links.
docs:
    .ci/docs

# Run everything that CI runs.
ci:
    .ci/run
