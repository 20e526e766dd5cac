"""Volumes behind a key."""
