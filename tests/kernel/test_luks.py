"""LUKS volumes made, filled and read by dm-crypt: what the kernel reads from them is what pyimount reads."""

import random
from pathlib import Path

import pytest

from pyimount.keys import Key
from pyimount.mapping import luks
from pyimount.mapping.errors import Unsupported
from pyimount.sources.source import BytesSource, Source
from tests.kernel.uml import kernel_in
from tests.needing import needs

MIB = 1 << 20
PASS = Key("p", b"open sesame")
FAST = "--pbkdf-force-iterations 1000"
KDF2 = f"--pbkdf pbkdf2 {FAST}"
ARGON = "--pbkdf-force-iterations 4 --pbkdf-memory 32 --pbkdf-parallel 1"
ESSIV = "aes-cbc-essiv:sha256 --key-size 256"
SMALL = "--luks2-keyslots-size 1m"

VOLUMES = {
    "1-xts": f"--type luks1 {FAST} --cipher aes-xts-plain64 --key-size 512",
    "1-xts-128": f"--type luks1 {FAST} --cipher aes-xts-plain64 --key-size 256 --hash sha512",
    "1-xts-plain": f"--type luks1 {FAST} --cipher aes-xts-plain --key-size 512 --hash sha1",
    "1-xts-essiv": f"--type luks1 {FAST} --cipher aes-xts-essiv:sha256 --key-size 512",
    "1-essiv": f"--type luks1 {FAST} --cipher {ESSIV}",
    "1-essiv-192": f"--type luks1 {FAST} --cipher aes-cbc-essiv:sha256 --key-size 192",
    "1-cbc-plain": f"--type luks1 {FAST} --cipher aes-cbc-plain --key-size 128",
    "1-cbc-plain64be": f"--type luks1 {FAST} --cipher aes-cbc-plain64be --key-size 256",
    "1-cbc-null": f"--type luks1 {FAST} --cipher aes-cbc-null --key-size 256",
    "1-ecb": f"--type luks1 {FAST} --cipher aes-ecb --key-size 256",
    "1-ripemd160": f"--type luks1 {FAST} --hash ripemd160",
    "1-camellia": f"--type luks1 {FAST} --cipher camellia-xts-plain64 --key-size 512",
    "2-argon2id": f"--type luks2 {SMALL} --pbkdf argon2id {ARGON}",
    "2-argon2i": f"--type luks2 {SMALL} --pbkdf argon2i {ARGON}",
    "2-512": f"--type luks2 {SMALL} {KDF2} --sector-size 512",
    "2-1024": f"--type luks2 {SMALL} {KDF2} --sector-size 1024",
    "2-2048": f"--type luks2 {SMALL} {KDF2} --sector-size 2048",
    "2-4096": f"--type luks2 {SMALL} {KDF2} --sector-size 4096",
    "2-essiv-4096": f"--type luks2 {SMALL} {KDF2} --sector-size 4096 --cipher {ESSIV}",
    "2-plain-2048": f"--type luks2 {SMALL} {KDF2} --sector-size 2048 --cipher aes-cbc-plain --key-size 256",
    "2-null": f"--type luks2 {SMALL} {KDF2} --cipher null --key-size 256",
    "2-capi": f"--type luks2 {SMALL} {KDF2} --cipher capi:xts(aes)-plain64 --key-size 512",
    "2-offset": f"--type luks2 {SMALL} {KDF2} --offset 8192",
}  # fmt: skip

SCRIPT = """\
n=0
while IFS='|' read -r name options; do
    truncate -s 8M $name.img
    disk=$(losetup -f --show $name.img)
    printf 'open sesame' | cryptsetup luksFormat -q $options $disk -
    printf 'open sesame' | cryptsetup open --key-file - $disk it
    dd if=content of=/dev/mapper/it bs=64k status=none 2>&1 || test $? = 1
    sync
    dd if=/dev/mapper/it of=$name.plain bs=64k status=none
    cryptsetup close it
    losetup -d $disk
done <volumes
truncate -s 24M tagged.img
disk=$(losetup -f --show tagged.img)
printf 'open sesame' | cryptsetup luksFormat -q --type luks2 --luks2-keyslots-size 1m --pbkdf pbkdf2 \\
    --pbkdf-force-iterations 1000 --integrity hmac-sha256 --integrity-no-wipe $disk -
printf 'open sesame' | cryptsetup open --key-file - $disk it
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each volume, NAME.img, and what the kernel read from it, NAME.plain."""
    needs("cryptsetup")
    uml = kernel_in(tmp_path_factory.mktemp("luks"))
    chance = random.Random(5)  # noqa: S311
    (uml.share / "content").write_bytes(chance.randbytes(8 * MIB))
    (uml.share / "volumes").write_text("".join(f"{name}|{options}\n" for name, options in VOLUMES.items()))
    uml.shell(SCRIPT)
    return uml.share


def volume(folder: Path, name: str) -> tuple[Source, bytes]:
    return BytesSource((folder / f"{name}.img").read_bytes()), (folder / f"{name}.plain").read_bytes()


@pytest.mark.parametrize("name", VOLUMES)
def test_what_the_kernel_reads(made: Path, name: str) -> None:
    source, plain = volume(made, name)
    opened = luks.unlock(source, PASS)
    assert opened.source.size == len(plain) > 2 * MIB
    assert opened.source.read_at(0, len(plain)) == plain
    chance = random.Random(name)  # noqa: S311
    for _ in range(50):
        offset, length = chance.randrange(len(plain)), chance.choice((1, 17, 512, 4097, 300_000))
        assert opened.source.read_at(offset, length) == plain[offset : offset + length]
    again = luks.reopen(source, opened.parameters, PASS)
    assert again.read_at(0, MIB) == plain[:MIB]


def test_sectors_with_integrity_tags_between_them_are_not_read(made: Path) -> None:
    with pytest.raises(Unsupported, match=r"integrity tags \(hmac\(sha256\)\)"):
        luks.unlock(BytesSource((made / "tagged.img").read_bytes()), PASS)
