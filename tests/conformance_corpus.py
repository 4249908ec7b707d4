"""Writes the conformance files: `python -m tests.conformance_corpus` makes tests/data/conformance anew.

The files are coded with the golden network (`tests.golden_files`) and stand-ins for the transforms (`tests.standin`).
So equal code writes equal files on every machine. README.md in that folder says what they are for.
"""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glic_deploy import Codec, Metadata, channel_codec, container, tiles
from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend
from glic_deploy.bundle import Bundle
from glic_deploy.bundle_codec import BundleCodec
from glic_deploy.checksum import crc32c, symbol_checksum
from glic_deploy.entropy.passes import CodedPass
from glic_deploy.entropy.quantizer import Weighing
from glic_deploy.entropy.rans import LANES, Encoder
from glic_deploy.fields import Field, attached
from glic_deploy.image import pad
from glic_deploy.limits import Limits
from glic_deploy.metadata import EXIF, ICC, XMP
from glic_deploy.refinement import refine
from glic_deploy.tiles import Grid, table
from glic_deploy.varint import write_varint

from . import profiles
from .conformance_check import FOLDER, LIST, describe
from .conftest import DATA, PHOTOS
from .format_examples import EXIF_CONTENT, png, stored
from .golden_files import write_bundle
from .standin import StandIns

Pixels = NDArray[np.uint8]


XMP_CONTENT = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
WEIGHING = Weighing(0.1)
PRIVATE = 4096  # the first number of a field for private use


class Damaged(NamedTuple):
    """A damaged file, and what `tests.conformance_check.check_damaged` expects of it."""

    data: bytes
    error: str
    phrase: str
    read: str = "decode"


def photo() -> Pixels:
    with Image.open(PHOTOS / "kodim23.png") as image:
        return np.asarray(image.convert("RGB"))[200:]


class Corpus:
    """Makes the files with one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._backend = StandIns(OnnxRuntimeBackend(bundle, 1), gain=1 / 4)  # few bits, so that the files are small
        self.codec = Codec(bundle.path, backend=self._backend)
        self._engine = BundleCodec(bundle.path, backend=self._backend)
        self.rgb = photo()[:70, 100:200]
        self.large = photo()[:140, 100:400]
        ramp = np.arange(self.large.shape[0] * self.large.shape[1]).reshape(self.large.shape[:2])
        self.alpha = (ramp // 7 % 256).astype(np.uint8)
        self.whole = self.codec.encode(self.rgb)
        self.tiled = self.codec.encode(self.large[:100], tile=256)
        self.translucent = self.codec.encode(self._with_alpha(self.rgb), alpha="keep")
        self.described = self.codec.encode(self.rgb, metadata=Metadata(EXIF_CONTENT, XMP_CONTENT, profiles.srgb()))

    def valid(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the bytes of each valid file."""
        encode, grey = self.codec.encode, self.rgb[:, :, 1]
        yield "whole", self.whole
        yield "pixel", encode(self.rgb[:1, :1])
        yield "row", encode(self.large[:1])
        yield "column", encode(self.large[:, :1])
        yield "odd", encode(self.large[:129, :127])
        yield "multiple_of_128", encode(self.large[:128, :128])
        yield "flat", encode(np.full((64, 64, 3), 200, np.uint8))
        yield "noise", encode(np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8))
        yield "escapes", self._with_gain(32)
        yield "clamped", self._with_gain(1024)
        yield "tiled", self.tiled
        yield "tiled_rows_and_columns", self._in_grid(Grid.of(300, 140, 128, 128, 7))
        yield "tiled_without_overlap", self._in_grid(Grid.of(300, 140, 256, 128, 0))
        yield "grey", encode(grey)
        yield "grey_tiled", encode(self.large[:, :, 1], tile=256)
        yield "alpha", self.translucent
        yield "alpha_opaque", encode(np.dstack((self.rgb, np.full_like(grey, 255))), alpha="keep")
        yield "alpha_pixel", encode(self._with_alpha(self.rgb[:1, :1]), alpha="keep")
        yield "alpha_tiled", encode(self._with_alpha(self.large), alpha="keep", tile=256)
        yield "grey_alpha", encode(self._with_alpha(grey), alpha="keep")
        yield "grey_alpha_tiled", encode(self._with_alpha(self.large[:100, :, 1]), alpha="keep", tile=256)
        yield "profiled", encode(self.rgb, color="keep", metadata=Metadata(icc=profiles.display_p3()))
        yield "profiled_grey", encode(grey, color="keep", metadata=Metadata(icc=profiles.grey_gamma(2.2)))
        yield "metadata", self.described
        yield "metadata_tiled", encode(self.large[:100], tile=256, metadata=Metadata(xmp=XMP_CONTENT))
        yield "metadata_stored", self._with_items((EXIF, stored(EXIF_CONTENT)))
        yield "metadata_empty", self._with_items((XMP, b"\0\x03\0"))
        yield "field", self._with_fields(Field(4 * PRIVATE, b"ignorable"))
        yield "field_empty", self._with_fields(Field(4 * PRIVATE, b""))
        yield "field_attached", self._with_items((PRIVATE, b"ignorable, behind the frame"))
        yield "fields_before_and_behind", self._with_items((XMP, stored(XMP_CONTENT)), (ICC + 1, b"later"))
        yield "fields_longest", self._with_fields(Field(4 * PRIVATE, bytes(1024 - 5)))
        for effort in (1, 2):
            yield f"effort_{effort}", self._with_effort(effort)
        for lanes in LANES:
            yield f"lanes_{lanes}", self._with_lanes(self.large[:128, :256], lanes)

    def damaged(self) -> Iterator[tuple[str, Damaged]]:
        """Yield the name of each damaged file and what must come of it."""
        yield from self._damaged_frames()
        yield from self._damaged_fields()
        yield from self._damaged_streams()
        yield from self._damaged_alpha()
        yield from self._damaged_tiles()
        yield from self._damaged_metadata()

    def _damaged_frames(self) -> Iterator[tuple[str, Damaged]]:
        data, parsed = self.whole, container.parse(self.whole)
        text = data.decode("latin-1")
        cut, mismatch, as_text = "is cut short", "checksum mismatch", "changed by a transfer as text"
        yield "empty", Damaged(b"", "BitstreamError", "cut short: got 0 bytes")
        yield "cut_in_magic", Damaged(data[:4], "BitstreamError", cut)
        yield "cut_in_header", Damaged(data[:12], "BitstreamError", cut)
        yield "cut_in_payload", Damaged(data[: len(data) // 2], "BitstreamError", f"expected {len(data):,}")
        yield "cut_in_checksum", Damaged(data[:-1], "BitstreamError", cut)
        yield "appended", Damaged(data + b"\n", "BitstreamError", "something was appended")
        yield "bit_in_width", Damaged(flipped(data, 9), "BitstreamError", mismatch)
        yield "bit_in_payload", Damaged(flipped(data, len(data) // 2), "BitstreamError", mismatch)
        yield "bit_in_checksum", Damaged(flipped(data, -1), "BitstreamError", mismatch)
        yield "text_unix", Damaged(data.replace(b"\r\n", b"\n"), "BitstreamError", as_text)
        yield "text_windows", Damaged(data.replace(b"\n", b"\r\n"), "BitstreamError", as_text)
        yield "text_utf8", Damaged(text.encode(), "BitstreamError", as_text)
        yield "text_replaced", Damaged(data.decode("utf-8", "replace").encode(), "BitstreamError", as_text)
        yield "text_seven_bits", Damaged(bytes(byte & 0x7F for byte in data), "BitstreamError", as_text)
        version1 = (DATA / "format" / "version1.glic").read_bytes()
        yield "version_1", Damaged(version1, "BitstreamError", "format version 1, which only development versions")
        newer = resealed(data[:7] + b"\x03" + data[8:])
        yield "version_3", Damaged(newer, "BitstreamError", "needs a reader of format version 3")
        yield "glitch_art", Damaged(b"GLIC2" + bytes(60), "BitstreamError", "glitch-art codec GLIC")
        yield "other_format", Damaged(png(1, b"\0\0"), "BitstreamError", "not a .glic file")
        for bit in (0x20, 0x80):
            reserved = resealed(data[:8] + bytes((data[8] | bit,)) + data[9:])
            yield f"flag_{bit:02x}", Damaged(reserved, "BitstreamError", f"flags byte is 0x{bit | 1:02x}")
        zero = resealed(data[:9] + b"\0" + data[10:])
        yield "zero_width", Damaged(zero, "BitstreamError", "0 x 70 pixels")
        long = resealed(data[:9] + bytes((data[9] | 0x80, 0)) + data[10:])
        yield "long_varint", Damaged(long, "BitstreamError", "shortest varint")
        for name, change in {
            "absurd_sides": {"width": 2**31, "height": 2**31},
            "absurd_area": {"width": 2**15, "height": 2**15},
        }.items():
            header = dataclasses.replace(parsed.header, **change)
            yield name, Damaged(container.pack(header, parsed.payload, 0), "LimitError", "allowed")
        for field, phrase in {
            "model_fingerprint": "written with model 01020304",
            "arithmetic_fingerprint": "written with entropy arithmetic 01020304",
            "exact": "needs floating-point entropy arithmetic",
        }.items():
            header = dataclasses.replace(parsed.header, **{field: False if field == "exact" else b"\1\2\3\4"})
            other = container.pack(header, parsed.payload, parsed.symbol_checksum)
            yield f"other_{field}", Damaged(other, "ModelMismatchError", phrase)

    def _damaged_fields(self) -> Iterator[tuple[str, Damaged]]:
        broken = "break a rule of the format"
        yield (
            "critical_field",
            Damaged(self._with_fields(Field(4 * 77 + 1, b"")), "BitstreamError", "critical field 77"),
        )
        critical = Field(4 * EXIF + 3, attached(EXIF, b"").value)
        yield "critical_attached_field", Damaged(self._with_fields(critical), "BitstreamError", "critical field 1")
        for name, raw in {
            "fields_descend": b"\x08\x01a\x04\x01b",
            "fields_repeat": b"\x08\x01a\x08\x01b",
            "field_cut": b"\x08\x05a",
            "field_without_length": b"\x08",
            "field_with_long_key": b"\x88\x00\x01a",
            "attached_field_without_checksum": b"\x06\x03\x01\0\0",
            "attached_field_with_more": b"\x06\x06\x00\0\0\0\0\0",
        }.items():
            yield name, Damaged(self._with_raw_fields(raw), "BitstreamError", broken)
        too_long = self._with_raw_fields(b"\x08\xff\x07" + bytes(1023))
        yield "fields_too_long", Damaged(too_long, "BitstreamError", "at most 1,024 allowed")
        absurd = self._with_fields(Field(4 * XMP + 2, write_varint(2**32 - 1) + bytes(4)))
        yield "attachment_absurd", Damaged(absurd, "LimitError", "metadata has 4,294,967,295 bytes")

    def _damaged_streams(self) -> Iterator[tuple[str, Damaged]]:
        file = container.parse(self.whole)
        stream, checksum = bytes(file.payload), file.symbol_checksum

        def pack(payload: bytes, checksum: int = checksum, **header: int) -> bytes:
            return container.pack(dataclasses.replace(file.header, **header), payload, checksum)

        corrupt, differ = "the range-coded stream is cut or altered", "the decoded symbols differ"
        yield "stream_empty", Damaged(pack(b""), "BitstreamError", corrupt)
        yield "stream_cut", Damaged(pack(stream[:-9]), "BitstreamError", corrupt)
        yield "stream_appended", Damaged(pack(stream + b"\0"), "BitstreamError", corrupt)
        yield "stream_of_ones", Damaged(pack(b"\xff" * 500), "BitstreamError", corrupt)
        yield "stream_of_a_larger_image", Damaged(pack(stream, width=300), "BitstreamError", corrupt)
        yield "symbol_checksum", Damaged(pack(stream, checksum ^ 1), "BitstreamError", differ)

    def _damaged_alpha(self) -> Iterator[tuple[str, Damaged]]:
        file = container.parse(self.translucent)
        stream, alpha = map(bytes, channel_codec.split(file.payload, alpha=True))  # type: ignore[arg-type]

        def pack(alpha: bytes, length: int = len(stream)) -> bytes:
            return container.pack(file.header, write_varint(length) + stream + alpha, file.symbol_checksum)

        unreadable = "the alpha image cannot be read"
        height, width = self.rgb.shape[:2]
        yield "alpha_missing", Damaged(pack(b""), "BitstreamError", unreadable)
        yield "alpha_cut", Damaged(pack(alpha[: len(alpha) // 2]), "BitstreamError", unreadable)
        yield "alpha_altered", Damaged(pack(flipped(alpha, len(alpha) // 2)), "BitstreamError", unreadable)
        yield "alpha_not_png", Damaged(pack(saved("L", (width, height), "GIF")), "BitstreamError", unreadable)
        yield "alpha_size", Damaged(pack(saved("L", (height, width))), "BitstreamError", "alpha image has 70 x 100")
        yield "alpha_mode", Damaged(pack(saved("RGB", (width, height))), "BitstreamError", "of mode RGB, expected")
        yield "alpha_two_levels", Damaged(pack(saved("1", (width, height))), "BitstreamError", "of mode 1, expected")
        absurd = saved("L", (60_000, 1))
        yield "alpha_absurd", Damaged(pack(absurd), "BitstreamError", "alpha image has 60000 x 1 pixels")
        longer = len(stream) + len(alpha) + 1
        yield "alpha_length", Damaged(pack(alpha, longer), "BitstreamError", f"stream has {longer:,} bytes")
        flagged = dataclasses.replace(container.parse(self.whole).header, alpha=True)
        plain = container.parse(self.whole)
        without = container.pack(flagged, plain.payload, plain.symbol_checksum)
        yield "alpha_flag_alone", Damaged(without, "BitstreamError", "the colour's stream has")

    def _damaged_tiles(self) -> Iterator[tuple[str, Damaged]]:
        data, file = self.tiled, tiles.parse(self.tiled)
        parts = [(bytes(file.payload(i)), file.symbol_checksum(i)) for i in range(len(file.grid))]
        front = container.read_front(memoryview(data))
        first = data.index(parts[0][0])
        yield "tile_bit", Damaged(flipped(data, first + 40), "BitstreamError", "checksum mismatch")
        yield "table_bit", Damaged(flipped(data, first - 9), "BitstreamError", "checksum mismatch")
        yield "tiles_cut", Damaged(data[: first + 9], "BitstreamError", "is cut short")
        for name, geometry, phrase in (
            ("tile_width_zero", (0, 1, 16), "multiple of 128"),
            ("tile_too_wide", (9, 1, 16), "multiple of 128 up to 384"),
            ("tile_overlap", (2, 1, 65), "expected 0 to 64"),
            ("one_tile", (3, 1, 0), "one tile"),
        ):
            altered = data[: front.start] + b"".join(map(write_varint, geometry)) + data[front.start + 3 :]
            yield name, Damaged(resealed(altered), "BitstreamError", phrase)
        shorter = table.pack(file.header, file.grid, [(parts[0][0][:-9], parts[0][1]), *parts[1:]])
        yield "tile_stream_cut", Damaged(shorter, "BitstreamError", "tile 0 of 2")
        wrong = table.pack(file.header, file.grid, [parts[0], (parts[1][0], parts[1][1] ^ 1)])
        yield "tile_symbol_checksum", Damaged(wrong, "BitstreamError", "tile 1 of 2")
        payload = container.parse(data)
        other = container.pack(payload.header, payload.payload, payload.symbol_checksum ^ 1)
        yield "tiles_symbol_checksum", Damaged(other, "BitstreamError", "the file's symbol checksum is")
        whole = container.parse(self.whole)
        flagged = container.pack(dataclasses.replace(whole.header, tiled=True), whole.payload, whole.symbol_checksum)
        yield "tiled_flag_alone", Damaged(flagged, "BitstreamError", "multiple of 128")

    def _damaged_metadata(self) -> Iterator[tuple[str, Damaged]]:
        data, warning = self.described, "DamagedMetadataWarning"
        end = container.read_front(memoryview(data)).frame_end
        yield "metadata_missing", Damaged(data[:end], warning, "the metadata exif is left out", "metadata")
        yield "metadata_cut", Damaged(data[:-1], warning, "the metadata icc is left out", "metadata")
        yield (
            "metadata_bit",
            Damaged(flipped(data, end + 9), warning, "exif is left out: checksum mismatch", "metadata"),
        )
        for name, content, phrase in (
            ("metadata_without_size", b"", "xmp is left out"),
            ("metadata_longer", b"\x04" + stored(b"hello")[1:], "decompress to the 4 bytes"),
            ("metadata_shorter", b"\x06" + stored(b"hello")[1:], "decompress to the 6 bytes"),
            ("metadata_appended", stored(b"hello") + b"x", "decompress to the 5 bytes"),
            ("metadata_not_deflate", b"\x05\xff\xff", "does not decompress"),
        ):
            yield name, Damaged(self._with_items((XMP, content)), warning, phrase, "metadata")
        bomb = write_varint(1 << 30) + stored(b"hello")[1:]
        yield "metadata_bomb", Damaged(self._with_items((XMP, bomb)), "LimitError", "1,073,741,824", "metadata")
        file = container.parse(self.whole)
        header = dataclasses.replace(file.header, profiled=True)
        missing = container.pack(header, file.payload, file.symbol_checksum)
        yield "profile_missing", Damaged(missing, "BitstreamError", "which the file lacks", "srgb")
        for name, profile, phrase in (
            ("profile_not_icc", b"no profile", "does not convert"),
            ("profile_of_grey", profiles.grey_gamma(1.0), "does not convert"),
        ):
            part = stored(profile)
            profiled = dataclasses.replace(header, fields=(attached(ICC, part),))
            made = container.pack(profiled, file.payload, file.symbol_checksum, (part,))
            yield name, Damaged(made, "ImageError", phrase, "srgb")

    def _with_alpha(self, colour: Pixels) -> Pixels:
        return np.dstack((colour, self.alpha[: colour.shape[0], : colour.shape[1]]))

    def _with_gain(self, gain: float) -> bytes:
        backend = StandIns(OnnxRuntimeBackend(self._bundle, 1), gain=gain)
        with Codec(self._bundle.path, backend=backend) as codec:
            return codec.encode(self.rgb)

    def _with_effort(self, effort: int) -> bytes:
        latents, original = self._engine.analyse(pad(self.rgb)), container.parse(self.whole)

        def gradient(y_hat: NDArray[np.float32], image: Pixels) -> tuple[NDArray[np.float32], float]:
            distance = y_hat - np.float32(1.25) * latents.y
            return 2 * distance, float((distance * distance).sum())

        used = refine(self._engine, latents, self.rgb, WEIGHING, gradient) if effort > 1 else latents
        coded = self._engine.code(used, weighing=WEIGHING)
        assert coded.checksum != original.symbol_checksum
        return container.pack(original.header, coded.payload, coded.checksum)

    def _with_fields(self, *fields: Field, attachments: tuple[bytes, ...] = ()) -> bytes:
        file = container.parse(self.whole)
        header = dataclasses.replace(file.header, fields=fields)
        return container.pack(header, file.payload, file.symbol_checksum, attachments)

    def _with_items(self, *items: tuple[int, bytes]) -> bytes:
        fields = (attached(number, content) for number, content in items)
        return self._with_fields(*fields, attachments=tuple(content for _, content in items))

    def _with_raw_fields(self, raw: bytes) -> bytes:
        start = self.whole.index(container.parse(self.whole).header.arithmetic_fingerprint) + 4
        return resealed(self.whole[:start] + write_varint(len(raw)) + raw + self.whole[start + 1 :])

    def _in_grid(self, grid: Grid) -> bytes:
        height, width = self.large.shape[:2]
        header = dataclasses.replace(container.parse(self.tiled).header, width=width, height=height)
        return tiles.encode(self._engine, header, self.large, grid, Limits())

    def _with_lanes(self, pixels: Pixels, lanes: int) -> bytes:
        """Return a file whose stream has this number of lanes."""
        data, passes, encoder = self.codec.encode(pixels), list[CodedPass](), Encoder()
        self.codec.decode(data, passes=passes)
        for coded in passes:
            tables = self._engine._y_tables if coded.part else self._engine._z_tables
            encoder.push(tables, coded.symbols, coded.indexes)
        header = container.parse(data).header
        return container.pack(header, encoder.finish(lanes=lanes), symbol_checksum(coded.symbols for coded in passes))


def flipped(data: bytes, index: int) -> bytes:
    """Return the bytes with one bit of a byte flipped."""
    altered = bytearray(data)
    altered[index] ^= 4
    return bytes(altered)


def resealed(data: bytes) -> bytes:
    """Return a file without attachments with a valid checksum."""
    return data[:-4] + struct.pack("<I", crc32c(data[:-4]))


def saved(mode: str, size: tuple[int, int], format: str = "PNG") -> bytes:
    """Return an image file of one colour."""
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, format)
    return stream.getvalue()


def write(folder: Path, bundle: Bundle) -> None:
    """Write the corpus into an empty or absent folder, README.md apart."""
    made = Corpus(bundle)
    document: dict[str, dict[str, object]] = {"valid": {}, "damaged": {}}
    for kind in document:
        shutil.rmtree(folder / kind, ignore_errors=True)
        (folder / kind).mkdir(parents=True)
    for name, data in made.valid():
        (folder / "valid" / f"{name}.glic").write_bytes(data)
        document["valid"][f"{name}.glic"], _ = describe(made.codec, data)
    for name, damaged in made.damaged():
        (folder / "damaged" / f"{name}.glic").write_bytes(damaged.data)
        entry = damaged._asdict()
        del entry["data"]
        document["damaged"][f"{name}.glic"] = entry
    (folder / LIST).write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        write(FOLDER, write_bundle(Path(temporary) / "engine"))


if __name__ == "__main__":
    main()
