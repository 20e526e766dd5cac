"""Starting a module of our own as a process that takes nothing from its surroundings."""

import os
import sys

import pyimount

# Isolated, Python looks for modules only where it is installed itself; we may lie elsewhere, last of all.
_PROGRAM = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def command(module: str, *arguments: str) -> tuple[str, ...]:
    """The command line that runs ``module`` with the Python that runs this."""
    place = os.path.dirname(os.path.dirname(os.path.abspath(pyimount.__file__)))
    return (sys.executable, "-I", "-c", _PROGRAM, place, module, *arguments)
