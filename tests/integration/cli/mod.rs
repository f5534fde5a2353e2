//! Commands of the binary.

mod colors;
mod commands;
mod demo;
mod doctor;
mod doctor_connections;
mod doctor_credentials;
mod doctor_limits;
mod man;
