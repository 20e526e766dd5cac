"""Why a volume is not mounted, while it is being thought about."""


class Refused(Exception):  # noqa: N818  (an answer, not an error)
    """A volume is not to be mounted, or cannot be; the fields are those of a Refusal."""

    def __init__(self, code: str, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.remedy = remedy
