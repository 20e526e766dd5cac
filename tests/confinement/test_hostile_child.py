"""A scan's child that was taken over and says anything: root refuses it in a sentence, and ends it."""

import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pyimount.confinement import parent, watching
from pyimount.confinement.messages import CAP
from pyimount.confinement.parent import scan_confined
from pyimount.exceptions import StepFailed
from pyimount.mounting import mounting
from pyimount.sources.segments import gather

CHILD = """
import array, json, os, socket, struct, sys, time
s = socket.socket(fileno=os.dup(0))
length = struct.unpack("<I", s.recv(4))[0]
request = b""
while len(request) < length:
    request += s.recv(length - len(request))
image = json.loads(request)["images"][0]["paths"][0]
def say(value):
    data = json.dumps(value).encode()
    s.sendall(struct.pack("<I", len(data)) + data)
def heard():
    size = struct.unpack("<I", s.recv(4))[0]
    data = b""
    while len(data) < size:
        data += s.recv(size - len(data))
    return json.loads(data)
"""


def taken_over(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    command = (sys.executable, "-c", CHILD + code)
    monkeypatch.setattr(parent, "command", lambda *_: command)


def confined(tmp_path: Path, timeout: float | None = 60) -> Any:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(4096))
    request = {"hints": {}, "keys": [], "budget": {}, "try_veracrypt": False}
    return scan_confined(gather([image]), request=request, timeout=timeout)


def packed(data: bytes) -> str:
    return repr(struct.pack("<I", len(data)) + data)


NONSENSE = {
    "nothing": "",
    "half a length": "s.sendall(b'ab')",
    "no JSON": f"s.sendall({packed(b'nonsense')})",
    "no UTF-8": f"s.sendall({packed(bytes([255, 254, 34]))})",
    "a length beyond all": f"s.sendall({struct.pack('<I', CAP + 1)!r})",
    "the longest length, and no more": f"s.sendall({struct.pack('<I', (1 << 32) - 1)!r} + b'x' * 10)",
    "half a message": f"s.sendall({struct.pack('<I', CAP)!r} + b'x' * (1 << 20))",
    "deep": "s.sendall(struct.pack('<I', 2_000_000) + b'[' * 1_000_000 + b']' * 1_000_000)",
    "a number of many digits": "s.sendall(struct.pack('<I', 100_000) + b'9' * 100_000)",
    "no report": "say({'report': None})",
    "a report that is a list": "say({'report': []})",
    "a report without disks": "say({'report': {}})",
    "disks that are none": "say({'report': {'disks': 5}})",
    "a disk that is none": "say({'report': {'disks': [5]}})",
    "layers without an end": (
        "v = []\n"
        "for _ in range(400): v = [{'recipe': {'parameters': {}}, 'paths': [], 'volumes': v}]\n"
        "say({'report': {'disks': v}})"
    ),
    "files that it has, more than a message carries": (
        "f = [os.dup(0) for _ in range(253)]\n"
        "s.sendmsg([struct.pack('<I', 2)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', f))])\n"
        "s.sendall(b'{}')"
    ),
}  # fmt: skip


@pytest.mark.parametrize("code", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken_over(monkeypatch, code)
    with pytest.raises(StepFailed) as caught:
        confined(tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


QUESTIONS: tuple[Any, ...] = (
    None, 5, "x", [], {}, [[]], {"open": "/etc/shadow"}, {"open": None}, {"open": ["x"]},
    {"report": 1, "open": 2}, {"named": "../../etc/shadow", "image": "IMAGE", "folder": ""},
    {"named": "x" * 100_000, "image": "IMAGE", "folder": ""},
    {"named": "\ud800", "image": "IMAGE", "folder": ""}, {"names": "IMAGE", "folder": "/etc", "cap": 5},
    {"names": "IMAGE", "folder": "", "cap": 10**30}, {"names": "IMAGE", "folder": "", "cap": 1.5},
)  # fmt: skip


def test_questions_that_are_none_are_answered_with_an_error_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    taken_over(
        monkeypatch,
        f"answers = []\n"
        f"for each in json.loads({json.dumps(QUESTIONS)!r}):\n"
        "    if isinstance(each, dict):\n"
        "        each = {key: image if value == 'IMAGE' else value for key, value in each.items()}\n"
        "    say(each)\n"
        "    answers.append(heard())\n"
        f"    open({str(said)!r}, 'w').write(json.dumps(answers))\n"
        "say({'report': {}})",
    )
    with pytest.raises(StepFailed):
        confined(tmp_path)
    answers = json.loads(said.read_text())
    assert len(answers) == len(QUESTIONS)
    assert all(answer.keys() == {"error"} for answer in answers), answers


def test_one_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing, or a byte of a message from time to time, or asks for ever."""
    for code in (
        "time.sleep(3600)",
        "s.sendall(struct.pack('<I', 1 << 20))\nwhile True: s.sendall(b' '); time.sleep(0.05)",
        "while True: say({'open': image}); s.recvmsg(1 << 16, 4096)",
    ):
        taken_over(monkeypatch, code)
        with pytest.raises(StepFailed, match="did not end within 1 s"):
            confined(tmp_path, timeout=1)


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(3600)",
        "s.recv(1)",
        "import select; select.select([s], [], [])",
        "import threading; threading.Event().wait()",
        "import threading\nthreading.Thread(target=time.sleep, args=(3600,)).start()\ns.recv(1)",
        "import subprocess; subprocess.run(['sleep', '3600'])",
        "say({'open': image}); heard(); time.sleep(3600)",
    ],
)
def test_one_that_rests_is_ended_without_a_limit_of_time(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_EVERY", 0.05)
    taken_over(monkeypatch, code)
    with pytest.raises(StepFailed, match="hangs"):
        confined(tmp_path, timeout=None)


@pytest.mark.parametrize("work", ["read", "reckon", "stopped", "asks slowly"])
def test_one_that_is_only_slow_is_waited_for(
    work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads from what gives nothing for now, has much to reckon, gets no processor, or waits for root."""
    looks: list[object] = []
    real = watching.time_at_rest

    def look(process: int) -> int | None:
        looks.append(real(process))
        if len(looks) == 10 and work in ("read", "stopped", "reckon"):
            with (tmp_path / "pipe").open("wb") as pipe:
                pipe.write(b"x")
        return looks[-1]  # type: ignore[return-value]

    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    monkeypatch.setattr(watching, "_EVERY", 0.02)
    monkeypatch.setattr(watching, "time_at_rest", look)
    wait = {
        "read": f"os.read(os.open({pipe!r}, os.O_RDWR), 1)",
        "reckon": f"f = os.open({pipe!r}, os.O_RDWR | os.O_NONBLOCK)\nwhile True:\n"
        "    try:\n        if os.read(f, 1): break\n    except BlockingIOError: pass",
        "stopped": f"os.read(os.open({pipe!r}, os.O_RDWR), 1)",
        "asks slowly": "say({'open': image}); s.recvmsg(1 << 16, 4096)",
    }[work]
    if work == "asks slowly":
        kept = parent._answer

        def slow(*arguments: Any) -> None:
            time.sleep(0.5)  # root's own opening takes long: that is not the child's rest
            kept(*arguments)

        monkeypatch.setattr(parent, "_answer", slow)
    taken_over(monkeypatch, f"{wait}\nsay({{'report': {{'disks': []}}}})")
    assert confined(tmp_path, timeout=None).report == {"disks": []}


def test_a_report_to_the_letter_is_still_held_against_its_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jsonschema")
    taken_over(
        monkeypatch,
        "say({'report': {'disks': [{'paths': [image], 'recipe': {'parameters': {}}, 'volumes': [],"
        " 'x' * 1_000_000: '\\x1b[2J' * 1_000_000}]}})",
    )
    found = confined(tmp_path)
    with pytest.raises(StepFailed) as caught:
        mounting.checked(found.report)
    assert len(str(caught.value)) < 400
