"""What is free in an NTFS, by its $Bitmap: a bit for each cluster, set where it is in use.

Layout: linux-ntfs project, "NTFS Documentation" (Richard Russon, Yuval Fledel): $Bitmap
https://flatcap.github.io/linux-ntfs/ntfs/files/bitmap.html
"""

from pyimount.formats import NotThisFormat
from pyimount.formats.allocation import PIECE, Reader, Space, ones
from pyimount.parsers.filesystems.ntfs_records import AT_DATA, Volume, data_size, record, runs

BITMAP = 6
"""The number of its record."""


def count_free(volume: Volume, clusters: int, reader: Reader) -> Space:
    """Free bytes: the clusters whose bit is clear."""
    size = (clusters + 7) // 8
    data = record(volume.replaced(read=reader.read), BITMAP, frozenset((AT_DATA,))).get(AT_DATA)
    if data is None or data_size(data[0]) < size:
        raise NotThisFormat("the $Bitmap does not reach as far as the volume")
    parts, left = [], size
    for lcn, _, length in runs(data):
        if lcn is None:
            raise NotThisFormat("a $Bitmap that is sparse")
        taken = min(left, length * volume.cluster)
        if taken:
            parts.append((lcn * volume.cluster, taken))
        left -= taken
    if left:
        raise NotThisFormat("the $Bitmap is not all there")
    reader.want(size, sum(-(-length // PIECE) for _, length in parts))
    used, bits = 0, clusters
    for at, length in parts:
        for piece in reader.pieces(at, length):
            if bits == clusters and not piece[0] & 1:
                raise NotThisFormat("a $Bitmap in which the boot sector's cluster is free")
            used += ones(piece, bits)
            bits -= 8 * len(piece)
    return Space(
        free=(clusters - used) * volume.cluster,
        used=used * volume.cluster,
        found="$Bitmap",
        details={"clusters": clusters, "free_clusters": clusters - used},
    )
