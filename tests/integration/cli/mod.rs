//! Commands of the binary.

mod commands;
mod demo;
mod doctor;
mod doctor_connections;
mod doctor_limits;
mod man;
