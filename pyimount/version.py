"""The version of pyimount, which every report carries."""

__version__ = "0.1.0"

SCHEMA = "pyimount/1"
"""What a report is by: its number changes only where the meaning of a field does."""
