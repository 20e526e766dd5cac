"""The two orders in which programs give ``init`` and its siblings their arguments.

The documented one is ``(…, only_mount, swallow_exceptions)``; imagemounter 3.1.0 itself, and programs written
for it, have ``(…, only_mount, skip_mount, swallow_exceptions)``.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")


def either_order(
    place: int,
) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R]]:
    """Let a method take ``skip_mount`` where its ``swallow_exceptions`` is documented.

    ``place``: how many arguments come before that. What stands there is ``swallow_exceptions`` when it is a
    bool, or any other value that is no collection, and ``skip_mount`` when it is None or a collection; then
    ``swallow_exceptions`` may follow.
    """

    def decorate(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
        @wraps(method)
        def called(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            plain: list[Any] = list(args)
            named: dict[str, Any] = dict(kwargs)
            if len(plain) > place and (plain[place] is None or isinstance(plain[place], Iterable)):
                if "skip_mount" in named:
                    raise TypeError(f"{method.__name__}() got two values for argument 'skip_mount'")
                named["skip_mount"] = plain.pop(place)
            return method(self, *plain, **named)

        return called

    return decorate
