"""The range coder: any symbols under any tables come back, whatever the code path, and no bytes can harm it."""

from __future__ import annotations

import numpy as np

from glic_deploy.entropy.rans import CdfTables, Decoder, Encoder


def test_round_trip():
    rng = np.random.default_rng(0)
    tables = CdfTables(
        np.array([[0, 1, 65534, 65535, 65536], [0, 20000, 65536, 0, 0]], np.int32),
        np.array([5, 3], np.int32),
        np.array([-1, 7], np.int32),
    )
    indexes = rng.integers(0, 2, (3, 50), dtype=np.uint8)
    symbols = rng.integers(-3, 9, (3, 50), dtype=np.int16)
    encoder = Encoder()
    encoder.push(tables, symbols, indexes)
    decoder = Decoder(encoder.finish())
    assert np.array_equal(decoder.decode(tables, indexes), symbols)
    decoder.finish()
