//! Shared rings: standard streams, log and sockets.
