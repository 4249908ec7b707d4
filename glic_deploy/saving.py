"""Writes decoded images as image files, with their metadata."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .channels import Channels
from .errors import DroppedMetadataWarning, ImageError
from .files import atomic_writer
from .metadata import Metadata, is_readable, tiff_tags

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
}
_PERCEPTUAL = b"\0"  # the rendering intent for photographs, for the sRGB chunk of PNG
# The formats that hold metadata, and the most bytes of one item. JPEG has 64 KiB for each, but 255 times that for ICC.
_METADATA_BYTES = {"PNG": 1 << 30, "TIFF": 1 << 30, "WEBP": 1 << 30, "AVIF": 1 << 30, "JPEG": 65_000}
_JPEG_ICC_BYTES = 255 * 65_000
_EXIF_WRITTEN_ANEW = frozenset({"TIFF", "AVIF"})
_OPAQUE_FORMATS = frozenset({"JPEG", "PPM"})
TIFF_XMP, TIFF_BYTE = 700, 1  # a tag and its type


def save_image(
    image: NDArray[np.uint8],
    target: str | os.PathLike[str] | BinaryIO,
    *,
    format: str | None = None,
    metadata: Metadata | None = None,
) -> None:
    """Write an image as an image file, with high quality if the format is lossy.

    A path is written atomically. Without an ICC profile, PNG files state that their colours are sRGB. Files of other
    formats then state no colour space, and readers assume sRGB. A DroppedMetadataWarning is issued for metadata that
    the format cannot hold.

    Args:
        image: uint8 (H, W) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB, or (H, W, 4) RGB and alpha.
        target: a path, or a binary file.
        format: Pillow's name of the format, such as "PNG". None: the format of the path's suffix; PNG for a file.
        metadata: what the file shall carry. The colours are those of its ICC profile, sRGB if it has none.

    Raises ImageError if the format cannot be written or cannot hold the image, OSError if writing fails.
    """
    if isinstance(target, (str, os.PathLike)):
        encoded = _encode_image_file(image, format or format_of(target), metadata or Metadata())
        with atomic_writer(target) as stream:
            stream.write(encoded)
    else:
        target.write(_encode_image_file(image, format or "PNG", metadata or Metadata()))


def _encode_image_file(image: NDArray[np.uint8], format: str, metadata: Metadata) -> memoryview:
    format = format.upper()
    Image.init()
    check_alpha(Channels.of(image), format)
    if format not in Image.SAVE:
        raise ImageError(f"cannot write images of format {format}; use one of PNG, TIFF, PPM, BMP, WEBP, JPEG")
    encoded = io.BytesIO()
    try:
        Image.fromarray(image).save(encoded, format, **_save_options(format, held(metadata, format)))
    except (OSError, ValueError) as error:
        height, width = image.shape[:2]
        raise ImageError(f"{format} cannot hold this image of {width} x {height} pixels: {error}; use PNG") from error
    return encoded.getbuffer()


def check_alpha(channels: Channels, format: str) -> None:
    """Raise ImageError if a format, by Pillow's name, would lose the alpha of an image."""
    if channels.alpha and format in _OPAQUE_FORMATS:
        raise ImageError(f"{format} cannot hold the alpha of this image; use PNG, TIFF or WebP")


def held(metadata: Metadata, format: str) -> Metadata:
    """Return the metadata that a format can hold, and warn about the rest."""

    def fits(name: str, content: bytes) -> bool:
        most = _JPEG_ICC_BYTES if (format, name) == ("JPEG", "icc") else _METADATA_BYTES.get(format, 0)
        return len(content) <= most and (name != "exif" or format not in _EXIF_WRITTEN_ANEW or is_readable(content))

    dropped = [name for name, content in metadata.items() if not fits(name, content)]
    for name in dropped:
        warnings.warn(DroppedMetadataWarning(name, format), stacklevel=4)
    return replace(metadata, **dict.fromkeys(dropped))


def _save_options(format: str, metadata: Metadata) -> dict[str, Any]:
    options = dict(_SAVE_OPTIONS.get(format, {}))
    options |= metadata.pillow_info()
    if format == "PNG":
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = chunks = PngInfo()
        if not metadata.icc:
            chunks.add(b"sRGB", _PERCEPTUAL)
        if metadata.xmp:
            chunks.add_itxt("XML:com.adobe.xmp", metadata.xmp.decode("utf-8", "replace"))
    elif format == "TIFF":
        options["exif"] = tags = tiff_tags(metadata.exif) if metadata.exif else Image.Exif()
        if metadata.xmp:
            tags[TIFF_XMP] = options.pop("xmp")
    return options


def format_of(path: str | os.PathLike[str]) -> str:
    """Return Pillow's name of the format of a path's suffix. Raises ImageError for an unknown suffix."""
    suffix = os.path.splitext(path)[1].lower()
    formats = Image.registered_extensions()
    if suffix not in formats:
        raise ImageError(
            f"{os.fspath(path)}: {f'suffix {suffix}' if suffix else 'a name without suffix'} names no image format; "
            "use one such as .png"
        )
    return formats[suffix]
