"""A decoder written from plugins_cpp/rans/README.md alone, in plain Python, with which the native one must agree."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

LOW = 1 << 23
GROUP = 32


class ReferenceDecoder:
    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data[::-1])  # reversed: the next byte is popped from the end
        rows, log = divmod(self.varint(), 8)
        self.phases = [(rows, 1 << log)] if rows else []
        if log == 6:
            narrow_rows, more = divmod(self.varint(), 4)
            assert narrow_rows
            self.phases = [(rows, 64 << more), (narrow_rows, GROUP)]
        assert (log > 0) == (rows > 0)
        assert log < 7
        self.lanes = self.states(self.phases[0][1]) if rows else [0]
        if not rows:
            self.fill(0)

    @property
    def lane_count(self) -> int:
        return len(self.lanes)

    @property
    def rows(self) -> int:
        """Rows left of the lanes that are open now; 0 if the first lane is alone."""
        return self.phases[0][0] if self.phases else 0

    def varint(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self.data.pop()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                assert byte or shift == 7
                return value

    def states(self, count: int) -> list[int]:
        field, place = int.from_bytes(self.data[::-1], "little"), 3 * count
        lanes = []
        for j in range(count):
            size = 23 + (field >> 3 * j & 7)
            lanes.append(1 << size | (field >> place) % (1 << size))
            place += size
        self.padding = -place % 8
        whole = (place + self.padding) // 8
        assert (field >> place) % (1 << self.padding) == 0
        assert whole <= len(self.data)
        del self.data[len(self.data) - whole :]
        return lanes

    def fill(self, lane: int) -> None:
        while self.lanes[lane] < LOW and (self.data or self.rows):
            self.lanes[lane] = self.lanes[lane] << 8 | self.data.pop()

    def bits(self, lane: int, count: int) -> int:
        value = self.lanes[lane] & ((1 << count) - 1)
        self.lanes[lane] >>= count
        self.fill(lane)
        return value

    def escape(self, lane: int, first: int, end: int) -> int:
        head = self.bits(lane, 5)
        length = head >> 1
        distance = length and (self.bits(lane, 16) if length == 15 else 1 << (length - 1) | self.bits(lane, length - 1))
        return first - 1 - distance if head & 1 else end + distance

    def group(self, first_lane: int, cdfs: list[list[int]], offsets: Sequence[int]) -> list[int]:
        """Decode one symbol from each of len(cdfs) lanes."""
        lanes, slots = range(first_lane, first_lane + len(cdfs)), []
        for j, cdf in zip(lanes, cdfs, strict=True):
            state = self.lanes[j]
            slot = bisect_right(cdf, state & 0xFFFF) - 1
            self.lanes[j] = (cdf[slot + 1] - cdf[slot]) * (state >> 16) + (state & 0xFFFF) - cdf[slot]
            slots.append(slot)
        if not self.rows:
            self.fill(0)
        for j in [*lanes, *lanes] if self.rows else []:
            if self.lanes[j] < LOW:
                self.lanes[j] = self.lanes[j] << 8 | self.data.pop()
        ends = [len(cdf) - 2 for cdf in cdfs]
        return [
            offset + slot if slot < end else self.escape(j, offset, offset + end)
            for j, slot, end, offset in zip(lanes, slots, ends, offsets, strict=True)
        ]

    def decode(self, cdfs: list[list[int]], offsets: Sequence[int], indexes: Iterable[int]) -> list[int]:
        """Decode one pass; cdfs without padding."""
        todo, symbols = list(indexes), []
        while todo:
            row, todo = todo[: len(self.lanes)], todo[len(self.lanes) :]
            for lane in range(0, len(row), GROUP):
                group = row[lane : lane + GROUP]
                symbols += self.group(lane, [cdfs[i] for i in group], [offsets[i] for i in group])
            if self.phases:
                rows, lanes = self.phases[0]
                self.phases[0] = rows - 1, lanes
                if rows == 1:
                    self.close()
        return symbols

    def close(self) -> None:
        del self.phases[0]
        kept = self.phases[0][1] if self.phases else 1
        for state in reversed(self.lanes[kept:]):
            assert state >> 24 == 1
            self.data += (state & 0xFFFFFF).to_bytes(3, "little")
        del self.lanes[kept:]

    def finish(self) -> None:
        assert (self.phases, self.lanes, self.data) == ([], [0xFFFF], bytearray())
