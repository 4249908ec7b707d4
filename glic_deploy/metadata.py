"""EXIF, XMP and ICC profiles: read from images, attached to `.glic` files, and read from `.glic` files."""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal

from . import container
from .arguments import shown
from .coded import CodedFile, read_coded
from .container import Header
from .errors import BitstreamError, DamagedMetadataWarning, ImageError, ReducedImageWarning
from .fields import Field, attached
from .limits import DEFAULT_LIMITS, Limits
from .varint import read_varint, write_varint

if TYPE_CHECKING:
    from PIL import Image

# The numbers of the attached fields (docs/format.md).
EXIF, XMP, ICC = 1, 2, 3
_NUMBERS = {"exif": EXIF, "xmp": XMP, "icc": ICC}
NAMES = tuple(_NUMBERS)

_EXIF_PREFIX = b"Exif\0\0"  # precedes EXIF in JPEG files; other formats, like this one, store EXIF without it
_EXIF_PREFIXES = re.compile(b"^(?:Exif\0\0)*")
_ORIENTATION_TAG = 0x0112
_UPRIGHT = 1
_TIFF_LONG = 4
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|\s*>)\s*)[2-8]")
# The tags of a TIFF file that describe the image rather than the layout of the file.
_DESCRIPTIVE_TIFF_TAGS = frozenset({270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 33432, *range(40091, 40096)})
_TIFF_DIRECTORIES = (34665, 34853)  # of EXIF and of GPS
_INTEROPERABILITY = 40965  # a directory inside of that of EXIF


@dataclass(frozen=True)
class Metadata:
    """The metadata that a `.glic` file carries beside its pixels.

    Raises ImageError if an item is neither bytes nor None. Empty items are stored as None.

    Attributes:
        exif: EXIF, from its TIFF header on; a preceding "Exif\\0\\0", as in JPEG files, is removed.
        xmp: an XMP packet.
        icc: an ICC profile. It describes the pixels of the file.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, (bytes, bytearray, memoryview)):
                raise ImageError(f"metadata.{name} is {shown(value)}, expected bytes or None")
            content = bytes(value or b"")
            object.__setattr__(self, name, (_EXIF_PREFIXES.sub(b"", content) if name == "exif" else content) or None)

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the bytes of each item that is there."""
        for field in fields(self):
            if (value := getattr(self, field.name)) is not None:
                yield field.name, value

    def pillow_info(self) -> dict[str, bytes]:
        """Return the items by Pillow's names in `Image.info`, which are also keywords of `Image.save`."""
        items = {"exif": self.exif and _EXIF_PREFIX + self.exif, "icc_profile": self.icc, "xmp": self.xmp}
        return {name: content for name, content in items.items() if content}


MetadataOption = Literal["keep", "strip"] | Metadata


def check_option(option: object) -> None:
    """Raise ImageError unless `option` is "keep", "strip" or Metadata."""
    if not isinstance(option, Metadata) and not (isinstance(option, str) and option in ("keep", "strip")):
        raise ImageError(f"metadata is {shown(option)}, expected 'keep', 'strip' or glic_deploy.Metadata(...)")


def of_pillow(image: Image.Image) -> Metadata:
    """Return the metadata of a PIL image for pixels that have been turned upright: the orientation is reset."""
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    exif = image.info.get("exif") or _of_text(image) or (_of_tiff(image) if image.format == "TIFF" else b"")
    return Metadata(
        exif=_upright_exif(Metadata(exif=exif).exif or b""),
        xmp=_XMP_ORIENTATION.sub(rb"\g<1>1", xmp.encode() if isinstance(xmp, str) else xmp),
        icc=image.info.get("icc_profile") or b"",
    )


def _of_text(image: Image.Image) -> bytes:
    """Return the EXIF of a PNG file that has it as hexadecimal digits behind three lines, as ImageMagick wrote it."""
    lines = image.info.get("Raw profile type exif")
    try:
        return bytes.fromhex("".join(lines.split("\n")[3:])) if isinstance(lines, str) else b""
    except ValueError:  # reading the orientation fails too, with a warning
        return b""


def _of_tiff(image: Image.Image) -> bytes:
    """Return the EXIF of a TIFF file, whose tags lie among those of the file's layout.

    A ReducedImageWarning is issued if it is damaged.
    """
    try:
        return _descriptive(image.getexif())
    except Exception as error:  # Pillow raises many types for damaged EXIF
        warnings.warn(
            ReducedImageWarning(f"the EXIF of the TIFF file is damaged and not kept: {error or type(error).__name__}"),
            stacklevel=2,
        )
        return b""


def is_readable(exif: bytes) -> bool:
    """Return whether Pillow reads EXIF and writes it anew, as it does for TIFF and AVIF files."""
    try:
        tags = tiff_tags(exif)
        tags.load(exif)
        tags.tobytes()
    except Exception:  # Pillow raises many types for damaged EXIF
        return False
    return True


def tiff_tags(exif: bytes) -> Image.Exif:
    """Return the tags of EXIF that belong into a TIFF file. `is_readable` must be true."""
    from PIL import Image

    tags = Image.Exif()
    tags.load(exif)
    tags.load(_descriptive(tags))
    _copy_directories(tags, tags)
    return tags


def _descriptive(exif: Image.Exif) -> bytes:
    """Return the tags that describe the image rather than the layout of a file, as EXIF."""
    from PIL import Image

    described = Image.Exif()
    described.endian = exif.endian
    for tag in _DESCRIPTIVE_TIFF_TAGS & set(exif):
        described[tag] = exif[tag]
    directories = _copy_directories(exif, described)
    return described.tobytes() if len(described) or directories else b""


def _copy_directories(source: Image.Exif, target: Image.Exif) -> bool:
    """Copy the directories of EXIF and GPS, each with its content, which Pillow would replace by an offset."""
    found = False
    for tag in _TIFF_DIRECTORIES:
        directory = dict(source.get_ifd(tag))
        if _INTEROPERABILITY in directory:
            directory[_INTEROPERABILITY] = source.get_ifd(_INTEROPERABILITY)
        target.get_ifd(tag).update(directory)
        found = found or bool(directory)
    return found


def _upright_exif(exif: bytes) -> bytes:
    """Set the orientation of the image to upright and keep all other bytes, on whose offsets some tags rely.

    EXIF that is damaged before the orientation is returned as it is.
    """
    if exif[:2] not in (b"II", b"MM"):
        return exif
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"

    def number(start: int, size: int) -> int:
        return int.from_bytes(exif[start : start + size], order)

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        if entry + 12 > len(exif):
            break
        if number(entry, 2) == _ORIENTATION_TAG:
            size = 4 if number(entry + 2, 2) == _TIFF_LONG else 2
            return exif[: entry + 8] + _UPRIGHT.to_bytes(size, order) + exif[entry + 8 + size :]
    return exif


def attach(metadata: Metadata, limits: Limits) -> tuple[tuple[Field, ...], list[bytes]]:
    """Return the fields and the attachments of a file for this metadata.

    Raises LimitError if there is more metadata than `limits` allow.
    """
    items = list(metadata.items())
    contents = [write_varint(len(content)) + _deflated(content) for _, content in items]
    # Content that does not compress is longer in the file, whose readers check both sizes.
    limits.check_metadata(max(sum(len(content) for _, content in items), sum(map(len, contents))))
    return tuple(attached(_NUMBERS[name], part) for (name, _), part in zip(items, contents, strict=True)), contents


def read_metadata(data: CodedFile, *, limits: Limits = DEFAULT_LIMITS) -> Metadata:
    """Return the metadata of a `.glic` file. No engine is needed, and no pixel is decoded.

    An item that is damaged or cut off is left out, and a DamagedMetadataWarning is issued.

    Args:
        data: the bytes of the file, its path, or an open binary file, as in `Codec.decode`.
        limits: the sizes to refuse.

    Raises BitstreamError if the header is damaged, LimitError if there is more metadata than `limits` allow, OSError.
    """
    view = container.flat(read_coded(data, limits))
    front = container.read_front(view)
    container.check_front(front, limits)
    return of_file(front.header, view[front.frame_end :], limits)


def of_file(header: Header, behind: memoryview, limits: Limits) -> Metadata:
    """Return the metadata of a file, like `read_metadata`, from its header and the bytes behind its frame."""
    items: dict[str, bytes] = {}
    for name in _NUMBERS:
        try:
            content = item(header, behind, name, limits)
        except BitstreamError as error:
            warnings.warn(DamagedMetadataWarning(name, str(error)), stacklevel=3)
        else:
            items |= {name: content} if content else {}
    limits.check_metadata(sum(map(len, items.values())))
    return Metadata(**items)


def item(header: Header, behind: memoryview, name: str, limits: Limits) -> bytes | None:
    """Return one item of a file's metadata by its name in `Metadata`; None if the file does not have it.

    Raises BitstreamError if the item is damaged or cut off, LimitError if it has more bytes than `limits` allow.
    """
    content = container.attachment(header, behind, _NUMBERS[name])
    if content is None:
        return None
    size, start = read_varint(content, 0, "size of the metadata")
    limits.check_metadata(size)
    return _inflated(content[start:], size)


def describing_decoded(found: Metadata, header: Header, color: str, option: str) -> Metadata:
    """Return the metadata for an image file of decoded pixels.

    Args:
        found: the metadata of the `.glic` file.
        header: the header of that file.
        color: the argument of `Codec.decode`.
        option: "keep", or "strip" for no more than the profile that the pixels need.
    """
    converted = header.profiled and color == "srgb"
    icc = None if converted or (option == "strip" and not header.profiled) else found.icc
    return Metadata(icc=icc) if option == "strip" else replace(found, icc=icc)


def _deflated(content: bytes) -> bytes:
    compressor = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


def _inflated(compressed: memoryview, size: int) -> bytes:
    """Return the `size` bytes that raw deflate made of `compressed`. Raises BitstreamError for other bytes."""
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(compressed, size + 1)
    except zlib.error as error:
        raise BitstreamError(f"it does not decompress: {error}; get an unaltered copy") from error
    if len(content) != size or not inflater.eof or inflater.unused_data:
        raise BitstreamError(f"it does not decompress to the {size:,} bytes that it states; get an unaltered copy")
    return content
