"""These tests take too much for every run: they are collected only where ``.ci/browser`` asks for them."""

import os

collect_ignore_glob = [] if os.environ.get("BROWSER_TESTS") else ["test_*.py"]
