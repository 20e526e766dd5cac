"""Where volumes were mounted, by what they say of themselves and by what is in them once they are mounted."""

import logging

from pyimount.execution.mounted_trees import observe
from pyimount.layers import VolumeLayer
from pyimount.planning import reconstruct as planning
from pyimount.planning.facts import Facts

logger = logging.getLogger(__name__)


def mountpoint_of(layer: VolumeLayer, path: str) -> str | None:
    """Where a volume that is mounted at ``path`` most likely was, by what is in it."""
    facts = facts_of(layer, path)
    return None if facts is None else planning.mountpoint_by_directories(layer, facts)


def facts_of(layer: VolumeLayer, path: str) -> Facts | None:
    """What is in a volume that is mounted at ``path``; None where it cannot be looked at."""
    try:
        return observe(path, layer.id)
    except OSError as error:
        logger.warning("%s cannot be looked at: %s", path, error.strerror)
        return None
