"""The version of pyimount, which every report carries."""

__version__ = "0.1.0"
