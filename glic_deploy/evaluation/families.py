"""Group engines into rate-distortion curves, and load curves that were measured elsewhere."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import EngineError
from ..files import read_bounded
from ..qualities import bundles_in

_MOST_BYTES = 64 << 20
_COLUMNS = "columns bpp and psnr, and codec where there are several curves"


def families(engines: Sequence[str]) -> list[tuple[str, str]]:
    """Return the path of every bundle that the arguments name, and the title of the bundle's curve.

    Args:
        engines: bundles, folders of several bundles, or NAME=PATH. Bundles with the same NAME form a curve, and so do
            the bundles of one folder. Single bundles without a name form a curve if their networks are equal.

    Raises EngineError as `bundles_in` does.
    """
    found: list[tuple[str, Any, str]] = []  # path, key of the curve, title
    for given in engines:
        name, path = _named(given)
        bundles = bundles_in(path)
        for bundle in bundles:
            if name is not None:
                found.append((str(bundle.path), ("name", name), name))
            elif len(bundles) > 1:
                found.append((str(bundle.path), ("folder", os.path.realpath(path)), Path(path).resolve().name))
            else:
                network = json.dumps(bundle.manifest.model.as_dict()["config"], sort_keys=True)
                found.append((str(bundle.path), ("network", network), bundle.path.name or str(bundle.path)))
    return list(zip((path for path, _, _ in found), _titles(found), strict=True))


def _named(given: str) -> tuple[str | None, str]:
    name, equals, path = given.partition("=")
    if equals and name and path and os.sep not in name and not os.path.exists(given):
        return name, path
    return None, given


def _titles(found: Sequence[tuple[str, Any, str]]) -> list[str]:
    """Return a title for each bundle: equal for the points of one curve, different for different curves."""
    sizes: dict[Any, int] = {}
    for _, known_by, _ in found:
        sizes[known_by] = sizes.get(known_by, 0) + 1
    alone = len(sizes) == 1
    titles: dict[Any, str] = {}
    for _, known_by, title in found:
        if known_by not in titles:
            if known_by[0] == "network" and sizes[known_by] > 1:
                title = "engines" if alone else f"{title} and its like"
            taken = set(titles.values())
            names = [title, *(f"{title} ({number})" for number in range(2, len(found) + 2))]
            titles[known_by] = next(name for name in names if name not in taken)
    return [titles[known_by] for _, known_by, _ in found]


def load_external(path: str) -> list[dict[str, Any]]:
    """Load curves that were measured elsewhere.

    The file is CSV with a header, or JSON with a list of objects. It has the columns `bpp` and `psnr` (dB), and
    optionally `ms_ssim` and `codec`. Without `codec` the curve is named after the file. If there is a column `image`,
    as `glic eval --csv` writes it, only the rows whose image is `mean` are used.

    Returns a dictionary for each curve: `title`, and `points`, each with `bpp`, `psnr` and `ms_ssim` (or None).

    Raises EngineError if the file holds no such table, OSError if it cannot be read.
    """
    with open(path, "rb") as stream:
        text = read_bounded(stream, _MOST_BYTES, path).decode(errors="replace")
    try:
        rows = json.loads(text) if path.lower().endswith(".json") else list(csv.DictReader(io.StringIO(text)))
        curves: dict[str, list[dict[str, float | None]]] = {}
        for row in rows:
            if row.get("image", "mean") == "mean":
                curves.setdefault(str(row.get("codec") or Path(path).stem), []).append(_point(row))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise EngineError(f"{path} contains no table of results ({error!r}), expected {_COLUMNS}") from None
    if not curves:
        raise EngineError(f"{path} has no results, expected {_COLUMNS}")
    return [{"title": title, "points": points} for title, points in curves.items()]


def _point(row: Mapping[str, Any]) -> dict[str, float | None]:
    bpp, psnr = float(row["bpp"]), float(row["psnr"])
    if not (0 < bpp < math.inf and math.isfinite(psnr)):
        raise ValueError(f"bpp {bpp}, psnr {psnr}")
    similarity = row.get("ms_ssim")
    return {"bpp": bpp, "psnr": psnr, "ms_ssim": float(similarity) if similarity not in (None, "") else None}


def grouped(entries: Iterable[Mapping[str, Any]], default: str) -> dict[str, list[Mapping[str, Any]]]:
    """Group the engines of a result by the title of their curve; `default` is the title of engines without one."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        groups.setdefault(entry.get("family", default), []).append(entry)
    return groups
