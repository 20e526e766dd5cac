"""A process that may do little: how it is started, what it gives up, what passes to its parent and back."""
