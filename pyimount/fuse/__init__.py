"""Layers shown as raw files, by a FUSE server of our own that runs as a process without privileges."""
