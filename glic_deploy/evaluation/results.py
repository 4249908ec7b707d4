"""What was measured: kept from run to run, averaged, and written as CSV."""

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
    """Rows by what they are of, in a file of JSON lines; each is on disk once it is put, so that a run can resume."""

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
    """Changes with the image's file and with whatever could change its row."""
    path = Path(image).resolve()
    status = path.stat()
    identity = {"image": str(path), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns, **measured_with}
    return json.dumps(identity, sort_keys=True, default=str)


def mean(rows: Sequence[Row]) -> Row:
    """Means over images of each column, as papers give them; of rate too it is the mean of the images' rates.

    None where no row has a value.
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
    """Every row and every mean row of a result."""
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
