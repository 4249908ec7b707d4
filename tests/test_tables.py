"""The CDF tables equal compressai's, and have the form that the range coder asks for."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

torch = pytest.importorskip("torch", reason="the table builder needs torch: pip install '.[export]'")

from export.tables import SCALE_TABLE, factorized_tables, gaussian_tables, quantize_pmf  # noqa: E402
from tests.oracles import compressai  # noqa: E402


@pytest.fixture(scope="module")
def quantizer():
    try:
        return compressai.load("_CXX").pmf_to_quantized_cdf
    except compressai.OracleMissingError as error:
        pytest.skip(str(error))


def random_prior(seed: int, channels: int) -> dict[str, np.ndarray]:
    """Parameters of a factorised prior whose tables have many lengths."""
    rng = np.random.default_rng(seed)
    median = rng.normal(0, 3, (channels, 1, 1))
    spread = rng.uniform(0.2, 15, (2, channels, 1, 1))
    state = {"quantiles": np.concatenate([median - spread[0], median, median + spread[1]], axis=2)}
    for i, (inputs, outputs) in enumerate([(1, 3), (3, 3), (3, 3), (3, 3), (3, 1)]):
        slope = 10 ** (-1 / 5) / outputs
        state[f"matrices.{i}"] = np.log(np.expm1(slope)) + rng.normal(0, 0.2, (channels, outputs, inputs))
        state[f"biases.{i}"] = rng.uniform(-0.5, 0.5, (channels, outputs, 1))
        if i < 4:
            state[f"factors.{i}"] = rng.normal(0, 0.5, (channels, outputs, 1))
    return {name: value.astype(np.float32) for name, value in state.items()}


def assert_valid(cdfs: np.ndarray, lengths: np.ndarray, offsets: np.ndarray) -> None:
    assert cdfs.dtype == lengths.dtype == offsets.dtype == np.int32
    assert cdfs.shape == (len(lengths), lengths.max())
    assert offsets.shape == lengths.shape
    for cdf, length in zip(cdfs, lengths, strict=True):
        assert cdf[[0, length - 1]].tolist() == [0, 65536]
        assert np.all(np.diff(cdf[:length]) > 0)
        assert not np.any(cdf[length:])


def test_scale_table_is_the_authors():
    assert np.allclose(SCALE_TABLE, np.exp(np.linspace(np.log(0.11), np.log(256), 64)), rtol=1e-6)
    assert (SCALE_TABLE[0], SCALE_TABLE[63]) == (np.float32(0.11), 256)
    assert hashlib.sha256(SCALE_TABLE.tobytes()).hexdigest().startswith("c8bdaad683932b58")


def test_gaussian_rows():
    tables = gaussian_tables()
    assert_valid(*tables)
    assert tables.cdfs.shape == (64, 3133)
    assert tables.lengths[:5].tolist() == [5, 5, 5, 5, 7]
    assert tables.offsets[[0, 4, 63]].tolist() == [-1, -2, -1565]
    assert tables.cdfs[0, :5].tolist() == [0, 1, 65534, 65535, 65536]
    assert tables.cdfs[1, :5].tolist() == [0, 1, 65533, 65535, 65536]


def test_factorized_rows():
    state = random_prior(0, 192)
    tables = factorized_tables(state)
    assert_valid(*tables[:3])
    low, median, high = state["quantiles"][:, 0].T
    assert np.array_equal(tables.medians, median)
    assert np.array_equal(tables.offsets, -np.ceil(median - low))
    assert np.array_equal(tables.lengths, np.ceil(median - low) + np.ceil(high - median) + 3)


def test_upper_tail_is_taken_at_the_longest_channels_end():
    state = {name: np.repeat(value, 2, axis=0) for name, value in random_prior(1, 1).items()}
    state["quantiles"] = np.array([[[-2, 0, 2]], [[-2, 0, 20]]], dtype=np.float32)
    wide_beside, alone = factorized_tables(state), factorized_tables({k: v[:1] for k, v in state.items()})
    escape = [int(np.diff(t.cdfs[0, :7])[-1]) for t in (wide_beside, alone)]
    assert escape[0] < escape[1]


def test_equals_compressai_on_the_models_distributions(quantizer, monkeypatch):
    ours = [gaussian_tables(), factorized_tables(random_prior(2, 64))]
    monkeypatch.setattr("export.tables.quantize_pmf", lambda pmf: np.array(quantizer(pmf.tolist(), 16), dtype=np.int32))
    theirs = [gaussian_tables(), factorized_tables(random_prior(2, 64))]
    for mine, reference in zip(ours, theirs, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, reference, strict=True))


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, st.integers(2, 300), elements=st.floats(0, 1, width=32)))
def test_equals_compressai_on_any_pmf(quantizer, pmf):
    if pmf.sum() < 1e-3:
        pmf[0] = 1
    assert quantize_pmf(pmf).tolist() == quantizer(pmf.tolist(), 16)


@pytest.mark.parametrize("pmf", [[0.5, np.nan], [0.5, -0.5], [0, 0], [1.0], [[0.5, 0.5]]])
def test_refuses_what_is_no_distribution(pmf):
    with pytest.raises(ValueError):
        quantize_pmf(np.array(pmf, dtype=np.float32))


def test_refuses_damaged_quantiles():
    state = random_prior(3, 4)
    with pytest.raises(ValueError, match="quantiles"):
        factorized_tables({**state, "quantiles": state["quantiles"] * np.float32(np.nan)})
    with pytest.raises(ValueError, match="span"):
        factorized_tables({**state, "quantiles": state["quantiles"] * np.float32(1e5)})
