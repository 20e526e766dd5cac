"""Print the completion script of a shell, made from the command line itself.

Exit status: 0; 2 the arguments are wrong.
"""

import argparse

EXAMPLES = """examples:
  pyimount completion bash > ~/.local/share/bash-completion/completions/pyimount
  pyimount completion zsh > ~/.zfunc/_pyimount
  pyimount completion fish > ~/.config/fish/completions/pyimount.fish
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(options: argparse.Namespace) -> int:
    """Print the script; returns the exit status."""
    import shtab

    from pyimount.cli import parser

    print(shtab.complete(parser(), options.shell))
    return 0
