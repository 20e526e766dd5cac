"""How a release is made: see docs/release.md."""
