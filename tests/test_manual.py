"""The manual's pages are those of the commands, with every option; man reads them."""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import manpages
from tests.needing import needs

SOURCE = "'make manual' begins docs/man/{0}.md: write into it what 'pyimount help' has no room for"
STALE = "share/man is not what the command line and docs/man make: 'make manual' writes it anew"

NAMES = tuple(manpages.commands())


def written(name: str) -> str:
    page = manpages.ROFF / f"{name}.1"
    assert page.exists(), f"there is no page {page.name}. {SOURCE.format(name)}"
    return page.read_text()


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every spelling of every option, and every argument."""
    for action in parser._actions:
        yield from action.option_strings
        if not action.option_strings and isinstance(action.metavar, str) and action.metavar != "COMMAND":
            yield action.metavar


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_a_page_with_all_of_its_options(name: str) -> None:
    assert (manpages.SOURCES / f"{name}.md").exists(), SOURCE.format(name)
    tags = [line for line in written(name).splitlines() if line.startswith("\\fB")]
    words = {word.strip(",") for tag in tags for word in tag.replace("\\fB", "").replace("\\fR", "").split()}
    lacking = [each for each in options(manpages.commands()[name]) if each.replace("-", "\\-") not in words]
    assert lacking == [], f"{name}(1) lacks {', '.join(lacking)}: 'make manual' writes it anew"


@pytest.mark.parametrize("name", NAMES)
def test_every_command_says_how_it_ends(name: str) -> None:
    assert ".SH EXIT STATUS" in written(name), "the help has a paragraph 'Exit status: 0 …; 1 …; 2 …'"


@pytest.mark.parametrize("name", NAMES)
def test_no_page_says_something_else_than_the_help(name: str) -> None:
    # As a truth alone: a page is long, and what differs does not help.
    same = written(name) == manpages.roff(name, manpages.composed(name))
    assert same, STALE


def test_there_is_no_page_of_a_command_that_is_gone() -> None:
    assert {path.stem for path in manpages.ROFF.iterdir()} == set(NAMES), STALE
    assert {path.stem for path in manpages.SOURCES.iterdir()} == set(NAMES), (
        "docs/man has a page of no command"
    )


@pytest.mark.parametrize("name", NAMES)
def test_man_and_mandoc_have_nothing_to_say_against_it(name: str) -> None:
    needs("man", "mandoc")
    page = f"./share/man/man1/{name}.1"
    width = {**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    shown = subprocess.run(
        ["man", "--warnings=w", "--local-file", page],
        capture_output=True, text=True, check=True, cwd=manpages.TOP, env=width,
    )  # fmt: skip
    assert shown.stderr == ""
    assert f"{name} - {manpages.summaries()[name]}" in " ".join(shown.stdout.split())
    assert max(map(len, shown.stdout.splitlines())) <= 80
    linted = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", page],
        capture_output=True, text=True, check=False, cwd=manpages.TOP,
    )  # fmt: skip
    # A page has no date: it belongs to a version, which it names.
    assert [line for line in linted.stdout.splitlines() if "missing date" not in line] == []


def test_whatis_finds_the_pages() -> None:
    needs("lexgrog")
    pages = sorted(manpages.ROFF.iterdir())
    done = subprocess.run(["lexgrog", *pages], capture_output=True, text=True, check=True)
    assert done.stdout.count(" - ") == len(pages)


def test_markdown_that_has_no_roff_is_an_error() -> None:
    with pytest.raises(ValueError, match="no roff for blockquote_open"):
        manpages.roff("pyimount", "> quoted")


def test_a_line_is_never_a_request() -> None:
    page = manpages.roff("pyimount", "# pyimount\n\n.so /etc/passwd and `'` and \\\\ a-b\n\n    .code\n")
    assert "\n\\&.so /etc/passwd and \\fB\\(aq\\fR and \\e a\\-b\n" in page
    assert "\n\\&.code\n" in page


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``pyimount`` is a command, as where it is installed."""
    command = tmp_path / "pyimount"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pyimount "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


# What each shell does with the file that is installed; of bash and zsh, as their completion calls it.
COMPLETING = {
    "bash": "source share/bash-completion/completions/pyimount; COMP_WORDS=(pyimount det); COMP_CWORD=1; "
    "_shtab_pyimount pyimount det pyimount; printf '%s\\n' \"${COMPREPLY[@]}\"",
    "zsh": "compdef() { print detect for $3 by $1 }; _arguments() { return 0 }; "
    "fpath=(share/zsh/site-functions $fpath); autoload -Uz _pyimount; _pyimount",
    "fish": "source share/fish/vendor_completions.d/pyimount.fish; complete -C 'pyimount det'",
}


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize("shell", COMPLETING)
def test_the_shells_complete_by_what_is_installed(shell: str) -> None:
    needs(shell)
    done = subprocess.run(
        [shell, "-c", COMPLETING[shell]], capture_output=True, text=True, check=False, cwd=manpages.TOP
    )
    assert done.stdout.split()[:1] == ["detect"], done
