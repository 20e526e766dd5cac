"""What the imagemounter interface raises; and StepFailed, which all that acts on the machine raises.

::

    ImageMounterError
    ├ PrerequisiteFailedError
    │  ├ CommandNotFoundError
    │  ├ ModuleNotFoundError
    │  ├ ArgumentError
    │  └ NotMountedError
    ├ MountError
    │  ├ MountpointEmptyError
    │  ├ KeyInvalidError
    │  ├ FilesystemError
    │  │  ├ UnsupportedFilesystemError
    │  │  └ IncorrectFilesystemError
    │  └ AvailabilityError
    │     ├ NoMountpointAvailableError
    │     ├ NoLoopbackAvailableError
    │     └ NoNetworkBlockAvailableError
    ├ CleanupError
    ├ NoRootFoundError
    ├ DiskIndexError
    └ SubsystemError
"""


class ImageMounterError(Exception):
    """Base of them all. ``remedy``: what would help, where that is known."""

    remedy: str | None = None


class PrerequisiteFailedError(ImageMounterError):
    """A method cannot run yet, or not here: an argument, a state, a program or root's rights are missing."""


class CommandNotFoundError(PrerequisiteFailedError):
    """A program that is needed is not installed."""


class ModuleNotFoundError(PrerequisiteFailedError):  # noqa: A001
    """A Python package that is needed is not installed."""


class ArgumentError(PrerequisiteFailedError):
    """An argument is missing, or not written as it should be."""


class NotMountedError(PrerequisiteFailedError):
    """What must be mounted first is not."""


class MountError(ImageMounterError):
    """Something could not be mounted, or its image not be read."""


class MountpointEmptyError(MountError):
    """Nothing is where something should have been mounted."""


class KeyInvalidError(MountError):
    """An encrypted volume was given no key that opens it."""


class FilesystemError(MountError):
    """Base of what is wrong with a file system's type."""


class UnsupportedFilesystemError(FilesystemError):
    """A volume holds nothing that can be mounted here, or nothing that the policy allows to be."""


class IncorrectFilesystemError(FilesystemError):
    """A volume does not hold what it was said to hold."""


class AvailabilityError(MountError):
    """Base of what the machine has no more of."""


class NoMountpointAvailableError(AvailabilityError):
    """A folder to mount at could not be made or used."""


class NoLoopbackAvailableError(AvailabilityError):
    """A loop device could not be had."""


class NoNetworkBlockAvailableError(AvailabilityError):
    """A network block device could not be had."""


class CleanupError(ImageMounterError):
    """What was mounted is gone, but a folder or file of it could not be removed."""


class NoRootFoundError(ImageMounterError):
    """No volume was found that is the root of the others."""


class DiskIndexError(ImageMounterError):
    """A disk cannot be added, since the one before it has no index."""


class SubsystemError(ImageMounterError):
    """The kernel, a program or one of our own processes failed at what it was to do."""


class StepFailed(Exception):  # noqa: N818
    """A step did not do what it should. ``remedy``: what would help, where that is known."""

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
