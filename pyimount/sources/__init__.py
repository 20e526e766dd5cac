"""Bytes: read-only, of known size, from wherever they come.

``Source`` is the one interface; files, slices, concatenations and the insides of containers are
sources. A ``View`` is what a parser gets of one; a ``Broker`` decides which files may be opened.
"""
