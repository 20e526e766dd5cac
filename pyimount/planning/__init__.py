"""From a scan to what mounting it does: a pure function, and the frozen steps that it gives."""
