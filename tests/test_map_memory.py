"""The native memory for maps: blocks never overlap, gaps join again, surplus pages go back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given
from hypothesis import strategies as st

from .kernels import library

PAGE = 4096
MIB = 1 << 20


class Use(ctypes.Structure):
    """glic_map_memory_use"""

    _fields_ = (("in_use", ctypes.c_size_t), ("touched", ctypes.c_size_t))


class MapMemory:
    """glic_map_memory"""

    def __init__(self, reserved: int, kept: int) -> None:
        self.lib = library()
        for name, result, arguments in (
            ("open", ctypes.c_void_p, [ctypes.c_size_t] * 2),
            ("take", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t]),
            ("give_back", ctypes.c_int, [ctypes.c_void_p] * 2),
            ("used", Use, [ctypes.c_void_p]),
            ("close", None, [ctypes.c_void_p]),
        ):
            function = getattr(self.lib, f"glic_map_memory_{name}")
            function.restype, function.argtypes = result, arguments
        self.handle = self.lib.glic_map_memory_open(reserved, kept)
        assert self.handle

    def take(self, size: int) -> int | None:
        return self.lib.glic_map_memory_take(self.handle, size)

    def give_back(self, block: int) -> bool:
        return bool(self.lib.glic_map_memory_give_back(self.handle, block))

    @property
    def use(self) -> Use:
        return self.lib.glic_map_memory_used(self.handle)


@contextmanager
def map_memory(reserved: int, kept: int = 0) -> Iterator[MapMemory]:
    memory = MapMemory(reserved, kept)
    yield memory
    memory.lib.glic_map_memory_close(memory.handle)


def resident(address: int, size: int) -> int:
    """Bytes of a mapping that are in memory."""
    pages = (ctypes.c_ubyte * (size // PAGE))()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), pages) == 0
    return PAGE * sum(page & 1 for page in pages)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3 * MIB)), max_size=60))
def test_blocks_are_apart_and_gaps_join(steps: list[tuple[bool, int]]) -> None:
    reserved = 16 * MIB
    with map_memory(reserved) as memory:
        taken: dict[int, int] = {}
        for take, number in steps:
            if take:
                block = memory.take(number)
                if block is None:
                    continue
                assert block % PAGE == 0
                ctypes.memset(block, 0xA5, number)
                assert all(block + number <= other or other + size <= block for other, size in taken.items())
                taken[block] = number
            elif taken:
                block = list(taken)[number % len(taken)]
                size = taken.pop(block)
                assert ctypes.string_at(block, size) == b"\xa5" * size
                assert memory.give_back(block)
        for block in taken:
            assert memory.give_back(block)
        assert memory.use.in_use == 0
        assert memory.take(reserved) is not None, "what was given back is one gap again"


def test_what_is_given_back_is_used_again() -> None:
    with map_memory(64 * MIB, kept=64 * MIB) as memory:
        first = memory.take(8 * MIB)
        memory.give_back(first)
        assert memory.take(8 * MIB) == first
        assert memory.use.touched == 8 * MIB


def test_surplus_returns_to_the_system() -> None:
    with map_memory(64 * MIB, kept=4 * MIB) as memory:
        block = memory.take(32 * MIB)
        ctypes.memset(block, 1, 32 * MIB)
        assert resident(block, 32 * MIB) == 32 * MIB
        memory.give_back(block)
        assert resident(block, 32 * MIB) == 4 * MIB
        assert memory.use.touched == 4 * MIB


def test_what_does_not_fit_or_is_not_from_here_is_refused() -> None:
    with map_memory(4 * MIB) as memory:
        for size in (5 * MIB, 1 << 63, (1 << 64) - 1):
            assert memory.take(size) is None
        elsewhere = ctypes.create_string_buffer(1)
        assert not memory.give_back(ctypes.addressof(elsewhere))
        block = memory.take(1)
        assert memory.give_back(block)
        assert not memory.give_back(block), "twice"
