"""The one-way flow of the house, held by reading its imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
CORE = [*(TOP / "pyimount").rglob("*.py"), *(TOP / "parsers").rglob("*.py")]
CORE = sorted({path.resolve() for path in CORE})

# From left to right: a stage imports its own and those before it, never those after.
STAGES = (
    ("records", "problems", "sources", "messages", "confinement"),
    ("formats", "checksums", "notation", "keys"),
    ("layouts",),
    ("parsers",),
    ("registry", "signatures"),
    ("opening", "probing"),
    ("layers",),
    ("extents",),
    ("mapping",),
    ("groups", "searching", "unlocking", "tasks"),
    ("scanning",),
    ("confined",),
    ("planning", "fuse"),
    ("execution",),
    ("reports",),
    ("mounting",),
    ("cli",),
    ("exceptions", "dependencies", "imagemounter"),
)
RANK = {name: rank for rank, stage in enumerate(STAGES) for name in stage}
# What acts on the machine, and what the processes are made of that do so or are kept from it.
ACTING = ("execution", "fuse", "confined", "confinement", "messages")
# What only POSIX has; the parsing half must do without.
ABSENT_ELSEWHERE = ("fcntl", "grp", "pwd", "resource", "termios", "syslog")


def stage_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def module_of(path: Path) -> str:
    parts = path.relative_to(TOP).with_suffix("").parts
    name = ".".join(("pyimount", *parts) if parts[0] == "parsers" else parts)
    return name.removesuffix(".__init__")


def runtime_imports(tree: ast.AST) -> list[str]:
    """Every module that is imported when the code runs: not those only for type checkers."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute"
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names if node.module == "pyimount"]
    return found


@pytest.mark.parametrize("path", CORE, ids=module_of)
def test_a_stage_imports_only_what_stands_left_of_it(path: Path) -> None:
    own = stage_of(module_of(path))
    if own in ("", "__main__"):
        return
    for name in runtime_imports(ast.parse(path.read_text())):
        if name.startswith("pyimount.") and stage_of(name) in RANK:
            assert RANK[stage_of(name)] <= RANK[own], f"{module_of(path)} imports {name}"


def test_every_module_of_the_core_has_its_stage() -> None:
    stages = {stage_of(module_of(path)) for path in CORE} - {"", "__main__"}
    assert stages <= RANK.keys()


@pytest.mark.parametrize(
    "path", [path for path in CORE if stage_of(module_of(path)) not in ACTING], ids=module_of
)
def test_only_execution_acts_on_the_machine(path: Path) -> None:
    imported = {name.split(".")[0] for name in runtime_imports(ast.parse(path.read_text()))}
    assert not imported & {"subprocess", "multiprocessing", "socket", "ctypes", "pty"}


@pytest.mark.parametrize("path", CORE, ids=module_of)
def test_nothing_catches_everything(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.dump(node.type) if node.type else "everything"
            assert "'Exception'" not in caught
            assert "'BaseException'" not in caught
            assert caught != "everything"


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
    assert {"scanning.py", "segments.py", "ext.py"} <= {path.name for path in loaded}
    for path in loaded:
        slow = {"pathlib", "shutil", "threading", "datetime"}
        slow.intersection_update(runtime_imports(ast.parse(path.read_text())))
        assert not slow, f"{path} imports {slow}"


def test_what_runs_as_root_loads_nothing_that_reads_an_image() -> None:
    names = [path.stem for path in CORE if path.parent.name == "execution" and path.stem != "__init__"]
    imports = "; ".join(f"import pyimount.execution.{name}" for name in names)
    code = (
        f"import sys; {imports}; print(*sorted(name for name in sys.modules if name.startswith('pyimount.')))"
    )
    loaded = {stage_of(name) for name in run_python(code).split()}
    assert loaded <= {"execution", "planning", "records", "problems", "sources", "messages"}


def test_the_parsers_refuse_a_second_name() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import parsers"], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "import this package as pyimount.parsers" in done.stderr
