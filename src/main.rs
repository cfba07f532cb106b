//! `larder`: see the library for what it does; this only runs one command.

fn main() {}
