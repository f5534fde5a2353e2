//! Commands of the binary.

mod commands;
mod doctor;
mod doctor_connections;
mod doctor_limits;
