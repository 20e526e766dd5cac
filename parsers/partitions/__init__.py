"""Partition tables: a disk that holds extents."""
