"""Files that hold a disk: one container format a file."""
