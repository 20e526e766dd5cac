"""The dry run: what it says can be read safely, and a shell reads back just the words that are meant."""

import shlex
import subprocess

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyimount.layers import Recipe, Scan
from pyimount.planning.naming import safe_name
from pyimount.planning.shell import printable, quoted, script
from pyimount.planning.steps import MountPlan, Refusal
from tests.planning.scans import MIB, SESSION, disk, part, planned
from tests.planning.test_plan import LUKS, STRIPED, lvm, raid

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=8))
def test_a_shell_reads_back_every_word(words: list[str]) -> None:
    line = " ".join(map(quoted, words))
    assert line.isprintable()
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == words


def test_variables_stand_within_words() -> None:
    assert quoted("device=\0LOOP3\0") == 'device="$LOOP3"'
    assert quoted("\0DIR1\0/a b") == "\"$DIR1\"'/a b'"
    assert quoted("$LOOP3") == "'$LOOP3'"
    assert quoted("") == "''"


def test_a_script_names_what_each_step_makes() -> None:
    said = "\n".join(script(planned(Scan((disk(),), (part(1, 0, "1", type="ext4", label="x"),)))))
    assert "LOOP0=$(losetup --find --show --read-only --offset 1048576" in said
    assert 'mount -i -n -t ext4 -o ro,nosuid,nodev,noexec,noload,errors=continue "$LOOP0" "$DIR3"' in said


def test_tables_and_keys() -> None:
    said = "\n".join(script(planned(lvm(STRIPED, {"pv0": 0, "pv1": 1}))))
    sectors = 4 * MIB // 512
    assert (
        f"printf '%s\\n' '0 {sectors} striped 2 128 '\"$LOOP0\"' 12288 '\"$LOOP1\"' 12288' "
        f"| dmsetup create --readonly --uuid=pyimount-{SESSION}-2 pyimount-{SESSION}-2"
    ) in said
    assert "cryptsetup open --type=luks --readonly" in "\n".join(script(planned(LUKS)))
    assert "mdadm --assemble /dev/md/pyimount-" in "\n".join(script(planned(raid())))


@settings(deadline=None)
@given(st.text(max_size=100))
@example("²'")
def test_whatever_an_image_says_is_a_comment_or_a_quoted_word(text: str) -> None:
    label = f"zq{text}"
    scan = Scan(
        (disk(),),
        (
            part(1, 0, "1", type="ext4", label=label, last_mountpoint=label),
            part(2, 1, "1.0", recipe=Recipe("lvm2"), type=label or None, name=label),
        ),
    )
    made = planned(scan)
    made = made.replaced(refused=(*made.refused, Refusal(layer=1, index=label, code="x", reason=label)))
    for line in script(made, scan):
        assert line.isprintable()
        # As the shell reads it: the quote that ends a word could be taken for one of the label's.
        assert line.startswith("#") or label not in " ".join(shlex.split(line)) or safe_name(label) == label


@settings(max_examples=20, deadline=None)
@given(WORDS)
def test_bash_can_parse_every_script(path: str) -> None:
    plan = planned(Scan((disk(paths=(f"/x/{path}",)),), (part(1, 0, "1", type="ext4"),)))
    subprocess.run(["bash", "-n"], input="\n".join(script(plan)).encode(), check=True, capture_output=True)


def test_what_is_left_out_is_told() -> None:
    refusal = Refusal(layer=1, index="1", code="dirty", reason="it\nis\x1b[2J dirty", remedy="--read-write")
    said = list(script(MountPlan(session=SESSION, images=(), steps=(), refused=(refusal,))))
    assert said[-1] == "# 1: dirty: it\\nis\\x1b[2J dirty (--read-write)"
    assert printable("\u202e") == "\\u202e"
