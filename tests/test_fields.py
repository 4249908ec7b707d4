"""Optional fields and attachments: unknown ones are skipped or refused, and damage to an attachment costs it alone."""

from __future__ import annotations

import dataclasses
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glic_deploy import BitstreamError, LimitError, Limits, container, fields
from glic_deploy.checksum import crc32c
from glic_deploy.container import Header
from glic_deploy.fields import Field, attached
from glic_deploy.varint import write_varint

HEADER = Header(5, 7, True, False, b"MMMM", b"AAAA")
CONTENTS = (b"first attachment", b"", b"third, somewhat longer")
ATTACHED = tuple(attached(number, content) for number, content in zip((3, 9, 200), CONTENTS, strict=True))


def file_with(*optional: Field, attachments: tuple[bytes, ...] = ()) -> bytes:
    return container.pack(dataclasses.replace(HEADER, fields=optional), b"abc", 0, attachments)


def with_raw_fields(raw: bytes) -> bytes:
    """Return a file whose optional fields are these bytes, under a valid checksum."""
    empty = container.pack(HEADER, b"abc", 0)
    start = empty.index(b"MMMMAAAA") + 8
    body = empty[:start] + write_varint(len(raw)) + raw + empty[start + 1 : -4]
    return body + struct.pack("<I", crc32c(body))


def contents(data: bytes) -> list[bytes]:
    """Return the contents of all attachments. Raises BitstreamError at the first one that is damaged."""
    front = container.read_front(memoryview(data))
    behind = memoryview(data)[front.frame_end :]
    found = (container.attachment(front.header, behind, field.number) for field in front.header.fields)
    return [bytes(content) for content in found if content is not None]


@st.composite
def optional_fields(draw: st.DrawFn) -> tuple[tuple[Field, ...], list[bytes]]:
    """Ignorable fields with ascending keys, and the contents of those that are attached."""
    numbers = sorted(draw(st.sets(st.integers(0, 2**30 - 1), max_size=8)))
    made: list[Field] = []
    behind: list[bytes] = []
    for number in numbers:
        content = draw(st.binary(max_size=60))
        if draw(st.booleans()):
            made.append(attached(number, content))
            behind.append(content)
        else:
            made.append(Field(4 * number, content))
    return tuple(made), behind


class TestFields:
    @given(optional_fields())
    def test_fields_and_attachments_come_back(self, made: tuple[tuple[Field, ...], list[bytes]]) -> None:
        optional, behind = made
        header = dataclasses.replace(HEADER, fields=optional)
        data = container.pack(header, b"abc", 9, behind)
        assert container.parse(data) == container.File(header, memoryview(b"abc"), 9)
        assert container.parse_header(data) == header
        assert contents(data) == behind

    @given(st.integers(0, 2**30 - 1), st.binary(max_size=100), st.sampled_from([0, 2]))
    def test_unknown_ignorable_fields_are_skipped(self, number: int, content: bytes, kind: int) -> None:
        field = Field(4 * number, content) if kind == 0 else attached(number, content)
        data = file_with(field, attachments=(content,) if kind else ())
        assert container.parse(data).payload == b"abc"

    @pytest.mark.parametrize("number", [0, 1, 2, 3, 77, 2**30 - 1])
    @pytest.mark.parametrize("kind", [1, 3])
    def test_critical_fields_are_refused_by_number(self, number: int, kind: int) -> None:
        """No critical field is known yet, whatever its number."""
        value = b"x" if kind == 1 else attached(number, b"").value
        data = file_with(Field(4 * number + kind, value))
        for read in (container.parse, container.parse_header):
            with pytest.raises(BitstreamError, match=rf"critical field {number}, .*upgrade glic-deploy"):
                read(data)

    @pytest.mark.parametrize(
        "raw",
        [
            b"\x08\x01a\x04\x01b",  # descending keys
            b"\x08\x01a\x08\x01b",  # the same key twice
            b"\x08",  # no length
            b"\x08\x02a",  # a value beyond the end
            b"\x88\x00\x01a",  # a key in more bytes than needed
            b"\x08\x81\x00a",  # a length in more bytes than needed
            b"\xff\xff\xff\xff\x1f\x01a",  # a key of 33 bits
            b"\x0a\x04\x00\x00\x00\x00",  # an attached field without its checksum
            b"\x0a\x06\x00\x00\x00\x00\x00\x00",  # an attached field with a byte too many
            b"\x0a\x06\x80\x00\x00\x00\x00\x00",  # a size in more bytes than needed
            b"\x0a\x00",  # an attached field without a value
        ],
    )
    def test_bytes_that_break_a_rule_are_refused(self, raw: bytes) -> None:
        with pytest.raises(BitstreamError, match=r"optional fields at bytes 20 to \d+ break a rule"):
            container.parse(with_raw_fields(raw))

    def test_bytes_that_keep_the_rules_are_accepted(self) -> None:
        header = container.parse(with_raw_fields(b"\x08\x01a\x0c\x01b")).header
        assert header.fields == (Field(8, b"a"), Field(12, b"b"))

    def test_the_longest_fields(self) -> None:
        longest = Field(4, bytes(fields.MAX_BYTES - 3))
        assert container.parse(file_with(longest)).header.fields == (longest,)
        with pytest.raises(ValueError, match="1025 bytes, at most 1024"):
            file_with(longest._replace(value=longest.value + b"x"))
        with pytest.raises(BitstreamError, match="1,025 bytes, at most 1,024"):
            container.parse(with_raw_fields(fields.write([longest]) + b"x"))

    def test_writers_must_order_the_fields(self) -> None:
        with pytest.raises(ValueError, match=r"\[8, 4\], expected ascending"):
            file_with(Field(8, b""), Field(4, b""))

    @given(st.binary(max_size=40))
    def test_noise_is_refused_or_has_one_encoding(self, noise: bytes) -> None:
        area = memoryview(b"front" + noise)
        try:
            found = fields.read(area, 5)
        except BitstreamError:
            return
        assert fields.write(found) == noise


class TestAttachments:
    DATA = file_with(*ATTACHED, attachments=CONTENTS)
    FRAME = len(DATA) - len(b"".join(CONTENTS))

    def test_every_cut_in_an_attachment_leaves_the_image(self) -> None:
        whole = container.parse(self.DATA)
        ends = [self.FRAME + sum(map(len, CONTENTS[: index + 1])) for index in range(3)]
        for length in range(self.FRAME, len(self.DATA)):
            cut = memoryview(self.DATA[:length])
            assert container.parse(cut) == whole
            for number, end, content in zip((3, 9, 200), ends, CONTENTS, strict=True):
                if end <= length or not content:
                    assert container.attachment(whole.header, cut[self.FRAME :], number) == content
                else:
                    with pytest.raises(BitstreamError, match="cut short"):
                        container.attachment(whole.header, cut[self.FRAME :], number)

    def test_every_cut_in_the_frame_is_an_error(self) -> None:
        for length in range(self.FRAME):
            with pytest.raises(BitstreamError, match="cut short"):
                container.parse(self.DATA[:length])

    def test_every_flipped_bit_costs_its_attachment_alone(self) -> None:
        whole = container.parse(self.DATA)
        for bit in range(8 * self.FRAME, 8 * len(self.DATA)):
            altered = bytearray(self.DATA)
            altered[bit // 8] ^= 1 << bit % 8
            assert container.parse(altered) == whole
            behind = memoryview(altered)[self.FRAME :]
            lost = 3 if bit // 8 < self.FRAME + len(CONTENTS[0]) else 200
            for number, content in zip((3, 9, 200), CONTENTS, strict=True):
                if number == lost:
                    with pytest.raises(BitstreamError, match="attachment's bytes give"):
                        container.attachment(whole.header, behind, number)
                else:
                    assert container.attachment(whole.header, behind, number) == content

    def test_every_flipped_bit_of_the_frame_is_found(self) -> None:
        for bit in range(8 * self.FRAME):
            altered = bytearray(self.DATA)
            altered[bit // 8] ^= 1 << bit % 8
            with pytest.raises(BitstreamError):
                container.parse(altered)

    @settings(max_examples=30)
    @given(st.binary(min_size=1, max_size=9))
    def test_what_follows_the_last_attachment_is_refused(self, more: bytes) -> None:
        with pytest.raises(BitstreamError, match="something was appended"):
            container.parse(self.DATA + more)

    def test_a_number_that_no_attachment_has(self) -> None:
        header = container.parse(self.DATA).header
        assert container.attachment(header, memoryview(b""), 4) is None
        inline = dataclasses.replace(HEADER, fields=(Field(4 * 3, b"inline"),))
        assert container.attachment(inline, memoryview(b""), 3) is None

    def test_attachments_are_bounded_by_the_limits(self) -> None:
        size = len(b"".join(CONTENTS))
        container.parse(self.DATA, Limits(max_metadata=size))
        for read in (container.parse, container.parse_header):
            with pytest.raises(LimitError, match=f"metadata has {size} bytes, at most {size - 1} allowed"):
                read(self.DATA, Limits(max_metadata=size - 1))

    def test_sizes_that_only_the_header_states_cost_nothing(self) -> None:
        huge = Field(4 * 1 + 2, write_varint(2**32 - 1) + bytes(4))
        with pytest.raises(LimitError, match="4,294,967,295 bytes"):
            container.parse(file_with(huge))
