//! The library facade and the command line: one file a command.
