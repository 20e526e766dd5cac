"""Tests that need tools: skipped where these are not installed, failed where they should be."""

import os

import pytest

from fixtures.workshop import find_tool


def needs(*tools: str) -> None:
    """Go on only if all of these are installed."""
    missing = [tool for tool in tools if find_tool(tool) is None]
    if missing:
        reason = f"not installed: {', '.join(missing)}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def needs_root() -> None:
    """Go on only as root."""
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("not root")
        pytest.skip("not root")
