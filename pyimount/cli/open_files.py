"""How many files the command may have open: as many as the system lets it have, within reason."""

WANTED = 8192
"""More than a scan ever has open at once."""


def raise_limit() -> None:
    """Raise this process's soft limit of open files, where the hard one lets it; a library never does."""
    try:
        from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit
    except ImportError:  # another system
        return
    soft, hard = getrlimit(RLIMIT_NOFILE)
    most = WANTED if hard == RLIM_INFINITY else min(WANTED, hard)
    if soft != RLIM_INFINITY and soft < most:
        try:
            setrlimit(RLIMIT_NOFILE, (most, hard))
        except (OSError, ValueError):  # then it stays as it is, and fewer files are open at a time
            return
