"""What is found by opening files: the system that a volume has, the tree that its volumes were."""
