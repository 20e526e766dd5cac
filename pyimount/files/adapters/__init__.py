"""The libraries that read files: a module for each, or a family of them, with ``open_volume(given)``."""
