//! Configuration: values, callers, and secrets that no message shows.

mod caller_errors;
mod callers;
mod misplaced_secrets;
mod mistakes;
mod secret_exposure;
mod secret_files;
mod secrets;
mod security;
mod shipped_file;
mod values;
mod warnings;
