"""Write tests/data/rans/golden.npz: one message, and its stream for each number of lanes.

    python -m tests.rans_golden

Run this only if the format of the stream is meant to change. The message is long enough for 256 lanes.
"""

from __future__ import annotations

import numpy as np

from glic_deploy.entropy.rans import LANES, CdfTables, Encoder

from .conftest import DATA
from .rans_messages import random_message, table_arrays

PATH = DATA / "rans" / "golden.npz"
PASSES = 5


def tables_of(arrays: dict[str, np.ndarray]) -> list[CdfTables]:
    """Return the tables of each pass: the first pass has tables of its own."""
    prior, others = (
        CdfTables(*(arrays[f"{kind}{name}"] for name in ("cdfs", "lengths", "offsets"))) for kind in ("prior_", "")
    )
    return [prior, *[others] * (PASSES - 1)]


def make() -> dict[str, np.ndarray]:
    """Return the message as arrays, and its streams."""
    prior = random_message(1, rows=2, sizes=[700])
    others = random_message(3, rows=6, sizes=[1900, 833, 1, 1400], escapes=0.01)
    arrays: dict[str, np.ndarray] = {}
    for kind, message in (("prior_", prior), ("", others)):
        for name, array in zip(
            ("cdfs", "lengths", "offsets"), table_arrays(message.cdfs, message.offsets), strict=True
        ):
            arrays[f"{kind}{name}"] = array
    for k, (symbols, indexes) in enumerate(prior.passes + others.passes):
        arrays |= {f"symbols{k}": symbols, f"indexes{k}": indexes}
    for lanes in LANES:
        encoder = Encoder()
        for k, tables in enumerate(tables_of(arrays)):
            encoder.push(tables, arrays[f"symbols{k}"], arrays[f"indexes{k}"])
        arrays[f"stream{lanes}"] = np.frombuffer(encoder.finish(lanes=lanes), np.uint8)
    return arrays


if __name__ == "__main__":
    np.savez_compressed(PATH, **make())
