"""Volumes that hold files, and swap."""
