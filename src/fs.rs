//! File system operations in own types: what FUSE asks, without FUSE.
