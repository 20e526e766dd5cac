"""Files: what lies in a volume, read without root and without mounting, in a process that may be killed."""

from pyimount.files.system import FileSystem, open_filesystem

__all__ = ["FileSystem", "open_filesystem"]
