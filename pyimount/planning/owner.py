"""Whose the files are shown as, where a file system has no owners of its own: FAT, exFAT, NTFS, HFS."""

from pyimount.records import Record


class Owner(Record, kw_only=True):
    """Who mounts: user, group, and the permissions that he gives nobody (umask)."""

    uid: int
    gid: int
    umask: int = 0o022

    def options(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The options of a driver, of those that it has of ``uid``, ``gid``, ``umask``."""
        values = {"uid": str(self.uid), "gid": str(self.gid), "umask": f"{self.umask:04o}"}
        return tuple(f"{name}={values[name]}" for name in names)
