"""Reports in a real browser: nothing is said on its console, all is reached by Tab, axe finds nothing wrong.

``.ci/browser`` brings what this takes, and runs it.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.workshop import find_tool, fixtures
from pyimount.cli import main
from pyimount.layers import DiskLayer, ImageWithin, Recipe, Scan, VolumeLayer, Within
from pyimount.problems import Code, Problem
from pyimount.reports.html import document
from tests.browser.chromium import Chromium

MIB = 1 << 20
BROUGHT = Path(__file__).parent.parent.parent / "build" / "browser"
"""Where ``.ci/browser`` puts what comes from npm."""
AXE = BROUGHT / "axe-core" / "axe.min.js"
VNU = BROUGHT / "vnu-jar" / "build" / "dist" / "vnu.jar"

FIXTURES = (
    "demo", "luks2", "ewf", "lvm2-group", "ldm", "apfs", "iso-hybrid", "gpt-cut", "u-boot-fit",
    "btrfs-two-devices",
)  # fmt: skip
SYNTHETIC = ("partitions", "levels", "within")


def lacking(*missing: str) -> None:
    """Fail where there is something: ``.ci/browser`` brings all of it."""
    if missing:
        pytest.fail(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = find_tool("chromium")
    lacking(*(("chromium",) if program is None else ()))
    with Chromium(str(program), tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The reports, by the name of what they are of."""
    folder = tmp_path_factory.mktemp("pages")
    found = {name: folder / f"{name}.html" for name in (*FIXTURES, *SYNTHETIC)}
    for fixture in fixtures():
        if fixture.name in FIXTURES:
            apart = tmp_path_factory.mktemp(fixture.name)
            fixture.unpack(apart)
            images = sorted(str(path) for path in apart.iterdir() if path.is_file())
            assert main(["report", *images, "-o", str(found[fixture.name])]) == 0
    for name, scan in (("partitions", partitions()), ("levels", levels()), ("within", within())):
        found[name].write_text(document(scan, run={"program": "x", "file /" + "very-long/" * 40: "1 byte"}))
    return found


def disk(**facts: Any) -> DiskLayer:
    return DiskLayer(
        id=0, index=None, paths=("0.img",), container={"type": "raw"}, size=600 * MIB, sector_size=512,
        recipe=Recipe("image"), **facts,
    )  # fmt: skip


def volume(number: int, parent: int, index: str, **facts: Any) -> VolumeLayer:
    return VolumeLayer(id=number, parents=(parent,), recipe=Recipe("slice"), index=index, **facts)


def partitions() -> Scan:
    """A disk of 500 of them, one of which is torn, one locked, and one named at length."""
    found = [
        volume(n, 0, str(n), offset=n * MIB, size=MIB, type="ext4", usage="filesystem", label=f"part {n}")
        for n in range(1, 501)
    ]
    found[400] = found[400].replaced(problems=(Problem(Code.DAMAGED, "torn"),))
    found[300] = found[300].replaced(type="crypto_LUKS", usage="crypto", locked=True)
    found[200] = found[200].replaced(label="\u202e\u200f name " * 60)
    return Scan((disk(pttype="gpt"),), tuple(found))


def levels() -> Scan:
    """Thirty layers, each in the one before."""
    return Scan(
        (disk(),),
        tuple(
            volume(n, n - 1, ".".join("0" * n), offset=MIB * (n > 1), size=(600 - n) * MIB,
                   type="lvm", usage="raid")
            for n in range(1, 31)
        ),
    )  # fmt: skip


def within() -> Scan:
    """A disk image in a file of a volume, twice over, under addresses without a space."""
    found = Scan(
        (disk(),), (volume(1, 0, "0", offset=0, size=MIB, type="ext4", usage="filesystem", label="x"),)
    )
    for number in range(2):
        address = f"0:/{'a-folder/' * 20}{number}.vmdk"
        image = ImageWithin(path=address.partition(":")[2], address=address, scan=found)
        problem = Problem(Code.BUDGET, "not all was looked into")
        found = found.replaced(within={1: Within(images=(image,), problems=(problem,))})
    return found


def axes_violations(browser: Chromium) -> list[str]:
    """What axe-core, https://github.com/dequelabs/axe-core , says is wrong with the page that is shown."""
    lacking(*(() if AXE.exists() else ("axe-core",)))
    browser.send("Page.setBypassCSP", enabled=True)
    browser.run(f"{AXE.read_text()};0")
    found = browser.run(
        "axe.run(document, {resultTypes: ['violations']}).then(found => JSON.stringify(found.violations.map("
        "each => each.id + ': ' + each.nodes[0].html.slice(0, 200))))"
    )
    violations: list[str] = json.loads(found)
    return violations


@pytest.mark.parametrize(
    ("width", "dark"), [(1280, False), (1280, True), (400, False)], ids=["wide", "dark", "narrow"]
)
@pytest.mark.parametrize("name", [*FIXTURES, *SYNTHETIC])
def test_a_report_is_quiet_fits_and_is_for_everyone(
    name: str, width: int, dark: bool, browser: Chromium, pages: dict[str, Path]
) -> None:
    browser.open(pages[name], width=width, dark=dark)
    assert browser.said() == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert axes_violations(browser) == []


@pytest.mark.parametrize("name", [*FIXTURES, *SYNTHETIC])
def test_all_is_reached_by_tab(name: str, browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages[name], width=1280)
    browser.run(
        "window.reached = []; document.addEventListener('focusin', event => reached.push(event.target)); 0"
    )
    stops = browser.run("document.querySelectorAll('.box, a[href], summary, [tabindex]').length")
    for _ in range(min(stops, 300)):
        browser.press_tab()
    reached = browser.run("new Set(reached).size")
    assert reached == min(stops, 300)
    lacks = "each => !reached.includes(each)"
    assert stops > 300 or browser.run(f"[...document.querySelectorAll('.box')].filter({lacks}).length") == 0
    # Each box of the picture leads to its row, and each row to all its facts, which that opens.
    assert browser.run(
        "[...document.querySelectorAll('a.box')].every("
        "each => document.querySelector(each.getAttribute('href')) !== null)"
    )
    assert browser.run(
        "[...document.querySelectorAll('td a')].every(a => document.querySelector(a.hash).closest('details'))"
    )
    browser.run("document.querySelector('td a').click()")
    assert browser.run("document.querySelector('dl.facts').closest('details').open")


@pytest.mark.parametrize("name", [*FIXTURES, "levels"])
def test_on_paper_all_facts_are_there_and_nothing_is_cut_off(
    name: str, browser: Chromium, pages: dict[str, Path]
) -> None:
    browser.open(pages[name], width=718, dark=True, media="print")  # A4 between its margins, in CSS's pixels
    assert browser.run("[...document.querySelectorAll('dl.facts')].every(each => each.checkVisibility())")
    assert browser.run("document.documentElement.scrollWidth") <= 718
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.pdf().startswith(b"%PDF")


def test_labels_stay_in_their_boxes(browser: Chromium, pages: dict[str, Path]) -> None:
    """Whatever font there is: what is wider than a box is cut off at its edge, not written over the next."""
    browser.open(pages["partitions"], width=1280)
    assert browser.run(
        "[...document.querySelectorAll('svg.pyimount text')].every("
        "each => getComputedStyle(each.ownerSVGElement).overflow === 'hidden'"
        " && each.ownerSVGElement.ownerSVGElement !== null)"
    )


def test_the_html_is_valid(pages: dict[str, Path], tmp_path: Path) -> None:
    """By the validator of the W3C, https://validator.github.io/validator/ ."""
    java = find_tool("java")
    lacking(*(("java",) if java is None else ()), *(() if VNU.exists() else ("vnu-jar",)))
    picture = tmp_path / "disk.svg"
    folder = tmp_path / "demo"
    folder.mkdir()
    image = next(each for each in fixtures() if each.name == "demo").unpack(folder)
    assert main(["report", "--svg", str(image), "-o", str(picture)]) == 0
    for option, files in (("--also-check-css", [*pages.values()]), ("--also-check-svg", [picture])):
        done = subprocess.run(
            [str(java), "-jar", VNU, option, *files], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
