"""What a scan looks like: a tree for people, JSON and ``KEY=value`` blocks for programs.

``schema.json`` describes the JSON.
"""
