"""A decoder written from plugins_cpp/rans/README.md alone, in plain Python: what the native one must agree with."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

LOW = 1 << 23


class ReferenceDecoder:
    def __init__(self, data: bytes) -> None:
        self.data, header, shift = bytearray(data[::-1]), 0, 0  # reversed: the next byte is popped from the end
        while True:
            byte = self.data.pop()
            header |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        self.rows, count = header >> 3, 1 << (header & 7)
        assert count <= 32
        assert (count > 1) == (self.rows > 0)
        self.lanes = [0] * count
        self.fill(rounds=4)

    def fill(self, rounds: int) -> None:
        for _ in range(rounds):
            for j, state in enumerate(self.lanes):
                if state < LOW and (self.data or self.rows):
                    self.lanes[j] = state << 8 | self.data.pop()

    def bits(self, lane: int, count: int) -> int:
        value = self.lanes[lane] & ((1 << count) - 1)
        self.lanes[lane] >>= count
        while self.lanes[lane] < LOW and (self.data or self.rows):
            self.lanes[lane] = self.lanes[lane] << 8 | self.data.pop()
        return value

    def escape(self, lane: int, first: int, end: int) -> int:
        head = self.bits(lane, 5)
        length = head >> 1
        distance = length and (self.bits(lane, 16) if length == 15 else 1 << (length - 1) | self.bits(lane, length - 1))
        return first - 1 - distance if head & 1 else end + distance

    def row(self, cdfs: list[list[int]], offsets: Sequence[int]) -> list[int]:
        """One symbol from each of the first len(cdfs) lanes."""
        slots = []
        for j, cdf in enumerate(cdfs):
            state = self.lanes[j]
            slot = bisect_right(cdf, state & 0xFFFF) - 1
            self.lanes[j] = (cdf[slot + 1] - cdf[slot]) * (state >> 16) + (state & 0xFFFF) - cdf[slot]
            slots.append(slot)
        self.fill(rounds=2)
        ends = [len(cdf) - 2 for cdf in cdfs]
        return [
            offset + slot if slot < end else self.escape(j, offset, offset + end)
            for j, (slot, end, offset) in enumerate(zip(slots, ends, offsets, strict=True))
        ]

    def decode(self, cdfs: list[list[int]], offsets: Sequence[int], indexes: Iterable[int]) -> list[int]:
        """One pass; cdfs without padding."""
        todo, symbols = list(indexes), []
        while todo:
            row, todo = todo[: len(self.lanes)], todo[len(self.lanes) :]
            symbols += self.row([cdfs[i] for i in row], [offsets[i] for i in row])
            if self.rows:
                self.rows -= 1
                if not self.rows:
                    self.close()
        return symbols

    def close(self) -> None:
        for state in reversed(self.lanes[1:]):
            assert state >> 24 == 1
            self.data += (state & 0xFFFFFF).to_bytes(3, "little")
        del self.lanes[1:]

    def finish(self) -> None:
        assert (self.rows, self.lanes, self.data) == (0, [0xFFFF], bytearray())
