"""What pyimount can make use of on this machine: what ``pyimount check`` lists.

``ALL`` has every dependency: ``name``, ``package``, ``why`` and ``is_available``, which is looked up each
time::

    missing = [each.name for each in pyimount.dependencies.ALL if not each.is_available]
"""

from pyimount.execution.dependencies import (
    ALL,
    COMMANDS,
    FILE_SYSTEMS,
    KERNEL,
    LIBRARIES,
    MODULES,
    CommandDependency,
    Dependency,
    FileSystemDependency,
    KernelDependency,
    LibraryDependency,
    PythonModuleDependency,
    find,
)

__all__ = [
    "ALL",
    "COMMANDS",
    "FILE_SYSTEMS",
    "KERNEL",
    "LIBRARIES",
    "MODULES",
    "CommandDependency",
    "Dependency",
    "FileSystemDependency",
    "KernelDependency",
    "LibraryDependency",
    "PythonModuleDependency",
    "find",
]
