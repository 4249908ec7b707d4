"""The examples of docs/format.md are the files of tests/data/format, and those never change."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

from glic_deploy import Limits, channel_codec, container, read_metadata, tiles
from glic_deploy.container import File

from .conftest import ROOT
from .format_examples import (
    ALPHA,
    ALPHA_PAYLOAD,
    ALPHA_STREAM,
    ALPHA_VALUES,
    DESCRIBED,
    EXIF_CONTENT,
    FLOAT,
    FLOAT_PAYLOAD,
    FOLDER,
    GRID,
    PAYLOAD,
    PHOTO,
    STREAMS,
    SYMBOLS,
    TILED,
    examples,
)

PAGE = (ROOT / "docs" / "format.md").read_text()
SECTIONS = {found[2]: found[1] for found in re.finditer(r"## (Example[^\n]*)\n[^#]*?\(`(version2\w*\.glic)`\)", PAGE)}
EXPECTED = {
    "version2.glic": File(PHOTO, memoryview(PAYLOAD), SYMBOLS),
    "version2_float.glic": File(FLOAT, memoryview(FLOAT_PAYLOAD), 0),
    "version2_metadata.glic": File(DESCRIBED, memoryview(PAYLOAD), SYMBOLS),
    "version2_alpha.glic": File(ALPHA, memoryview(ALPHA_PAYLOAD), SYMBOLS),
}


def section(name: str) -> str:
    return re.split(r"^## ", PAGE.split(f"## {SECTIONS[name]}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def test_all_examples_are_there() -> None:
    files = {path.name for path in FOLDER.glob("version2*.glic")}
    assert set(examples()) == files
    assert set(SECTIONS) == files - {"version2_float.glic"}


@pytest.mark.parametrize("name", examples())
def test_writing_gives_the_same_bytes(name: str) -> None:
    assert examples()[name] == (FOLDER / name).read_bytes()


@pytest.mark.parametrize("name", EXPECTED)
def test_files_read_as_what_was_written(name: str) -> None:
    assert container.parse((FOLDER / name).read_bytes(), Limits(max_side=300_000)) == EXPECTED[name]


def test_the_file_in_tiles() -> None:
    file = tiles.parse((FOLDER / "version2_tiled.glic").read_bytes())
    assert (file.header, file.grid) == (TILED, GRID)
    assert [(bytes(file.payload(i)), file.symbol_checksum(i)) for i in range(len(GRID))] == list(STREAMS)


def test_the_file_with_metadata() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_metadata(FOLDER / "version2_metadata.glic")
    assert (found.exif, found.xmp, found.icc) == (EXIF_CONTENT, None, None)


def test_the_file_with_alpha() -> None:
    payload = container.parse((FOLDER / "version2_alpha.glic").read_bytes()).payload
    stream, alpha = channel_codec.split(payload, alpha=True)
    assert alpha is not None
    assert stream == ALPHA_STREAM
    np.testing.assert_array_equal(channel_codec.decode_alpha(alpha, 1, 2), [list(ALPHA_VALUES)])


@pytest.mark.parametrize("name", SECTIONS)
def test_the_page_shows_the_bytes(name: str) -> None:
    rows = re.findall(r"^[0-9a-f]{8}: ((?:[0-9a-f]{2} )+)", section(name), re.MULTILINE)
    assert bytes.fromhex("".join(rows)) == (FOLDER / name).read_bytes()


@pytest.mark.parametrize("name", SECTIONS)
def test_the_table_of_the_page_names_the_bytes_at_their_offsets(name: str) -> None:
    data = (FOLDER / name).read_bytes()
    rows = re.findall(r"^\| (\d+) \| `([^`]+)` \|", section(name), re.MULTILINE)
    assert len(rows) > 8
    for offset, text in rows:
        start = bytes.fromhex(text.split("…")[0])
        assert data[int(offset) :].startswith(start), f"{name}, offset {offset}: {text}"
