"""Members of arrays and volume groups: extents that make up a volume."""
