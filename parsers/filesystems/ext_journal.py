"""The superblock of an ext file system's external journal, a device of its own.

Layout: kernel.org, Documentation/filesystems/ext4, "Journal (jbd2)": journal_superblock_s
https://www.kernel.org/doc/html/latest/filesystems/ext4/journal.html
"""

from construct import Bytes, Const, Int32sb, Int32ub, Struct

from pyimount.formats import Json, NotThisFormat
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

JOURNAL_SUPERBLOCK = layout(
    lambda: Struct(
        "h_magic" / Const(0xC03B3998, Int32ub),
        "h_blocktype" / Int32ub,
        "h_sequence" / Int32ub,
        "s_blocksize" / Int32ub,
        "s_maxlen" / Int32ub,
        "s_first" / Int32ub,
        "s_sequence" / Int32ub,
        "s_start" / Int32ub,
        "s_errno" / Int32sb,
        "s_feature_compat" / Int32ub,
        "s_feature_incompat" / Int32ub,
        "s_feature_ro_compat" / Int32ub,
        "s_uuid" / Bytes(16),
        "s_nr_users" / Int32ub,
        "s_dynsuper_to_s_padding" / Bytes(188),
        "s_users" / Bytes(48 * 16),
    )
)


def journal_facts(view: View, block_size: int, problems: list[Problem]) -> dict[str, Json]:
    """What the superblock of an external journal tells: it follows the block that holds ext's."""
    offset = 2048 if block_size == 1024 else block_size
    try:
        sb = read_struct(view, JOURNAL_SUPERBLOCK, offset)
    except (NotThisFormat, ShortRead) as error:
        problems.append(Problem(Code.DAMAGED, f"there is no journal superblock at {offset}: {error}"))
        return {}
    users = [uuid_text(sb.s_users[at : at + 16]) for at in range(0, min(sb.s_nr_users, 48) * 16, 16)]
    return {
        "journal_blocks": sb.s_maxlen,
        "journal_sequence": sb.s_sequence,
        "journal_start": sb.s_start,
        "needs_recovery": sb.s_start != 0,
        "journal_users": [user for user in users if user],
    }
