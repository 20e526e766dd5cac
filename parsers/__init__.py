"""The parsing core: one on-disk format, one file, one declaration.

This folder stands at the top of the checkout and is imported as ``pyimount.parsers``, never as
``parsers``: under a second name every module would exist twice, with two sets of classes.
"""

if __name__ != "pyimount.parsers":
    raise ImportError(f"import this package as pyimount.parsers, not as {__name__}")
