"""What ``check`` says of this place: whether ``mount`` can mount, by whom, or what keeps it from that."""

import os
import shutil
from typing import Any

from pyimount.execution import nodes, rights
from pyimount.execution.asking import installed_helper
from pyimount.execution.tools import SEARCH_PATH

_NODES = (nodes.FUSE, nodes.LOOP_CONTROL)


def as_json() -> dict[str, Any]:
    """``mounts``: whether it can, ``by`` whom; ``cause``, ``remedy``: why not; ``nodes``: those in /dev."""
    hindrance = rights.hindrance()
    states = {path: nodes.state(path) for path in _NODES}
    by = _by()
    cause = remedy = None
    if hindrance is not None:
        cause, remedy = hindrance.cause, hindrance.remedy
    elif by is None:
        cause, remedy = "this needs root, and neither sudo nor pkexec is installed", "run it as root"
    elif nodes.why_not(nodes.LOOP_CONTROL) is not None:
        cause = f"nothing can be attached: {nodes.why_not(nodes.LOOP_CONTROL)}"
        remedy = nodes.remedy(nodes.LOOP_CONTROL)
    return {"mounts": cause is None, "by": by, "cause": cause, "remedy": remedy, "nodes": states}


def _by() -> str | None:
    """Who mounts for this process."""
    if os.geteuid() == 0:
        return "root"
    way = next((name for name in ("sudo", "pkexec") if shutil.which(name, path=":".join(SEARCH_PATH))), None)
    return f"{way} and the installed helper" if way and installed_helper() else way


def lines() -> list[str]:
    """The same, to be read."""
    said = as_json()
    found = [f"  {'yes' if said['mounts'] else 'no ':3}  {'mount':15} {_mounting(said)}"]
    if said["remedy"]:
        found.append(f"       {'':15} {said['remedy']}")
    found += [
        f"  {'yes' if state == 'there' else 'no ':3}  {path:15} {'' if state == 'there' else state}".rstrip()
        for path, state in said["nodes"].items()
    ]
    return found


def _mounting(said: dict[str, Any]) -> str:
    if said["cause"]:
        return str(said["cause"])
    return "by this root" if said["by"] == "root" else f"through {said['by']}"
