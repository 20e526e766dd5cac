"""The report as a file: whole in itself, and deaf to what an image says."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

import pyimount
from fixtures.workshop import fixtures
from pyimount.cli import main
from pyimount.layers import DiskLayer, Recipe, Scan, VolumeLayer
from pyimount.problems import Code, Problem
from pyimount.reports import svg
from pyimount.reports.html import document, notebook

HOSTILE = (
    "</style></title><script>alert(1)</script><img src=https://example.org/x onerror=alert(1)>"
    "\"'&\x1b\u202e\x00"
)
VOID = {"meta", "br", "img", "link", "input"}


class Reader(HTMLParser):
    """Tells the elements of a document, and whether each is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.wrong: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.wrong += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.wrong.append(f"/{tag}")


def hostile() -> Scan:
    disk = DiskLayer(
        id=0, index=HOSTILE, paths=(HOSTILE,), container={"type": HOSTILE, "md5": HOSTILE, HOSTILE: HOSTILE},
        size=1 << 20, sector_size=512, recipe=Recipe("image"), pttype=HOSTILE, ptuuid=HOSTILE,
        problems=(Problem(Code.DAMAGED, HOSTILE),),
    )  # fmt: skip
    volume = VolumeLayer(
        id=1, parents=(0,), recipe=Recipe("slice"), index=HOSTILE, name=HOSTILE, offset=0, size=1 << 20,
        type=HOSTILE, label=HOSTILE, uuid=HOSTILE, part_name=HOSTILE, state=HOSTILE, usage=HOSTILE,
        last_mountpoint=HOSTILE, details={HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]}, fstype=HOSTILE,
        locked=True, problems=(Problem(Code.LOCKED, HOSTILE),),
    )  # fmt: skip
    return Scan((disk,), (volume,), (Problem(Code.BUDGET, HOSTILE),))


def asks_for(elements: list[tuple[str, dict[str, str | None]]]) -> list[str]:
    """What a document would run, or ask of elsewhere."""
    found = []
    for tag, attributes in elements:
        if tag in (
            "script",
            "link",
            "img",
            "iframe",
            "object",
            "embed",
            "image",
            "use",
            "form",
            "base",
            "foreignobject",
        ):
            found.append(tag)
        for key, value in attributes.items():
            inside = str(value).startswith(("#", "url(#"))
            if key.startswith("on") or (
                key in ("src", "href", "xlink:href", "action", "srcset") and not inside
            ):
                found.append(f"{key}={value}")
    return found


def texts(scan: Scan) -> dict[str, str]:
    return {
        "html": document(scan, run={"program": HOSTILE, HOSTILE: "x"}),
        "svg": svg.drawing(scan),
        "notebook": notebook(scan),
    }


@pytest.mark.parametrize("form", ["html", "svg", "notebook"])
def test_what_an_image_says_is_text_and_nothing_else(form: str) -> None:
    text = texts(hostile())[form]
    read = Reader(text.partition("?>")[2] if form == "svg" else text)
    assert read.wrong == []
    assert asks_for(read.elements) == []
    assert not re.search("[\x00\x1b\u202e]", text)
    assert "&lt;script&gt;" in text
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    assert "import" not in style
    assert not re.search(r"url\((?!#)", style)
    if form == "html":
        assert "default-src 'none'" in text
    if form == "svg":
        ElementTree.fromstring(text)  # noqa: S314  (our own)


def test_every_box_is_reached_by_tab_and_has_a_name() -> None:
    read = Reader(texts(hostile())["html"])
    boxes = [(tag, attributes) for tag, attributes in read.elements if attributes.get("class") == "box"]
    ids = {attributes["id"] for _, attributes in read.elements if "id" in attributes}
    assert len(boxes) == 3  # disk, its table, what is in it
    for tag, attributes in boxes:
        assert attributes["aria-label"]
        assert str(attributes["href"])[1:] in ids if tag == "a" else attributes["tabindex"] == "0"
    alone = Reader(texts(hostile())["svg"].partition("?>")[2])
    assert sum(attributes.get("tabindex") == "0" for _, attributes in alone.elements) == 3


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance ."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_stands_out_in_light_and_dark() -> None:
    themes = re.findall(r"\.pyimount\{((?:--p-[a-z0-9]+:#[0-9a-f]{6};)+)\}", svg.COLOURS)
    assert len(themes) == 3
    for theme in themes:
        colours = dict(re.findall(r"--p-([a-z0-9]+):(#[0-9a-f]{6});", theme))
        boxes = (
            "paper",
            "disk",
            "strip",
            "table",
            "meta",
            "files",
            "group",
            "crypto",
            "other",
            "unknown",
            "several",
        )
        pairs = [("ink", box) for box in boxes] + [("wrong", "paper")]
        for text, ground in pairs:
            low, high = sorted((luminance(colours[text]), luminance(colours[ground])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for fixture in fixtures():
        if fixture.name in ("demo", "luks2", "ewf"):
            folder = tmp_path / fixture.name
            folder.mkdir()
            found[fixture.name] = fixture.unpack(folder)
    return found


def test_a_report_has_every_layer_and_how_it_came_about(images: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "case.html"
    assert main(["report", str(images["demo"]), "--key", "p:hush hush", "--free", "-o", str(target)]) == 0
    text = target.read_text()
    read = Reader(text)
    assert read.wrong == []
    assert asks_for(read.elements) == []
    scan = pyimount.detect(images["demo"])
    for volume in scan.volumes:
        assert f'id="v{volume.id}"' in text
        assert not volume.uuid or volume.uuid in text
    assert "Case files" in text
    assert f"pyimount {pyimount.__version__}" in text
    assert "--free" in text
    assert "given, and not kept here" in text
    assert "hush" not in text


def test_every_row_leads_to_all_facts_of_its_layer(images: dict[str, Path]) -> None:
    scan = pyimount.detect(images["demo"])
    read = Reader(document(scan, run={}))
    ids = {attributes["id"] for _, attributes in read.elements if "id" in attributes}
    leads = {str(each["href"]) for tag, each in read.elements if tag == "a" and "aria-label" in each}
    for layer in (*scan.disks, *scan.volumes):
        assert {f"v{layer.id}", f"f{layer.id}"} <= ids
        assert f"#f{layer.id}" in leads


@pytest.mark.parametrize("width", range(10, 200, 10))
def test_a_label_is_whole_or_says_that_it_is_not(width: int) -> None:
    for text in ("12 ext4", "1.0.12 not recognised", "MMMMWWWW", "磁盘映像文件", "x", ""):
        shown = svg.fitting(text, width, bold=True)
        assert shown in (text, "") or (shown.endswith("…") and text.startswith(shown[:-1].rstrip()))
        assert shown in (text, "") or len(shown) > 4


def test_stored_hashes_are_told_as_stored(images: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "case.html"
    assert main(["report", str(images["ewf"]), "-o", str(target)]) == 0
    (disk,) = pyimount.detect(images["ewf"]).disks
    _, _, hashes = target.read_text().partition("Hashes that the images store")
    assert "not compared with the data" in hashes
    assert all(f"<code>{disk.container[name]}</code>" in hashes for name in ("md5", "sha1"))


def test_the_picture_alone_marks_a_lock(images: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "disk.svg"
    assert main(["report", "--svg", str(images["luks2"]), "-o", str(target)]) == 0
    root = ElementTree.parse(target).getroot()  # noqa: S314  (our own)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    labels = [each.get("aria-label") or "" for each in root.iter()]
    assert any("encrypted: locked" in label for label in labels)


def test_nothing_is_written_over(images: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    image = images["demo"]
    before = image.read_bytes()
    assert main(["report", str(image), "-o", str(image)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert image.read_bytes() == before


def test_an_image_that_is_not_there_is_said_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "case.html"
    assert main(["report", str(tmp_path / "none.img"), "-o", str(target)]) == 1
    assert "none.img" in capsys.readouterr().err
    assert "unreadable" in target.read_text()


def test_a_notebook_shows_the_picture(images: dict[str, Path]) -> None:
    shown = pyimount.detect(images["demo"])._repr_html_()
    assert Reader(shown).wrong == []
    assert "<svg" in shown
    assert "Case files" in shown


def test_a_bar_is_as_wide_as_it_may_be(
    images: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for columns in (40, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main(["detect", "--bar", str(images["demo"]), str(images["luks2"])]) == 0
        lines = capsys.readouterr().out.splitlines()
        bars = [line for line in lines if line.startswith("|")]
        assert len(bars) == 2
        assert all(len(bar) <= columns for bar in bars)
        assert {"#", "=", "."} <= set(bars[0])
        assert set(bars[1]) == {"|", "x"}
        beneath = lines[lines.index(bars[0]) + 1]
        assert "2" in beneath
