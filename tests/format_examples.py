"""The example files of docs/format.md, in tests/data/format.

`python -m tests.format_examples` writes the files and prints them as they stand on the page. Files of one version of
the format never change, so this is only for new examples.
"""

from __future__ import annotations

import struct
import zlib

from glic_deploy import container
from glic_deploy.container import Header
from glic_deploy.fields import Field, attached
from glic_deploy.metadata import EXIF
from glic_deploy.tiles import Grid, table
from glic_deploy.varint import write_varint

from .conftest import DATA

FOLDER = DATA / "format"
MODEL, ARITHMETIC = bytes.fromhex("8f3a01c4"), bytes.fromhex("52d07be9")
PHOTO = Header(768, 512, True, False, MODEL, ARITHMETIC)
PAYLOAD, SYMBOLS = b"range-coded payload", 0x1D4E2C7A

FLOAT = Header(1, 300_000, False, False, bytes(4), b"\xff" * 4)
FLOAT_PAYLOAD = bytes(range(200))

TILED = Header(300, 260, True, True, MODEL, ARITHMETIC)
GRID = Grid.divided(300, 260, 256, 16)
STREAMS = ((b"four", SYMBOLS), (b"tiles of", 1), (b"one", 0xFFFFFFFF), (b"", 0))

EXIF_CONTENT = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 1, 0, 0)
"""A directory with the orientation, 1."""


def stored(content: bytes) -> bytes:
    """Return an item of metadata: its size, and one block of deflate that is stored as it is."""
    block = struct.pack("<BHH", 1, len(content), len(content) ^ 0xFFFF)
    return write_varint(len(content)) + block + content


ATTACHMENT = stored(EXIF_CONTENT)
DESCRIBED = Header(
    768, 512, True, False, MODEL, ARITHMETIC, fields=(attached(EXIF, ATTACHMENT), Field(4 * 4096, b"note"))
)


def png(width: int, rows: bytes) -> bytes:
    """Return a grey PNG file whose rows, each after its filter, are stored."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, len(rows) // (width + 1), 8, 0, 0, 0, 0)
    idat = zlib.compress(rows, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", idat) + chunk(b"IEND", b"")


ALPHA = Header(2, 1, True, False, MODEL, ARITHMETIC, grey=True, alpha=True)
ALPHA_STREAM, ALPHA_VALUES = b"stream", b"\xff\x40"
ALPHA_PAYLOAD = write_varint(len(ALPHA_STREAM)) + ALPHA_STREAM + png(2, b"\0" + ALPHA_VALUES)


def examples() -> dict[str, bytes]:
    """Return each example by the name of its file."""
    return {
        "version2.glic": container.pack(PHOTO, PAYLOAD, SYMBOLS),
        "version2_float.glic": container.pack(FLOAT, FLOAT_PAYLOAD, 0),
        "version2_tiled.glic": table.pack(TILED, GRID, STREAMS),
        "version2_metadata.glic": container.pack(DESCRIBED, PAYLOAD, SYMBOLS, (ATTACHMENT,)),
        "version2_alpha.glic": container.pack(ALPHA, ALPHA_PAYLOAD, SYMBOLS),
    }


def dump(data: bytes) -> str:
    """Return the bytes as xxd prints them, each by itself."""
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:08x}: {row.hex(' '):47}  {text}")
    return "\n".join(lines)


def main() -> None:
    for name, data in examples().items():
        (FOLDER / name).write_bytes(data)
        print(f"{name}, {len(data)} bytes\n{dump(data)}\n")


if __name__ == "__main__":
    main()
