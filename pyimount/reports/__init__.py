"""What a scan looks like: a tree for people, JSON and ``KEY=value`` blocks for programs.

``schema.json`` describes the JSON.
"""

import os

SCHEMA_FILE = os.path.join(os.path.dirname(__file__), "schema.json")
"""The JSON Schema of a report."""
