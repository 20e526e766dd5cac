"""What answers questions about a volume's files: a reader in a process of its own, or in this one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from pyimount.files.opening import open_volume
from pyimount.files.session import Answer, Session
from pyimount.files.sourcing import given_from, request_of
from pyimount.formats import FileReader
from pyimount.keys import Keyring
from pyimount.layers import Scan, VolumeLayer
from pyimount.sources.shelf import Shelf


class Died(Exception):  # noqa: N818
    """A reader ended while it was asked something: it took too long, or too much, or crashed."""


class Question:
    """What a reader was asked, and its answer as soon as that is there."""

    __slots__ = ("_asked", "_question", "answer")

    def __init__(self, asked: "Asked", question: Mapping[str, Any]) -> None:
        self._asked = asked
        self._question = question
        self.answer: Answer | None = None

    def result(self) -> Answer:
        """Wait for the answer; raises Died."""
        while self.answer is None:
            self._asked.go_on()
        return self.answer


class Asked(ABC):
    """Something that answers questions about one volume's files, in the order in which they are asked."""

    folds: str

    @abstractmethod
    def ask(self, question: Mapping[str, Any]) -> Question:
        """Ask; the answer is waited for by ``result``. Raises Died."""

    @abstractmethod
    def go_on(self) -> None:
        """Take the next answer. Raises Died."""

    @abstractmethod
    def close(self) -> None:
        """End it."""


class InProcess(Asked):
    """A reader in this process: quicker to start, and whatever a library does happens here."""

    def __init__(
        self, scan: Scan, volume: VolumeLayer, keys: Keyring, reader: FileReader, shelf: Shelf | None = None
    ) -> None:
        self._stack = ExitStack()
        request = request_of(scan, volume, keys, reader.adapter, {}, within=shelf is not None)
        opened = open_volume(reader.adapter, given_from(request, None, self._stack, shelf))
        self.folds = opened.folds
        self._session = Session(opened, lambda: None)

    def ask(self, question: Mapping[str, Any]) -> Question:
        """As Asked's."""
        asked = Question(self, question)
        asked.answer = self._session.answer(question)
        return asked

    def go_on(self) -> None:
        """Nothing is ever waited for."""

    def close(self) -> None:
        """As Asked's."""
        self._stack.close()
