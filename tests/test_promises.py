"""What SECURITY.md promises of hostile files and bundles, where no other test shows it."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from glic_deploy import BitstreamError, Codec, LimitError, Limits, container
from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend
from glic_deploy.bundle import Bundle
from glic_deploy.checksum import crc32c
from glic_deploy.limits import LARGEST_NETWORK
from glic_deploy.varint import write_varint

from .conftest import ROOT


class Counting(OnnxRuntimeBackend):
    """Counts what it runs."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, 1)
        self.ran: list[str] = []

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        self.ran.append(graph)
        return super().run(graph, inputs)


@pytest.fixture
def counting(engine: Path) -> Counting:
    return Counting(Bundle.open(engine))


def test_no_payload_makes_more_work_than_a_valid_one(engine: Path, counting: Counting) -> None:
    image = np.random.default_rng(5).integers(0, 256, (128, 192, 3), np.uint8)
    with Codec(engine, backend=counting) as codec:
        valid = codec.encode(image)
        counting.ran.clear()
        codec.decode(valid)
        work = list(counting.ran)
        assert len(work) == len(set(work))  # every graph once
        header = container.parse(valid).header
        for length in (0, 1, 1000, 100_000):
            for seed in range(4):
                noise = np.random.default_rng(seed).bytes(length)
                counting.ran.clear()
                with pytest.raises(BitstreamError):
                    codec.decode(container.pack(header, noise, 0))
                assert "synthesis" not in counting.ran
                assert counting.ran == work[: len(counting.ran)]


def test_a_payload_is_bounded_by_the_image(engine: Path, counting: Counting) -> None:
    header = container.parse(encoded(engine, counting)).header
    with pytest.raises(LimitError, match="payload has"):
        container.parse(container.pack(header, bytes(1 << 20), 0), Limits())


def test_every_tile_takes_bytes_of_the_file(engine: Path, counting: Counting) -> None:
    """A short file cannot claim many tiles: each has 12 bytes in the table."""
    header = container.parse(encoded(engine, counting)).header
    wide = container.Header(16384, 16384, header.exact, True, header.model_fingerprint, header.arithmetic_fingerprint)
    geometry = b"".join(write_varint(value) for value in (1, 1, 0))
    front = container.pack_front(wide, 1000)
    data = front + geometry + bytes(1000)
    with Codec(engine, backend=counting) as codec, pytest.raises(BitstreamError):
        codec.decode(data + struct.pack("<I", crc32c(data)))
    assert counting.ran == []


def test_memory_is_bounded_by_the_limits() -> None:
    limits = Limits(max_memory=LARGEST_NETWORK.needed(512, 512))
    limits.check_memory(512, 512)
    with pytest.raises(LimitError, match="max-memory"):
        limits.check_memory(640, 512)


def test_nothing_that_a_bundle_holds_is_unpickled() -> None:
    """Neither pickle nor numpy's loader, which can unpickle, is used by the runtime."""
    for path in (ROOT / "glic_deploy").rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"^\s*(import|from) (pickle|marshal|shelve)\b|np\.load\(", text, re.MULTILINE), path


def test_every_promise_names_a_test_that_exists() -> None:
    named = re.findall(r"`(tests/\w+\.py)(?:::(\w+))?(?:::(\w+))?`", (ROOT / "SECURITY.md").read_text())
    assert len(named) >= 10
    for file, *names in named:
        source = (ROOT / file).read_text()
        for name in filter(None, names):
            assert re.search(rf"^\s*(def|class) {name}\b", source, re.MULTILINE), f"{file} has no {name}"


def encoded(engine: Path, backend: Counting) -> bytes:
    with Codec(engine, backend=backend) as codec:
        data = codec.encode(np.zeros((64, 64, 3), np.uint8))
    backend.ran.clear()
    return data


def test_the_memory_that_is_allowed_is_compared_with_what_the_bundle_needs(engine: Path) -> None:
    """A small network is not cut into tiles as if it were of the released size."""
    with Codec(engine) as codec:
        small = codec.limits.network
    assert small.needed(768, 512) < LARGEST_NETWORK.needed(768, 512) // 2
    between = Limits(max_memory=LARGEST_NETWORK.needed(512, 512) - 1)
    with pytest.raises(LimitError):
        between.check_memory(512, 512)
    with Codec(engine, limits=between) as codec:
        codec.limits.check_memory(512, 512)
