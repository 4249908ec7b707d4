"""ICC profiles for tests, made by editing littleCMS's sRGB profile or tag by tag."""

from __future__ import annotations

import struct
from typing import Literal

from PIL import ImageCms

# The primaries of Display P3 and of sRGB as the colorants of an ICC profile (XYZ under D50).
_P3 = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}


def _fixed(value: float) -> int:
    return round(value * 65536)


_DATE = slice(24, 36)


def _built_in(space: Literal["sRGB", "LAB"]) -> bytes:
    """Return a profile of littleCMS, created at the same time in every run."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes())
    profile[_DATE] = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    return bytes(profile)


def srgb() -> bytes:
    """Return littleCMS's sRGB profile."""
    return _built_in("sRGB")


def lab() -> bytes:
    """Return a profile that describes neither grey nor RGB."""
    return _built_in("LAB")


def _edited(tags: dict[bytes, tuple[float, ...]]) -> bytes:
    """Return the sRGB profile with other numbers in some tags, from byte 8 of each on."""
    profile = bytearray(srgb())
    for index in range(struct.unpack_from(">I", profile, 128)[0]):
        name, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if name in tags:
            struct.pack_into(f">{len(tags[name])}i", profile, offset + 8, *map(_fixed, tags[name]))
    return bytes(profile)


def display_p3() -> bytes:
    """Return an RGB profile with the primaries of Display P3 and the tone curve of sRGB."""
    return _edited(_P3)


def linear() -> bytes:
    """Return an RGB profile with the primaries of sRGB and a linear tone curve."""
    profile = bytearray(srgb())
    for index in range(struct.unpack_from(">I", profile, 128)[0]):
        name, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            struct.pack_into(">4s4xHxxi", profile, offset, b"para", 0, _fixed(1.0))
    return bytes(profile)


def grey_gamma(gamma: float) -> bytes:
    """Return a profile of grey images whose brightness is the value to the power `gamma`."""
    white = struct.pack(">4s4x3i", b"XYZ ", *map(_fixed, (0.9642, 1.0, 0.8249)))
    curve = struct.pack(">4s4xIHxx", b"curv", 1, round(gamma * 256))
    text = struct.pack(">4s4xI5s", b"desc", 5, b"grey\0") + bytes(78)
    tags = ((b"desc", text + bytes(-len(text) % 4)), (b"wtpt", white), (b"kTRC", curve))
    offset = 128 + 4 + 12 * len(tags)
    table = b""
    for name, content in tags:
        table += struct.pack(">4sII", name, offset, len(content))
        offset += len(content)
    header = struct.pack(
        ">I4sI4s4s4s12x4s4xI16xI3i", offset, b"lcms", 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp", 0, 0,
        *map(_fixed, (0.9642, 1.0, 0.8249)),
    )  # fmt: skip
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + b"".join(content for _, content in tags)
