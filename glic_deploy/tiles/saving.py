"""Writes images some rows at a time, so that no image is whole in memory."""

from __future__ import annotations

from importlib.util import find_spec
from typing import BinaryIO

from ..metadata import Metadata
from ..saving import TIFF_BYTE, TIFF_XMP, check_alpha, held, save_image
from .coding import Strips


def save_strips(strips: Strips, stream: BinaryIO, format: str, metadata: Metadata | None = None) -> None:
    """Write an image to a binary file.

    PPM is written row by row, and so is TIFF if tifffile is installed and there is no EXIF, which tifffile cannot
    write. Other images are gathered first.

    Args:
        strips: the image.
        stream: the file.
        format: Pillow's name of the format.
        metadata: what the file shall carry; see `glic_deploy.saving.save_image`.

    Raises what decoding the strips raises, and what `glic_deploy.saving.save_image` raises.
    """
    metadata = metadata or Metadata()
    check_alpha(strips.channels, format)
    if format == "PPM":
        held(metadata, format)
        stream.write(b"P%d\n%d %d\n255\n" % (5 if strips.channels.grey else 6, strips.width, strips.height))
        for part in strips:
            stream.write(part.tobytes())
    elif format == "TIFF" and find_spec("tifffile") and not metadata.exif:
        _save_tiff(strips, stream, metadata)
    else:
        save_image(strips.gather(), stream, format=format, metadata=metadata)


def _save_tiff(strips: Strips, stream: BinaryIO, metadata: Metadata) -> None:
    import tifffile

    xmp = metadata.xmp
    with tifffile.TiffWriter(stream) as writer:
        writer.write(
            iter(strips),
            shape=strips.shape,
            dtype="uint8",
            photometric="minisblack" if strips.channels.grey else "rgb",
            planarconfig=None if len(strips.shape) == 2 else "contig",
            extrasamples=["unassalpha"] if strips.channels.alpha else None,
            rowsperstrip=64,
            metadata=None,
            iccprofile=metadata.icc,
            extratags=[(TIFF_XMP, TIFF_BYTE, len(xmp), xmp, True)] if xmp else (),
        )
