"""What is raised for what a plan refuses and for a step that failed: imagemounter's exceptions."""

import os
from collections.abc import Mapping

from pyimount.exceptions import (
    CommandNotFoundError,
    ImageMounterError,
    KeyInvalidError,
    MountError,
    NoLoopbackAvailableError,
    NoMountpointAvailableError,
    NoNetworkBlockAvailableError,
    PrerequisiteFailedError,
    SubsystemError,
    UnsupportedFilesystemError,
)
from pyimount.execution.plan_executor import Failure, Outcome
from pyimount.imagemounter.remedies import for_programs
from pyimount.planning.refusing import Refused
from pyimount.planning.steps import AttachLoop, ConnectNbd, MakeDirectory, OpenEncrypted, Refusal, Step

_BY_CODE: Mapping[str, type[ImageMounterError]] = {
    "locked": KeyInvalidError,
    "unknown": UnsupportedFilesystemError,
    "unsupported": UnsupportedFilesystemError,
    "nothing": UnsupportedFilesystemError,
    "not-allowed": UnsupportedFilesystemError,
    "needs-tool": CommandNotFoundError,
}
_BY_STEP: Mapping[type[Step], type[ImageMounterError]] = {
    AttachLoop: NoLoopbackAvailableError,
    MakeDirectory: NoMountpointAvailableError,
    ConnectNbd: NoNetworkBlockAvailableError,
    OpenEncrypted: KeyInvalidError,
}


def need_root() -> None:
    """Raise PrerequisiteFailedError unless this process may mount."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise raised(PrerequisiteFailedError, "mounting needs root; detecting does not", "run this as root")


def raised(kind: type[ImageMounterError], reason: str, remedy: str | None = None) -> ImageMounterError:
    """An exception with what would help, in words of a program."""
    error = kind(reason)
    error.remedy = for_programs(remedy)
    return error


def first_failed(outcome: Outcome) -> Step | None:
    """The first step that failed by itself."""
    return next((failure.step for failure in outcome.failures if failure.because is None), None)


def of_failure(failure: Failure) -> ImageMounterError:
    """What fits a step that failed."""
    kind = _BY_STEP.get(type(failure.step), SubsystemError)
    return raised(kind, failure.reason, failure.remedy)


def of_refusal(refusal: Refusal, failed: Step | None) -> ImageMounterError:
    """What fits a refusal; ``failed``: the step that did, if any."""
    if refusal.code != "failed":
        kind = _BY_CODE.get(refusal.code, MountError)
    else:
        kind = SubsystemError if failed is None else _BY_STEP.get(type(failed), SubsystemError)
    return raised(kind, refusal.reason, refusal.remedy)


def of_refused(refused: Refused) -> ImageMounterError:
    """What fits a refusal that was raised."""
    return raised(_BY_CODE.get(refused.code, MountError), refused.reason, refused.remedy)
