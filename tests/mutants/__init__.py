"""Mutation testing: small changes to the code, one at a time, and whether a test notices.

A change that no test notices is a line that may be wrong without anybody knowing.
"""
