"""The one-way flow of the house, held by reading its imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
CORE = [*(TOP / "pyimount").rglob("*.py"), *(TOP / "parsers").rglob("*.py")]
CORE = sorted({path.resolve() for path in CORE})

# The rooms from left to right: a room imports its own modules and those of rooms before it, never after it,
# for types included. Rooms in one line do not know each other.
ROOMS = (
    ("records",),
    ("problems", "keys", "exceptions", "version", "wording"),
    ("sources",),
    ("formats",),
    ("parsers",),
    ("recognition",),
    ("layers",),
    ("mapping", "reports"),
    ("scanning", "planning"),
    ("confinement",),
    ("execution", "fuse", "files"),
    ("inside",),
    ("mounting", "verifying"),
    ("imagemounter", "dependencies"),
    ("",),  # the package itself, which hands on the public names
    ("cli",),
)
RANK = {name: rank for rank, rooms in enumerate(ROOMS) for name in rooms}
# Loaded by its name, against that order: a notebook asks a Scan itself for its HTML, which is a report.
BACKWARDS = (("pyimount.layers", "pyimount.reports.html"),)
# What a parser may import of this house: the language, the bytes, the nouns, and what parsers share.
OPEN_TO_PARSERS = ("formats", "sources", "problems", "records", "parsers")
# What acts on the machine, and what the processes are made of that do so or are kept from it.
ACTING = ("execution", "fuse", "files", "confinement")
# What asks a library of the system's for what Python has no name for, and acts on nothing.
ASKING = {"pyimount.verifying.libcrypto": {"ctypes"}}
# What only POSIX has; the parsing half must do without.
ABSENT_ELSEWHERE = ("fcntl", "grp", "pwd", "resource", "termios", "syslog")


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def module_of(path: Path) -> str:
    parts = path.relative_to(TOP).with_suffix("").parts
    name = ".".join(("pyimount", *parts) if parts[0] == "parsers" else parts)
    return name.removesuffix(".__init__")


MODULES = {module_of(path): path for path in CORE}


def imports(tree: ast.AST, *, for_types: bool = True) -> list[str]:
    """Every module that is imported anywhere; ``for_types``: also where only type checkers read."""
    found = []
    for node in ast.walk(tree):
        if not for_types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute"
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in named if name in MODULES]
            # From a package, what is taken may be modules of it, names that it hands on, or both.
            found += modules
            if len(modules) < len(named):
                found.append(node.module)
    return found


def loaded_by_name(tree: ast.AST) -> list[str]:
    """Every module that is loaded by a name that stands in the code, or as much of its name as does."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [name for call in calls if called(call) == "import_module" for name in named_in(call.args[0])]


def called(node: ast.Call) -> str:
    """The name of a function that is called."""
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def named_in(node: ast.AST) -> list[str]:
    """What a string has; of one with values in it, what stands before the first."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def of_ours(names: list[str]) -> list[str]:
    return [name for name in names if name.split(".")[0] == "pyimount"]


def own_imports(path: Path) -> list[str]:
    return of_ours(imports(ast.parse(path.read_text())))


def against_the_direction(module: str, imported: list[str]) -> list[str]:
    """What this module imports and must not."""
    own = room_of(module)
    if own in ("", "__main__"):
        return []
    wrong = []
    for name in imported:
        if (module, name) in BACKWARDS:
            continue
        room = room_of(name)
        before = RANK[room] < RANK[own] if room in RANK else False
        if not (room == own or before) or (own == "parsers" and room not in OPEN_TO_PARSERS):
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_what_stands_left_of_it(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    assert against_the_direction(module, of_ours([*imports(tree), *loaded_by_name(tree)])) == []


def test_an_import_against_the_direction_is_noticed() -> None:
    wrong = against_the_direction("pyimount.scanning.tasks", ["pyimount.files.reading", "pyimount.layers"])
    assert wrong == ["pyimount.files.reading"]
    assert against_the_direction("pyimount.planning.plan", ["pyimount.scanning"]) == ["pyimount.scanning"]
    wrong = ["pyimount.recognition.registry", "pyimount.keys"]
    assert against_the_direction("pyimount.parsers.filesystems.ext", wrong) == wrong


def test_a_module_that_is_loaded_by_its_name_is_noticed() -> None:
    tree = ast.parse(
        "import_module('pyimount.reports.html'); importlib.import_module(f'pyimount.cli.{name}')"
    )
    assert loaded_by_name(tree) == ["pyimount.reports.html", "pyimount.cli."]
    assert against_the_direction("pyimount.mounting.mounting", loaded_by_name(tree)) == ["pyimount.cli."]


@pytest.mark.parametrize(("module", "name"), BACKWARDS)
def test_what_goes_against_the_order_is_there(module: str, name: str) -> None:
    assert name in loaded_by_name(ast.parse(MODULES[module].read_text()))


def test_every_module_of_the_core_has_its_room() -> None:
    assert {room_of(module) for module in MODULES} - {"", "__main__"} <= RANK.keys()


def test_no_modules_import_each_other_in_a_ring() -> None:
    """Wherever in the code the imports stand, and for types as well."""
    pending = {module: {*own_imports(path)} & MODULES.keys() - {module} for module, path in MODULES.items()}
    # What imports nothing that is left is no part of a ring; what stays is one, or leads into one.
    while free := {module for module, imported in pending.items() if not imported & pending.keys()}:
        pending = {module: imported for module, imported in pending.items() if module not in free}
    assert pending == {}


@pytest.mark.parametrize(
    "path", [path for path in CORE if room_of(module_of(path)) not in ACTING], ids=module_of
)
def test_only_execution_acts_on_the_machine(path: Path) -> None:
    imported = {name.split(".")[0] for name in imports(ast.parse(path.read_text()), for_types=False)}
    acting = {"subprocess", "multiprocessing", "socket", "ctypes", "pty"}
    assert imported & acting == ASKING.get(module_of(path), set())


# The one place that catches whatever is raised: the last net of a scan, once.
NET = {"pyimount.scanning.net": 1}


@pytest.mark.parametrize("path", CORE, ids=module_of)
def test_nothing_catches_everything(path: Path) -> None:
    everything = 0
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.dump(node.type) if node.type else "everything"
            assert "'BaseException'" not in caught
            assert caught != "everything"
            everything += "'Exception'" in caught
        # The end of a block whose answer is true has caught what was raised in it.
        if isinstance(node, ast.FunctionDef) and node.name == "__exit__":
            everything += ast.unparse(node.returns) != "None" if node.returns else 1
    assert everything == NET.get(module_of(path), 0)


@pytest.mark.parametrize(
    "path", [path for path in CORE if room_of(module_of(path)) in ("parsers", "mapping")], ids=module_of
)
def test_numbers_in_an_image_s_text_are_read_by_what_bounds_them(path: Path) -> None:
    """``isdecimal`` alone lets through the digits of every script, and more of them than ``int`` takes."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in ("isdecimal", "isnumeric"):
            assert module_of(path) in ASCII_ALREADY, "use formats.notation.decimal"


ASCII_ALREADY = {
    "pyimount.mapping.bitlocker_keys",  # a user's recovery password
    "pyimount.mapping.kdf",  # the kernel's own words
    "pyimount.parsers.containers.aff",  # matched by an expression before
}


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_detection_works_where_posix_modules_are_absent() -> None:
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in ABSENT_ELSEWHERE)
    code = (
        f"import sys, tempfile, pathlib; {blocked}import pyimount; "
        "path = pathlib.Path(tempfile.mkdtemp()) / 'blank.img'; path.write_bytes(bytes(1 << 20)); "
        "print(pyimount.detect(path).volumes[0].size)"
    )
    assert run_python(code) == str(1 << 20)


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("construct", "dissect", "cryptography", "rich", "argparse", "json")
    code = f"import sys, pyimount; print([name for name in {heavy!r} if name in sys.modules])"
    assert run_python(code) == "[]"


def test_detecting_to_json_loads_neither_rich_nor_dissect_nor_cryptography(tmp_path: Path) -> None:
    image = tmp_path / "blank.img"
    image.write_bytes(bytes(1 << 20))
    code = (
        "import sys, io, contextlib; from pyimount.cli import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()): main(['detect', '--json', {str(image)!r}])\n"
        "print([name for name in ('rich', 'dissect', 'cryptography', 'numpy') if name in sys.modules])"
    )
    assert run_python(code) == "[]"


def test_detecting_to_json_loads_no_module_that_imports_what_is_slow(tmp_path: Path) -> None:
    """Read from the code, since what makes an editable install importable may load these itself."""
    image = tmp_path / "ext.img"
    image.write_bytes(bytes(1080) + b"\x53\xef" + bytes(100_000))
    code = (
        "import sys, io, contextlib; from pyimount.cli import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()): main(['detect', '--json', {str(image)!r}])\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if name.startswith('pyimount'): print(module.__file__)"
    )
    loaded = [Path(line) for line in run_python(code).splitlines()]
    assert {"scanner.py", "segments.py", "ext.py"} <= {path.name for path in loaded}
    for path in loaded:
        slow = {"pathlib", "shutil", "threading", "datetime"}
        slow.intersection_update(imports(ast.parse(path.read_text()), for_types=False))
        assert not slow, f"{path} imports {slow}"


def test_what_runs_as_root_loads_nothing_that_reads_an_image() -> None:
    """But for ``confinement.child``, which has given up root before it does."""
    rooms = ("execution", "confinement")
    names = [name for name in MODULES if room_of(name) in rooms and name != "pyimount.confinement.child"]
    imports = "; ".join(f"import {name}" for name in names)
    code = (
        f"import sys; {imports}; print(*sorted(name for name in sys.modules if name.startswith('pyimount.')))"
    )
    loaded = {room_of(name) for name in run_python(code).split()}
    nouns = {"records", "problems", "exceptions", "version"}
    assert loaded <= {"confinement", "execution", "planning", "sources", *nouns}


def test_the_parsers_refuse_a_second_name() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import parsers"], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "import this package as pyimount.parsers" in done.stderr
