"""The exact entropy path: every form of the arithmetic equal to the oracle in every bit, its bounds and its cost."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.checkpoint import Checkpoint
from export.integer import LOWERINGS, IntegerNetwork, build, lower
from export.integer.bounds import FLOAT_EXACT, float_parts, prove
from export.integer.build import encode
from export.integer.conformance import conformance_vectors
from export.integer.network import UnitNorm
from export.integer.oracle import Oracle, round_shift
from export.integer.quantise import rsqrt_table
from export.integer.reference import oracle_backend, torch_backend
from export.tables import gaussian_tables
from glic_deploy import Codec, EngineError, conformance
from glic_deploy.backends.base import Backend
from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend, custom_ops_library
from glic_deploy.bundle import Bundle
from glic_deploy.entropy import passes
from glic_deploy.entropy.passes import Pass, walk
from glic_deploy.errors import CheckpointError, GlicError

from . import kernels
from .conftest import DATA
from .integer_networks import RandomNetworks

Array = NDArray[Any]
Results = list[tuple[Array, Array]]
ORACLES = {
    "IntegerLinear": Oracle.linear,
    "IntegerGatedFfn": Oracle.gated_ffn,
    "IntegerDepthwise": Oracle.depthwise,
}


class LoweredBackend(Backend):
    """One lowering of a network in onnxruntime, straight from the exporter."""

    name = "lowered"

    def __init__(self, network: IntegerNetwork, lowering: str, threads: int = 1, optimize: bool = True) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        if not optimize:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if lowering == "native":
            library = custom_ops_library()
            if library is None:
                pytest.skip("needs the native kernels (libglic_onnxruntime): build the package")
            options.register_custom_ops_library(library)
        self.sessions = {
            graph.name: ort.InferenceSession(graph.model.SerializeToString(), options)
            for graph in lower(network, lowering)
        }

    def run(self, graph: str, inputs: Any) -> list[Array]:
        return self.sessions[graph].run(None, dict(inputs))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def close(self) -> None:
        pass


def decode(network: IntegerNetwork, backend: Backend, z_symbols: Array, seed: int = 0, largest: int = 2047) -> Results:
    """Indexes and means of every pass, for symbols drawn at random, now and then as large as they may be."""
    rng = np.random.default_rng(seed)
    results: Results = []

    def step(part: Pass, indexes: Array, means: Array) -> Array:
        results.append((indexes, means))
        symbols = np.rint(rng.laplace(0, 2, indexes.shape))
        symbols = np.where(rng.random(indexes.shape) < 0.02, rng.choice([-largest, largest], indexes.shape), symbols)
        return symbols.astype(np.int16)

    groups = tuple(net.channels for net in network.slices)
    walk(groups, lambda graph, **inputs: backend.start(graph, inputs), z_symbols, step)
    return results


def assert_equal(results: Results, expected: Results) -> None:
    for (indexes, means), (their_indexes, their_means) in zip(results, expected, strict=True):
        assert indexes.dtype == np.uint8
        assert means.dtype == np.float32
        np.testing.assert_array_equal(indexes, their_indexes)
        np.testing.assert_array_equal(means, their_means)


def random_z(network: IntegerNetwork, h: int = 2, w: int = 3, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    shape = (1, network.hyper_synthesis.medians.size, h, w)
    return np.clip(np.rint(rng.standard_cauchy(shape) * 3), -2047, 2047).astype(np.int16)


class TestRounding:
    @given(st.integers(-(2**40), 2**40), st.integers(0, 30))
    def test_is_to_the_nearest_and_halves_to_even(self, x: int, shift: int) -> None:
        assert round_shift(np.array([x]), shift)[0] == round(Fraction(x, 2**shift))

    @given(st.integers(-(2**24) + 1, 2**24 - 1), st.integers(0, 30))
    def test_is_what_float32_does(self, x: int, shift: int) -> None:
        held = np.rint(np.float32(x) * np.float32(2.0**-shift))
        assert held == round_shift(np.array([x]), shift)[0]


def test_the_oracles_products_are_those_of_int64() -> None:
    """They are computed in float64; here with sums as large as any network's, 2^30, and far beyond."""
    rng = np.random.default_rng(0)
    for inputs, largest in ((2**12, 2047), (2**9, 2**36)):
        x = rng.integers(-largest, largest, (2, 3, inputs), endpoint=True)
        weight = rng.integers(-127, 127, (inputs, 5), endpoint=True)
        x[0, 0], weight[:, 0] = largest, 127
        np.testing.assert_array_equal(Oracle(rsqrt_table()).product(x, weight), x @ weight)


class TestLowerings:
    """On random networks, whose sums, clamps and shifts reach further than trained ones do."""

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("lowering", LOWERINGS)
    def test_equal_the_oracle(self, lowering: str, seed: int) -> None:
        network = RandomNetworks(seed).network()
        z = random_z(network, seed=seed)
        expected = decode(network, oracle_backend(network), z, seed)
        assert_equal(decode(network, LoweredBackend(network, lowering), z, seed), expected)

    @pytest.mark.parametrize("seed", range(3))
    def test_torch_equals_the_oracle(self, seed: int) -> None:
        network = RandomNetworks(seed).network()
        z = random_z(network, seed=seed)
        assert_equal(
            decode(network, torch_backend(network), z, seed), decode(network, oracle_backend(network), z, seed)
        )

    @pytest.mark.parametrize("threads", [1, 2, 3])
    @pytest.mark.parametrize("optimize", [False, True])
    @pytest.mark.parametrize("lowering", LOWERINGS)
    def test_threads_and_optimisation_change_nothing(self, lowering: str, optimize: bool, threads: int) -> None:
        network = RandomNetworks(7).network()
        z = random_z(network, 4, 2)
        backend = LoweredBackend(network, lowering, threads, optimize)
        assert_equal(decode(network, backend, z), decode(network, oracle_backend(network), z))

    @pytest.mark.parametrize("isa", kernels.INTEGER_ISAS)
    def test_native_kernels_of_every_instruction_set(self, isa: str) -> None:
        """In a process of its own, since a library chooses once."""
        if custom_ops_library() is None:
            pytest.skip("needs the native kernels (libglic_onnxruntime): build the package")
        with kernels.isa(isa) as available:
            if not available:
                pytest.skip(f"needs a processor and a build with {isa}")
        program = "from tests.test_integer import native_equals_oracle; native_equals_oracle()"
        root = Path(__file__).parent.parent
        subprocess.run([sys.executable, "-c", program], env=os.environ | {"GLIC_ISA": isa}, cwd=root, check=True)


def native_equals_oracle() -> None:
    network = RandomNetworks(3).network()
    z = random_z(network)
    assert_equal(decode(network, LoweredBackend(network, "native"), z), decode(network, oracle_backend(network), z))


class TestBounds:
    @given(st.integers(-2047, 2047))
    def test_byte_products_cannot_saturate(self, activation: int) -> None:
        """AVX2 without VNNI adds two products of a byte with a signed byte in saturating int16."""
        high, low = activation // 128, activation % 128
        assert 128 * high + low == activation
        for byte in (high + 64, low):
            assert byte >= 0
            assert 2 * byte * 127 < 2**15

    def test_random_networks_need_parts_somewhere(self) -> None:
        assert max(proof.parts for proof in prove(RandomNetworks(0).network())) > 1

    def test_parts_cover_the_inputs_and_stay_exact(self) -> None:
        linear = RandomNetworks(0).linear(1000, 8, 2047, 511, 8)
        parts = float_parts(linear)
        assert [start for start, _ in parts] == [0, *(stop for _, stop in parts[:-1])]
        assert parts[-1][1] == 1000
        for start, stop in parts:
            assert (linear.input_limit * np.abs(linear.weight[start:stop]).sum(axis=0)).max() < FLOAT_EXACT

    def test_what_cannot_be_proven_is_named(self) -> None:
        network = RandomNetworks(0).network()
        wide = replace(network.slices[1].anchor_mixer, input_limit=2**20)
        broken = replace(network, slices=(network.slices[0], replace(network.slices[1], anchor_mixer=wide)))
        with pytest.raises(GlicError, match=r"slices\.1\.anchor_mixer"):
            prove(broken)

    def test_a_layer_norm_of_too_many_channels_is_refused(self) -> None:
        network = RandomNetworks(0).network()
        ffn = RandomNetworks(1).ffn(1025, 2)
        hyper = network.hyper_synthesis
        block = replace(hyper.blocks0[0], ffn=ffn)
        with pytest.raises(GlicError, match="1025 channels"):
            prove(replace(network, hyper_synthesis=replace(hyper, blocks0=(block,))))


def test_parameters_make_the_network_again() -> None:
    network = RandomNetworks(0).network()
    parameters = network.parameters()
    again = IntegerNetwork.from_parameters(parameters).parameters()
    assert again.keys() == parameters.keys()
    assert all(np.array_equal(again[name], value) for name, value in parameters.items())
    with pytest.raises(KeyError, match="rsqrt"):
        IntegerNetwork.from_parameters({name: value for name, value in parameters.items() if "rsqrt" not in name})


class TestUnitNorm:
    @pytest.mark.parametrize("channels", [1, 2, 32, 213, 1024])
    def test_is_the_direction_of_the_deviation(self, channels: int) -> None:
        rng = np.random.default_rng(channels)
        stream = np.rint(rng.normal(100, 700, (50, channels))).astype(np.int64)
        norm = UnitNorm(0, np.full(channels, 11), 2**11)
        unit = Oracle(rsqrt_table()).unit_norm(stream, norm) / 2**11
        centred = stream - stream.mean(axis=-1, keepdims=True)
        length = np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-9)
        assert np.abs(unit - centred / length).max() < 0.003

    def test_of_equal_values_is_zero(self) -> None:
        norm = UnitNorm(3, np.full(7, 9), 511)
        assert not Oracle(rsqrt_table()).unit_norm(np.full((2, 7), 12345), norm).any()


@pytest.fixture(scope="module")
def network(checkpoint: Checkpoint) -> IntegerNetwork:
    return build(checkpoint)


class TestTrainedNetwork:
    """The small network that ships with the project, quantised as the exporter does."""

    def test_costs_next_to_no_bits(self, checkpoint: Checkpoint, network: IntegerNetwork) -> None:
        golden = np.load(DATA / "golden" / "tiny_graphic_256x256.npz")
        y = golden["y"][None]
        float_bits, exact_bits = [], []

        def step(part: Pass, indexes: Array, means: Array) -> Array:
            packed = passes.pack(y[:, part.start : part.stop], part.parity)
            symbols = passes.quantize(packed, means)
            exact_bits.append(code_length(symbols, indexes))
            return symbols

        backend = torch_backend(network)
        z_symbols = golden["z_symbols"][None]
        walk(checkpoint.config.groups, lambda graph, **inputs: backend.start(graph, inputs), z_symbols, step)
        for k in range(len(checkpoint.config.groups)):
            for parity in ("anchor", "nonanchor"):
                prefix = f"slice{k}_{parity}"
                float_bits.append(code_length(golden[f"{prefix}_symbols"], golden[f"{prefix}_indexes"]))
        assert sum(exact_bits) < 1.01 * sum(float_bits)


def code_length(symbols: Array, indexes: Array) -> float:
    """Ideal bits of symbols under their CDF rows, an escape taken as 8 bits more."""
    tables = gaussian_tables()
    rows = indexes.astype(np.int64).ravel()
    slots = symbols.astype(np.int64).ravel() - tables.offsets[rows]
    escape = tables.lengths[rows] - 2
    escaped = (slots < 0) | (slots >= escape)
    slots = np.where(escaped, escape, slots)
    frequencies = tables.cdfs[rows, slots + 1] - tables.cdfs[rows, slots]
    return float(-np.log2(frequencies / 65536).sum() + 8 * escaped.sum())


class TestConformance:
    def test_bundle_vectors_are_the_oracles(self, engine: Path, checkpoint: Checkpoint) -> None:
        vectors = Bundle.open(engine).conformance()
        assert vectors["z_symbols"].dtype == np.int16
        assert vectors["slice0_anchors_indexes"].dtype == np.uint8
        assert np.abs(vectors["slice0_anchors_symbols"]).max() == 2047

    @pytest.mark.parametrize("lowering", LOWERINGS)
    def test_every_lowering_passes(self, engine: Path, lowering: str) -> None:
        bundle = Bundle.open(engine)
        assert conformance.check(bundle, OnnxRuntimeBackend(bundle, 1, forms=(lowering, "base"))) > 10_000

    @pytest.mark.parametrize(("output", "delta"), [(0, 1), (1, 2**-12)])
    def test_one_wrong_bit_is_an_error_and_nothing_is_remembered(
        self, engine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, output: int, delta: float
    ) -> None:
        monkeypatch.setenv("GLIC_CACHE", str(tmp_path))
        bundle = Bundle.open(engine)
        backend = OnnxRuntimeBackend(bundle, 1)
        honest = backend.run

        def wrong(graph: str, inputs: Any) -> list[Array]:
            outputs = honest(graph, inputs)
            if graph == "slice2_nonanchors":
                outputs[output].flat[5] += outputs[output].dtype.type(delta)
            return outputs

        monkeypatch.setattr(backend, "run", wrong)
        for _ in range(2):
            with pytest.raises(EngineError, match=r"1 of \d+ (indexes|means) of slice2_nonanchors"):
                Codec(engine, backend=backend)

    def test_a_pass_is_remembered(self, engine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("GLIC_CACHE", str(tmp_path))
        bundle = Bundle.open(engine)
        backend = OnnxRuntimeBackend(bundle, 1)
        conformance.ensure(bundle, backend)
        monkeypatch.setattr(backend, "run", lambda graph, inputs: pytest.fail("was checked again"))
        conformance.ensure(bundle, backend)

    def test_a_cache_that_cannot_be_written_only_costs_time(
        self, engine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("GLIC_CACHE", str(tmp_path / "file"))
        bundle = Bundle.open(engine)
        conformance.ensure(bundle, OnnxRuntimeBackend(bundle, 1))

    def test_vectors_reach_the_clamps(self) -> None:
        vectors = conformance_vectors(RandomNetworks(0).network())
        assert {name for name in vectors if name.startswith("slice1_nonanchors")} == {
            f"slice1_nonanchors_{what}" for what in ("symbols", "indexes", "means")
        }


@pytest.mark.parametrize(
    ("name", "largest", "reason"),
    [
        ("hyper.h_s.0.0.weight", 1e9, "tell the smallest scales apart"),
        ("y.latent_codec.y0.entropy_parameters.4.mlp.project_out.weight", 1e38, "infinite or not numbers"),
        ("hyper.h_s.1.mlp.project_in.weight", 1e38, "infinite or not numbers"),
    ],
)
def test_weights_whose_activations_overflow_are_refused(
    checkpoint: Checkpoint, name: str, largest: float, reason: str
) -> None:
    key = f"latent_codec.{name}"
    weight = checkpoint.state[key]
    damaged = replace(checkpoint, state=checkpoint.state | {key: weight * (largest / weight.abs().max())})
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    with pytest.raises(CheckpointError, match=f"(?s){reason}.*download it again"):
        build(damaged, encode(damaged, [image]))
