"""Images written some rows at a time, so that none need be whole in memory."""

from __future__ import annotations

from importlib.util import find_spec
from typing import BinaryIO

from ..saving import save_image
from .coding import Strips


def save_strips(strips: Strips, stream: BinaryIO, format: str) -> None:
    """Write an image to a binary file: row by row as PPM, and as TIFF where tifffile is installed, else whole.

    format: Pillow's name. Raises what decoding the strips raises, and as `glic_deploy.saving.save_image` does.
    """
    if format == "PPM":
        stream.write(b"P6\n%d %d\n255\n" % (strips.width, strips.height))
        for part in strips:
            stream.write(part.tobytes())
    elif format == "TIFF" and find_spec("tifffile"):
        import tifffile

        with tifffile.TiffWriter(stream) as writer:
            shape = (strips.height, strips.width, 3)
            writer.write(iter(strips), shape=shape, dtype="uint8", photometric="rgb", rowsperstrip=64, metadata=None)
    else:
        save_image(strips.gather(), stream, format=format)
