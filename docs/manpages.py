"""The manual's page of each command: ``python -m docs.manpages`` writes ``share/man/man1``.

A page is Markdown, put together of what the command says of itself (``pyimount help COMMAND``: what it is,
its options, exit statuses, examples) and of what ``docs/man/pyimount-COMMAND.md`` has besides. The site shows
it as it is; man(1) gets it as roff. Language: man(7), https://man7.org/linux/man-pages/man7/man.7.html
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pyimount import cli
from pyimount.cli import imount
from pyimount.version import __version__

TOP = Path(__file__).resolve().parent.parent
SOURCES = TOP / "docs" / "man"
ROFF = TOP / "share" / "man" / "man1"

_ANY_NUMBER = {argparse.REMAINDER, argparse.ZERO_OR_MORE, argparse.ONE_OR_MORE}


def commands() -> Mapping[str, argparse.ArgumentParser]:
    """The parser behind each page, by the page's name: the commands', pyimount's own, imount's."""
    top = cli.parser()
    (subparsers,) = (each for each in top._actions if isinstance(each, argparse._SubParsersAction))
    found = {f"pyimount-{name}": each for name, each in subparsers.choices.items() if name != "help"}
    return {"pyimount": top, **found, "imount": imount.parser()}


def summaries() -> Mapping[str, str]:
    """What each page is about, in half a line."""
    told = {f"pyimount-{name}": summary for name, summary in cli._COMMANDS.items()}
    return {
        "pyimount": "tell what is in a disk image, layer by layer, and make it readable",
        **told,
        "imount": "mount disk images, with the options of imagemounter's command",
    }


def composed(name: str) -> str:
    """A page, as Markdown."""
    parser = commands()[name]
    source = SOURCES / f"{name}.md"
    own, sections = _parts(source.read_text(encoding="utf-8"))
    ends = [f"- `{number}`: {_plain(said)}" for number, said in statuses(name).items()]
    parts = [
        f"# {name}",
        "## Name",
        f"{name} - {_plain(summaries()[name])}",
        "## Synopsis",
        *_synopsis(parser),
        "## Description",
        *_description(parser, name),
        own,
        "## Options",
        *_options(parser),
        *(["## Exit status", "\n".join(ends)] if ends else []),
        sections,
        *_examples(parser),
        "## See also",
        _see_also(name),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _parts(source: str) -> tuple[str, str]:
    """What a source has before its first section, and from there on; its title is the page's."""
    body = source.partition("\n")[2].strip()
    if body.startswith("## "):
        return "", body
    before, heading, after = body.partition("\n## ")
    return before.strip(), (heading + after).strip()


def _description(parser: argparse.ArgumentParser, name: str) -> list[str]:
    """The help's paragraphs, but for how it ends."""
    text = _help(parser, name).partition(_STATUSES)[0]
    if name == "pyimount":
        text = f"{text}\n\n{parser.epilog}"
    return [_plain(" ".join(each.split())) for each in text.strip().split("\n\n")]


def _help(parser: argparse.ArgumentParser, name: str) -> str:
    return (imount.__doc__ if name == "imount" else parser.description) or ""


_STATUSES = "Exit status:"


def statuses(name: str) -> Mapping[str, str]:
    """What the help says of each exit status of a command: by its number, what it means."""
    told = " ".join(_help(commands()[name], name).partition(_STATUSES)[2].split()).rstrip(".")
    items = (each.partition(" ") for each in re.split(r";\s+(?=\d)", told))
    return {number: said or "it was done" for number, _, said in items if number}


def _synopsis(parser: argparse.ArgumentParser) -> list[str]:
    words = [f"**{parser.prog}**", "[*OPTION*]…"]
    for action in parser._actions:
        if action.option_strings or isinstance(action, argparse._SubParsersAction):
            continue
        word = f"*{_plain(_metavar(action))}*"
        several = f"{word}…" if action.nargs in _ANY_NUMBER else word
        words.append(f"[{several}]" if action.nargs in ("*", "?") else several)
    if any(isinstance(action, argparse._SubParsersAction) for action in parser._actions):
        words = [f"**{parser.prog}**", "*COMMAND*", "[*OPTION*]…", "[*ARGUMENT*]…"]
    return [" ".join(words).replace("[", r"\[").replace("]", r"\]")]


def _metavar(action: argparse.Action) -> str:
    """What stands for the value of an option or an argument; of a choice, what there is."""
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper()


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The arguments and options in one list; then one for each group, under its title."""
    plain = ("positional arguments", "options")
    groups = [group for group in parser._action_groups if group._group_actions]
    yield "\n".join(
        _option(each) for group in groups if group.title in plain for each in group._group_actions
    )
    for group in groups:
        if group.title not in plain:
            yield f"### {_plain(str(group.title).capitalize())}"
            yield _plain(" ".join((group.description or "").split()))
            yield "\n".join(map(_option, group._group_actions))


def _option(action: argparse.Action) -> str:
    if isinstance(action, argparse._SubParsersAction):
        return "\n".join(f"- `{each.dest}`: {_plain(each.help or '')}" for each in action._choices_actions)
    if not action.option_strings:
        said = action.help or "one of these"
        return f"- `{_metavar(action)}`: {_plain(said)}"
    value = "" if action.nargs == 0 else f" {_metavar(action)}"
    forms = ", ".join(
        f"`{each}{value if each is action.option_strings[-1] else ''}`" for each in action.option_strings
    )
    return f"- {forms}: {_plain(_said(action))}"


def _said(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")


def _examples(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The examples of the help: each command with what it does."""
    lines = (parser.epilog or "").splitlines()
    if not lines or lines[0] != "examples:":
        return
    yield "## Examples"
    listed: list[str] = []
    for line in lines[1:]:
        command, _, said = line.strip().partition("  ")
        if line.startswith("    "):  # what stands below the text of the one before
            listed[-1] += f" `{command}`"
        else:
            listed.append(f"- `{command}`: {_plain(said.strip())}" if said else f"- `{command}`")
    yield "\n".join(listed)


def _see_also(name: str) -> str:
    others = {
        "pyimount": [each for each in commands() if each not in ("pyimount", "imount")],
        "imount": ["pyimount-mount", "pyimount-unmount", "pyimount-check"],
    }
    listed = others.get(name, ["pyimount"])
    return ", ".join(f"[{each}(1)]({each}.md)" for each in listed)


def _plain(text: str) -> str:
    """Help, which is plain text, as Markdown that says the same."""
    parts = re.split(r"``(.+?)``", text)
    return "".join(
        f"`{part}`" if number % 2 else re.sub(r"([\\*_\[\]<>`#])", r"\\\1", part)
        for number, part in enumerate(parts)
    )


def roff(name: str, markdown: str) -> str:
    """Markdown as man(7) takes it."""
    lines = [
        '.\\" Written by "make manual" from the command line and docs/man.',
        f'.TH {_escaped(name.upper())} 1 "" "pyimount {__version__}" "User Commands"',
        ".nh",
        ".ad l",
    ]
    depth = 0
    tokens = MarkdownIt().parse(markdown)
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        depth += token.nesting if token.type.startswith("bullet_list") else 0
        for line in _block(token, following, in_list=depth > 0):
            # A paragraph begins by itself below a heading.
            if line != ".PP" or not lines[-1].startswith((".SH", ".SS")):
                lines.append(line)
    return "\n".join(lines) + "\n"


def _block(token: Token, following: Token | None, *, in_list: bool) -> Iterator[str]:
    """The lines of one token; what a heading, a paragraph or an item holds is its following token."""
    text = _spans(following.children or []) if following is not None else ""
    if token.type == "heading_open" and token.tag != "h1":
        yield f".SH {text.upper()}" if token.tag == "h2" else f".SS {text}"
    elif token.type == "paragraph_open" and following is not None:
        if in_list:
            yield from _item(following.children or [])
        else:
            yield ".PP"
            yield from _filled(text)
    elif token.type in ("fence", "code_block"):
        yield from (".PP", ".RS 4", ".EX")
        yield from (_guarded(_escaped(line)) for line in token.content.rstrip("\n").split("\n"))
        yield from (".EE", ".RE")
    elif token.type not in _SILENT:
        raise ValueError(f"docs/manpages.py has no roff for {token.type}")


_SILENT = {
    "inline", "heading_open", "heading_close", "paragraph_close", "bullet_list_open", "bullet_list_close",
    "list_item_open", "list_item_close",
}  # fmt: skip


def _item(children: list[Token]) -> Iterator[str]:
    """An item of a list: what it is about, in code before a colon, stands at the left."""
    words = next((at for at, each in enumerate(children) if not _is_word(each)), len(children))
    if words == len(children):
        yield from (".TP", _guarded(_spans(children)), "\\&")
    elif words and children[words].content.startswith(":"):
        rest = children[words].copy(content=children[words].content[1:].lstrip())
        yield from (".TP", _guarded(_spans(children[:words])))
        yield from _filled(_spans([rest, *children[words + 1 :]]))
    else:
        yield ".IP \\(bu 2"
        yield from _filled(_spans(children))


def _is_word(token: Token) -> bool:
    return token.type == "code_inline" or token.content == ", "


_FONTS = {"strong_open": "\\fB", "em_open": "\\fI", "strong_close": "\\fR", "em_close": "\\fR"}


def _spans(tokens: list[Token]) -> str:
    found = []
    for token in tokens:
        if token.type == "code_inline":
            found.append(f"\\fB{_escaped(token.content)}\\fR")
        elif token.type in ("softbreak", "hardbreak"):
            found.append(" ")
        else:
            found.append(_FONTS.get(token.type) or _escaped(token.content))
    return "".join(found)


_CHARACTERS = str.maketrans(
    {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", "…": "..."}
)


def _escaped(text: str) -> str:
    return text.translate(_CHARACTERS)


def _filled(text: str) -> Iterator[str]:
    """Lines that are not long, for those who read what changed."""
    yield from map(_guarded, textwrap.wrap(text, 79, break_long_words=False, break_on_hyphens=False))


def _guarded(line: str) -> str:
    """A line that roff does not take for a request."""
    return f"\\&{line}" if line.startswith((".", "'")) else line


def pages() -> Mapping[str, str]:
    """Every page as roff, by the name of its file. Raises FileNotFoundError for a page without a source."""
    return {f"{name}.1": roff(name, composed(name)) for name in commands()}


def main() -> int:
    """Write them; a command that is new gets a source that has its title alone. Returns the exit status."""
    for name in commands():
        source = SOURCES / f"{name}.md"
        if not source.exists():
            source.write_text(f"# {name}\n", encoding="utf-8")
            print(
                f"{source.relative_to(TOP)} is new: write into it what the help has no room for",
                file=sys.stderr,
            )
    made = pages()
    ROFF.mkdir(parents=True, exist_ok=True)
    for old in ROFF.glob("*.1"):
        if old.name not in made:
            old.unlink()
    for file, text in made.items():
        (ROFF / file).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
