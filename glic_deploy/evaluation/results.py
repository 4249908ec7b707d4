"""Store measurements from run to run, average them, and write them as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..jsonlines import JsonLines
from .measure import Row

AVERAGED = ("bpp", "psnr", "ms_ssim", "encode_s", "decode_s", "estimated_bpp")
_COLUMNS = ("codec", "quality", "image", "width", "height", "bytes", *AVERAGED)


class Store:
    """Store rows by key in a file of JSON lines. `put` writes each row to disk at once, so that a run can resume."""

    def __init__(self, path: Path) -> None:
        self._lines = JsonLines(path)
        self._rows: dict[str, Row] = {line["key"]: line["row"] for line in self._lines if _is_row(line)}

    def get(self, key: str) -> Row | None:
        return self._rows.get(key)

    def put(self, key: str, row: Row) -> None:
        self._rows[key] = row
        self._lines.append({"key": key, "row": row})


def _is_row(line: Mapping[str, Any]) -> bool:
    return isinstance(line.get("key"), str) and isinstance(line.get("row"), dict)


def key_of(image: str, measured_with: Mapping[str, Any]) -> str:
    """Return the key of an image's row. The key changes if the image file or a setting in `measured_with` changes."""
    path = Path(image).resolve()
    status = path.stat()
    identity = {"image": str(path), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns, **measured_with}
    return json.dumps(identity, sort_keys=True, default=str)


def mean(rows: Sequence[Row]) -> Row:
    """Average each column over the images, as papers do: the mean rate is the mean of the images' bits per pixel.

    A column is None if no row has a value.
    """
    averages: Row = {"images": len(rows)}
    for column in AVERAGED:
        values = [row[column] for row in rows if row.get(column) is not None]
        averages[column] = sum(values) / len(values) if values else None
    if rows and "parts_bits" in rows[0]:
        averages["parts_bpp"] = {
            name: sum(row["parts_bits"][name] / (row["width"] * row["height"]) for row in rows) / len(rows)
            for name in rows[0]["parts_bits"]
        }
    return averages


def as_csv(document: Mapping[str, Any]) -> str:
    """Return all rows of a result, and their means, as CSV."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS, extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(_lines(document))
    return stream.getvalue()


def _lines(document: Mapping[str, Any]) -> Iterator[Row]:
    for engine in document["engines"]:
        yield from _with_mean({"codec": engine["title"]}, engine["rows"], engine["mean"])
    for codec in document["codecs"]:
        for point in codec["points"]:
            yield from _with_mean({"codec": codec["name"], "quality": point["quality"]}, point["rows"], point["mean"])


def _with_mean(what: Row, rows: Iterable[Row], average: Row) -> Iterator[Row]:
    for row in rows:
        yield what | row
    yield what | {"image": "mean"} | average
