"""``pyimount completion``: scripts that their shells accept."""

import subprocess

import pytest

from pyimount.cli import main
from tests.needing import needs


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_accepted_by_its_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "sector" in script
    needs(shell)
    check = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}[shell]
    done = subprocess.run([*check, "/dev/stdin"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes_options() -> None:
    code = (
        "source <(pyimount_completion); "
        "COMP_WORDS=(pyimount detect --sec); COMP_CWORD=2; "
        '$(complete -p pyimount | sed "s/.*-F \\([^ ]*\\).*/\\1/") pyimount --sec detect; '
        'echo "${COMPREPLY[@]}"'
    )
    import sys

    code = code.replace("pyimount_completion", f"{sys.executable} -m pyimount completion bash")
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    assert "--sector-size" in done.stdout, done.stderr
