"""What the bits of a `.glic` file are spent on: per pass, and per 16×16 block of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..entropy.costs import symbol_bits
from ..entropy.passes import CodedPass, unpack_into

BLOCK = 16
_Z_BLOCKS = 4  # a position of z spans 4×4 positions of y

Tables = Mapping[str, NDArray[np.int32]]


def pass_name(coded: CodedPass) -> str:
    """`z`, `slice0_anchors`, `slice0_nonanchors` and so on."""
    if coded.part is None:
        return "z"
    return coded.part.graph


def element_bits(coded: CodedPass, tables: Tables) -> NDArray[np.float64]:
    """Bits that each symbol of a pass costs an ideal coder with the bundle's tables, escapes included; same shape."""
    latent = "z" if coded.part is None else "y"
    cdfs, lengths, offsets = (tables[f"{latent}_{part}"] for part in ("cdfs", "lengths", "offsets"))
    return symbol_bits(coded.symbols, coded.indexes, cdfs, lengths, offsets)


def parts(passes: Sequence[CodedPass], tables: Tables, payload_bytes: int, file_bytes: int) -> dict[str, float]:
    """Bits of a file by what they are for; they sum to 8 · file_bytes.

    Passes at the ideal coder's cost; `range coder` is what the real payload has beyond their sum, `header` the rest.
    """
    bits: dict[str, float] = {}
    for coded in passes:  # tiles have the same ones each
        name = pass_name(coded)
        bits[name] = bits.get(name, 0.0) + float(element_bits(coded, tables).sum())
    estimated = sum(bits.values())
    return {**bits, "range coder": 8 * payload_bytes - estimated, "header": 8.0 * (file_bytes - payload_bytes)}


def estimated_bits(file_parts: Mapping[str, float]) -> float:
    """What an ideal coder would need for the symbols of a file with these `parts`."""
    return sum(bits for name, bits in file_parts.items() if name not in ("range coder", "header"))


def block_bits(passes: Sequence[CodedPass], tables: Tables) -> NDArray[np.float64]:
    """Bits per BLOCK×BLOCK block of the padded image, (h, w); z's are shared evenly by the blocks they span."""
    z = next(coded for coded in passes if coded.part is None)
    total = np.kron(element_bits(z, tables).sum((0, 1)), np.full((_Z_BLOCKS, _Z_BLOCKS), _Z_BLOCKS**-2))
    for coded in passes:
        if coded.part is not None:
            full = np.zeros((1, 1, *total.shape), np.float32)
            bits = element_bits(coded, tables).sum(1, keepdims=True).astype(np.float32)
            unpack_into(full, bits, coded.part.parity)
            total += full[0, 0]
    return total


def blocks_shown(width: int, height: int) -> tuple[slice, slice]:
    """The rows and columns of `block_bits` that an image of this size covers; the others are padding."""
    return slice(-(-height // BLOCK)), slice(-(-width // BLOCK))
