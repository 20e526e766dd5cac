"""How fast, beside the other tools on the machine: ``make bench`` prints one table of ratios.

Everything in a row is measured in one run, in turn, and the median counts: machines differ, ratios less so.
"""
