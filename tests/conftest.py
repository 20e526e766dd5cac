"""What holds for all tests."""

from hypothesis import settings

# How long one example takes says more of the machine, and of what is imported first, than of the code.
settings.register_profile("pyimount", deadline=None)
settings.load_profile("pyimount")
