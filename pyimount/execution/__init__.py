"""The part that acts: it carries out the steps of a plan, remembers them, and takes them back."""
