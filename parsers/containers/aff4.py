"""AFF4, the Advanced Forensic Format 4: zip volumes with a description in RDF, of the standard and before it.

Layout: B. Schatz, M. Cohen, "AFF4 Standard v1.0", https://github.com/aff4/Standard
"""

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.container import several
from pyimount.formats.image import Image
from pyimount.parsers.containers.aff4_hashes import stored_of
from pyimount.parsers.containers.aff4_streams import Streams
from pyimount.parsers.containers.aff4_volumes import SCHEME, Objects, Volume, Volumes
from pyimount.parsers.containers.chunks import CHUNK_CAP
from pyimount.parsers.containers.zip_directory import MAGIC
from pyimount.problems import Code, Problem
from pyimount.sources.errors import ReadError
from pyimount.sources.view import ShortRead, View

_IMAGES_CAP = 64


def parse(view: View) -> Container:
    """The name (URN) of the volume; ``open`` reads what is in it."""
    volume = Volume(view.source)
    return Container(type="aff4", details={"stored_size": view.size, "uuid": volume.urn.removeprefix(SCHEME)})


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The disks inside. Volumes that hold other parts of them are looked for beside this one."""
    volumes = Volumes(image)
    objects = volumes.objects
    urns = _images(objects)
    if not urns:
        logical = any("fileimage" in objects.types(each) for each in objects.by_urn)
        message = "this holds copies of files, and no disk" if logical else "the volume describes no image"
        details = {
            **container.details,
            **_about(volumes, None),
            "variant": "logical" if logical else None,
        }
        problems = (*container.problems, Problem(Code.UNSUPPORTED, message))
        return Opened(container=container.replaced(details=details, problems=problems), source=None)
    disks = [_disk(container, volumes, urn, alone=len(urns) == 1) for urn in urns[:_IMAGES_CAP]]
    if len(urns) > _IMAGES_CAP:
        message = f"the volume describes {len(urns)} images, of which {_IMAGES_CAP} are looked at"
        first = disks[0].container
        problem = Problem(Code.UNSUPPORTED, message)
        disks[0] = disks[0].replaced(container=first.replaced(problems=(*first.problems, problem)))
    return several(disks)


def _disk(container: Container, volumes: Volumes, urn: str, *, alone: bool) -> Opened:
    """One of the images; ``alone``: the only one."""
    objects, problems = volumes.objects, [*container.problems]
    data = _data_stream(volumes, urn)
    streams = Streams(volumes)
    source = None
    try:
        source = streams.open(data, 0)
    except (NotThisFormat, ReadError, ShortRead) as error:
        if alone:
            raise
        problems.append(Problem(Code.DAMAGED, str(error)))
    size = objects.number(urn, "size")
    sector = objects.number(urn, "blocksize")
    if size is not None and source is not None and size != source.size:
        message = f"the image says that it has {size} bytes, and its data has {source.size}"
        problems.append(Problem(Code.DAMAGED, message))
    details: dict[str, Json] = {
        **container.details,
        **_about(volumes, urn),
        "variant": "disk",
        **streams.details,
        "hashes": objects.hashes(urn) or objects.hashes(data),
        "volumes": len(volumes.open_ones),
    }
    if not alone:
        details["disk"] = urn
    return Opened(
        container=container.replaced(
            size=source.size if source else size,
            sector_size=sector if sector and 128 <= sector <= CHUNK_CAP else None,
            details=details,
            problems=(*problems, *streams.problems),
        ),
        source=source,
        part=None if alone else urn,
        stored=stored_of(
            urn,
            disk=source,
            maps=streams.maps,
            streams=streams.chunked,
            volumes=[*volumes.open_ones.values()],
            statements=objects.by_urn,
            meter=volumes.image.meter,
        ),
    )


def _images(objects: Objects) -> list[str]:
    """The images of disks, and of memory behind these; never those of files.

    What is the data of another image is no image of its own.
    """
    images = [
        urn
        for urn in objects.by_urn
        if objects.types(urn) & {"image", "diskimage", "contiguousimage"}
        and not objects.types(urn) & {"fileimage", "zipsegmentimage", "folderimage"}
    ]
    inner = {stream for urn in images for stream in objects.texts(urn, "datastream") if stream != urn}
    whole = [urn for urn in images if urn not in inner] or images[:1]
    return sorted(whole, key=lambda urn: "diskimage" not in objects.types(urn))


def _data_stream(volumes: Volumes, urn: str) -> str:
    """The stream with an image's bytes, of several the one that this volume holds; before 1.0 the image."""
    streams = volumes.objects.texts(urn, "datastream") or [urn]
    own = [each for each in streams if volumes.objects.text(each, "stored") == volumes.first.urn]
    return (own or streams)[0]


_CASE = {"casename", "casedescription", "casenumber", "evidencenumber", "examiner", "notes"}


def _about(volumes: Volumes, urn: str | None) -> dict[str, Json]:
    """What the volume says about who took the image, of what, and when."""
    objects, tool = volumes.objects, volumes.first.tool()
    major, minor = tool.get("major"), tool.get("minor")
    acquisition: dict[str, Json] = {}
    for each in objects.by_urn:
        types = objects.types(each)
        if each != urn and not types & {"casedetails", "casenotes", "timestamps"}:
            continue
        for name, terms in objects.by_urn[each].items():
            literals = [term.text for term in terms if not term.is_iri and term.datatype.find("SHA") < 0]
            wanted = name in _CASE or name in ("starttime", "endtime") or name.startswith(("disk", "device"))
            if literals and wanted:
                acquisition.setdefault(objects.spelling[name], literals[0])
    return {
        "version": f"{major}.{minor}" if major and minor else None,
        "tool": tool.get("tool"),
        "created": objects.text(volumes.first.urn, "creationtime"),
        "acquisition": acquisition,
    }


FORMAT = ContainerFormat(
    name="aff4",
    title="Advanced Forensic Format 4",
    specification="https://github.com/aff4/Standard",
    parse=parse,
    open=open,
    signatures=(Signature(MAGIC, 0),),
    types=("aff4",),
)
