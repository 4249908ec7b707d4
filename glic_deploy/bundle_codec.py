"""The codec of one bundle on one backend: padded images to range-coded payloads, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import conformance
from .backends import Backend, Precision, open_backend, require_precision
from .backends.declarations import ON_THE_CPU
from .bundle import PREVIEW, Bundle
from .channels import as_rgb
from .checksum import symbol_checksum
from .container import Header
from .cuda_arrays import CudaArray, CudaImage
from .entropy.masking import error_weights
from .entropy.passes import CodedPass, HostSteps, RunGraph, Symbols, walk
from .entropy.quantizer import NEAREST, Costs, Quantizer, Weighing
from .entropy.rans import CdfTables, Decoder, Encoder
from .errors import BitstreamError, EngineError, LimitError, ModelMismatchError
from .image import box_reduced, pad
from .limits import CODED_MULTIPLE, Limits
from .notices import PROCESS
from .scales import SCALES, shrunk
from .stages import stage
from .steps import Pass, Steps
from .values import Value, fetch

if TYPE_CHECKING:
    from .backends.device_images import DeviceImages


@dataclass(frozen=True)
class Latents:
    """The latents of a padded image.

    Attributes:
        image: the padded image, uint8 (H, W, 3), which may be on a device.
        y: its latents, float32 (1, M, h, w), which may be on a device.
        z_symbols: the symbols of z, int16 (1, N, h/4, w/4), likewise.
    """

    image: Value
    y: Value
    z_symbols: Value

    @cached_property
    def error_weights(self) -> NDArray[np.float32]:
        """How much error each position of y hides, float32 (h, w)."""
        return error_weights(np.asarray(self.image))


@dataclass(frozen=True)
class CodedLatents:
    """Coded latents.

    Attributes:
        payload: the range-coded stream.
        checksum: the checksum of its symbols.
        y_hat: the latents that decoders make of it, float32 (1, M, h, w), which may be on a device.
        symbols, indexes: the symbols of each pass of y, and their CDF indexes.
    """

    payload: bytes
    checksum: int
    y_hat: Value
    symbols: tuple[Symbols, ...]
    indexes: tuple[NDArray[np.uint8], ...]


class BundleCodec:
    """Encodes and decodes padded images with one bundle. Safe to use from several threads at once.

    Args:
        directory: the bundle.
        backend: the name of the backend that runs the graphs, or a Backend object. None selects the best installed one.
        threads: the number of threads of the backend; None uses all cores. The attribute `threads` keeps the value.
        precision: the precision of the transforms; None selects the backend's default.
        device: the number of the GPU; None selects a CPU backend too, and the first GPU.

    Raises EngineError if the bundle cannot be opened, if no backend can run it, or if the backend computes the entropy
    path wrongly on this machine (see `glic_deploy.conformance`).
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        backend: str | Backend | None = None,
        threads: int | None = None,
        precision: Precision | None = None,
        device: int | None = None,
    ) -> None:
        self.bundle = Bundle.open(directory)
        self.threads = threads
        self._tables = tables = self.bundle.tables()
        self._y_tables, self._z_tables = (
            CdfTables(tables[f"{latent}_cdfs"], tables[f"{latent}_lengths"], tables[f"{latent}_offsets"])
            for latent in "yz"
        )
        if not isinstance(backend, Backend):
            backend = open_backend(self.bundle, backend, threads, precision, device)
        require_precision(backend, precision)
        self._backend = backend
        self._open = True
        if self.bundle.exact:
            conformance.ensure(self.bundle, self._backend)
        else:
            backend.notices.add(
                f"{self.bundle.path} has floating-point entropy parameters: its files decode only on the machine, "
                "with the backend and number of threads that wrote them; to keep files, export the checkpoint without "
                "--entropy float"
            )

    @cached_property
    def costs(self) -> Costs:
        """What symbols cost, computed when an encoder first weighs bits against error."""
        return Costs(self._tables)

    def close(self) -> None:
        """Free the backend. The codec cannot be used afterwards."""
        if self._open:
            self._open = False
            self._backend.close()

    def __del__(self) -> None:
        if hasattr(self, "_backend"):
            self.close()

    def describe(self) -> dict[str, Any]:
        """Describe the backend and the bundle. `notices` lists what is slower than necessary, with remedies."""
        notices = [*PROCESS, *self._backend.notices]
        return {"backend": self._backend.describe(), "engine": self.bundle.describe(), "notices": notices}

    def check_arithmetic(self) -> str:
        """Run the conformance vectors even if a passed check is cached. Raises EngineError if any bit is wrong."""
        if not self.bundle.exact:
            return "floating point: files decode only on the machine that wrote them"
        compared = conformance.check(self.bundle, self._backend)
        return f"exact: {compared:,} conformance values reproduced bit for bit"

    def tile_that_fits(self, width: int, height: int, tile: int | None, limits: Limits) -> int | None:
        """Return `tile`; the largest side of a tile that the device can code, if `tile` is None and the image is not.

        Raises LimitError if the device cannot code the smallest tile.
        """
        if tile is not None or self._refusal(width, height) is None:
            return tile
        for side in range(8 * CODED_MULTIPLE, CODED_MULTIPLE, -CODED_MULTIPLE):
            if limits.fits_memory(side, side) and self._refusal(side, side) is None:
                return side
        self._check_device(side, side)
        return side

    def _refusal(self, width: int, height: int) -> str | None:
        return self._backend.refusal(*(-(-side // CODED_MULTIPLE) * CODED_MULTIPLE for side in (height, width)))

    def _check_device(self, width: int, height: int) -> None:
        """Raise LimitError, before anything is allocated, if the device cannot code an image of this size at once."""
        if reason := self._refusal(width, height):
            raise LimitError(f"{reason}; encode in tiles (--tile, tile=...), or use the CPU: {ON_THE_CPU}")

    def analyse(self, image: NDArray[np.uint8] | CudaImage, stages: dict[str, float] | None = None) -> Latents:
        """Return the latents of an image, uint8 (H, W, 3) or grey (H, W), which is padded to `CODED_MULTIPLE`.

        The pixels of a CudaImage stay on the GPU if they are in the memory of the backend's.
        """
        return self._latents(self._padded(image, stages), stages)

    def _latents(self, padded: Value, stages: dict[str, float] | None) -> Latents:
        run = self._runner(stages)
        y = run("analysis", image=padded)[0]
        return Latents(padded, y, run("hyper_analysis", y=y)[0])

    def _padded(self, image: NDArray[np.uint8] | CudaImage, stages: dict[str, float] | None) -> Value:
        self._require_open()
        height, width = image.shape[:2]
        self._check_device(width, height)
        images = self._backend.images()
        with stage(stages, "pad"):
            if isinstance(image, CudaImage) and images is not None and images.owns(image):
                return images.place(image, *(-(-side // CODED_MULTIPLE) * CODED_MULTIPLE for side in (height, width)))
            return pad(as_rgb(np.asarray(image)))

    def code(
        self, latents: Latents, stages: dict[str, float] | None = None, weighing: Weighing = NEAREST
    ) -> CodedLatents:
        """Quantise and code latents.

        Args:
            latents: what `analyse` returned.
            stages: receives the seconds that each stage took.
            weighing: how bits are weighed against error.
        """
        y_hat, symbols, indexes = self._choose(latents, stages, weighing)
        payload, checksum, read_symbols, read_indexes = self._pushed(latents.z_symbols, symbols, indexes, stages)
        return CodedLatents(payload, checksum, y_hat, read_symbols, read_indexes)

    def _choose(
        self, latents: Latents, stages: dict[str, float] | None, weighing: Weighing
    ) -> tuple[Value, list[Value], list[Value]]:
        """Return y_hat, and the symbols and indexes of all passes, without waiting for any of them."""
        fetch(latents.z_symbols)
        quantizer = Quantizer(self.costs, weighing, latents.error_weights) if weighing.strength else None
        steps = self._steps(latents.z_symbols.shape)
        chosen: list[Value] = []
        coded_with: list[Value] = []

        def step(part: Pass, indexes: Value, means: Value) -> Value:
            symbols = steps.quantize(part, latents.y, means, indexes, quantizer)
            fetch(symbols)
            chosen.append(symbols)
            coded_with.append(indexes)
            return symbols

        y_hat = walk(self.bundle.groups, self._runner(stages), latents.z_symbols, step, steps)
        return y_hat, chosen, coded_with

    def _pushed(
        self,
        z_symbols: Value,
        symbols: Sequence[Value],
        indexes: Sequence[Value],
        stages: dict[str, float] | None,
    ) -> tuple[bytes, int, tuple[Symbols, ...], tuple[NDArray[np.uint8], ...]]:
        """Wait for the symbols and indexes; return the payload, its symbol checksum, and both as arrays."""
        last = Pass(len(self.bundle.groups) - 1, 0, 0, parity=1)
        with stage(stages, last.graph):  # a GPU is waited for once: what is read first comes last
            read_symbols, read_indexes = (
                tuple(np.asarray(value) for value in reversed(values))[::-1] for values in (symbols, indexes)
            )
            z_symbols = np.asarray(z_symbols)
        with stage(stages, "range coder"):
            encoder = Encoder()
            encoder.push(self._z_tables, z_symbols, _channels(z_symbols))
            for pair in zip(read_symbols, read_indexes, strict=True):
                encoder.push(self._y_tables, *pair)
            return encoder.finish(), symbol_checksum((z_symbols, *read_symbols)), read_symbols, read_indexes

    def analyse_and_code(
        self,
        image: NDArray[np.uint8] | CudaImage,
        stages: dict[str, float] | None = None,
        weighing: Weighing = NEAREST,
    ) -> tuple[Latents, bytes, int]:
        """Return the latents of an image, its payload and its symbol checksum; see `analyse` and `code`.

        A GPU computes both at once if bits are not weighed, because only then the host has no part in it.
        """
        if weighing.strength:
            latents = self.analyse(image, stages)
            coded = self.code(latents, stages, weighing)
            return latents, coded.payload, coded.checksum

        def work(image: Value) -> list[Value]:
            latents = self._latents(image, stages)
            _, symbols, indexes = self._choose(latents, stages, weighing)
            return [latents.y, latents.z_symbols, *symbols, *indexes]

        padded = self._padded(image, stages)
        y, z_symbols, *passes = self._backend.recorded("encode", work, padded)
        half = len(passes) // 2
        payload, checksum, _, _ = self._pushed(z_symbols, passes[:half], passes[half:], stages)
        return Latents(padded, y, z_symbols), payload, checksum

    def encode(
        self, image: NDArray[np.uint8], stages: dict[str, float] | None = None, weighing: Weighing = NEAREST
    ) -> tuple[bytes, int]:
        """Return the payload and the symbol checksum of an image; see `analyse` and `code`."""
        _, payload, checksum = self.analyse_and_code(image, stages, weighing)
        return payload, checksum

    def reconstruct(
        self,
        y_hat: Value,
        height: int,
        width: int,
        stages: dict[str, float] | None = None,
        scale: int = 1,
    ) -> NDArray[np.uint8]:
        """Return the image (height, width, 3) that decoders make of y_hat, or its preview at 1/scale size."""
        graph, reduced = ("synthesis", 1) if scale == 1 else (PREVIEW, SCALES[0])
        padded = self._runner(stages)(graph, y_hat=y_hat)[0]
        with stage(stages, graph):
            fetch(padded)
            padded = np.asarray(padded)
        with stage(stages, "crop"):
            return box_reduced(padded[: shrunk(height, reduced), : shrunk(width, reduced)], scale // reduced)

    def decode(
        self,
        payload: bytes | memoryview,
        checksum: int,
        height: int,
        width: int,
        stages: dict[str, float] | None = None,
        passes: list[CodedPass] | None = None,
        out: NDArray[np.uint8] | None = None,
        scale: int = 1,
    ) -> NDArray[np.uint8]:
        """Decode a payload that `encode` returned to the image, uint8 (height, width, 3).

        Args:
            payload: the range-coded stream.
            checksum: the checksum of the symbols, as `encode` returned it.
            height, width: the sides of the image before padding.
            stages: receives the seconds that each stage took.
            passes: receives the symbols and indexes of each pass.
            out: receives the image.
            scale: 1, or the scale of a preview, whose sides are height / scale and width / scale, rounded up.

        Raises BitstreamError if the payload is damaged, EngineError if a graph cannot be run or the bundle has no
        previews.
        """
        if scale > 1:
            self.bundle.check_previews()
        y_hat = self._decode_latents(payload, checksum, height, width, stages, passes)
        image = self.reconstruct(y_hat, height, width, stages, scale)
        with stage(stages, "crop"):
            if out is None:
                return np.ascontiguousarray(image)
            np.copyto(out, image)
            return out

    def decode_on_gpu(
        self,
        payload: bytes | memoryview,
        checksum: int,
        height: int,
        width: int,
        box: tuple[int, int, int, int],
        stages: dict[str, float] | None = None,
        passes: list[CodedPass] | None = None,
    ) -> CudaArray:
        """Decode a payload to a part (x, y, width, height) of the image, in the memory of the backend's GPU.

        The other arguments and the errors are those of `decode`. Raises EngineError too if the backend has no GPU.
        """
        images = self.gpu_images()
        y_hat = self._decode_latents(payload, checksum, height, width, stages, passes)
        padded = self._runner(stages)("synthesis", y_hat=y_hat)[0]
        with stage(stages, "crop"):
            return images.crop(padded, *box)

    def gpu_images(self) -> DeviceImages:
        """Return what reads and writes images in GPU memory. Raises EngineError if the backend has no GPU."""
        images = self._backend.images()
        if images is None:
            raise EngineError(
                f"device is 'cuda', but backend {self._backend.name} does not run on a GPU; open the codec on one, "
                "Codec(engine, device=0), or decode without device and copy the array to the GPU"
            )
        return images

    def decode_symbols(
        self,
        payload: bytes | memoryview,
        checksum: int,
        height: int,
        width: int,
        stages: dict[str, float] | None = None,
    ) -> list[CodedPass]:
        """Decode a payload to the symbols and indexes of all passes, without synthesis; like `decode` otherwise."""
        passes: list[CodedPass] = []
        self._decode_latents(payload, checksum, height, width, stages, passes)
        return passes

    def _decode_latents(
        self,
        payload: bytes | memoryview,
        checksum: int,
        height: int,
        width: int,
        stages: dict[str, float] | None,
        passes: list[CodedPass] | None,
    ) -> Value:
        run = self._runner(stages)
        self._check_device(width, height)
        rows, columns = (-(-side // CODED_MULTIPLE) for side in (height, width))
        decoded: list[CodedPass] = []

        def decode_pass(part: Pass | None, indexes: Value) -> Symbols:
            with stage(stages, part.graph if part else "range coder"):
                indexes = np.asarray(indexes)
            with stage(stages, "range coder"):
                symbols = decoder.decode(self._y_tables if part else self._z_tables, indexes)
            decoded.append(CodedPass(part, symbols, indexes))
            return symbols

        decoder = Decoder(payload)
        z_shape = (1, self.bundle.hyper, 2 * rows, 2 * columns)
        z_symbols = decode_pass(None, _channels(np.empty(z_shape, np.int16)))
        steps = self._steps(z_shape)
        y_hat = walk(self.bundle.groups, run, z_symbols, lambda part, indexes, _: decode_pass(part, indexes), steps)
        decoder.finish()
        if symbol_checksum(coded.symbols for coded in decoded) != checksum:
            raise BitstreamError(
                "the decoded symbols differ from the encoded ones (their checksums differ); "
                + (
                    "this machine computes wrongly: please report it with the output of: glic doctor --engine DIR"
                    if self.bundle.exact
                    else "a file with floating-point entropy parameters decodes only in the configuration that wrote it"
                )
            )
        if passes is not None:
            passes.extend(decoded)
        return y_hat

    def _steps(self, z_shape: tuple[int, ...]) -> Steps:
        sides = self.bundle.latent, *(4 * side for side in z_shape[2:])
        return self._backend.steps(*sides) or HostSteps(*sides)

    def check_fits(self, header: Header) -> None:
        """Raise ModelMismatchError unless this bundle decodes files with this header."""
        bundle = self.bundle
        for what, needed, found in (
            ("model", header.model_fingerprint, bundle.model_fingerprint),
            ("entropy arithmetic", header.arithmetic_fingerprint, bundle.arithmetic_fingerprint),
        ):
            if needed != found:
                raise ModelMismatchError(
                    f"the file was written with {what} {needed.hex()}, this bundle ({bundle.path}) has {found.hex()}; "
                    "decode it with the bundle of the checkpoint that wrote it"
                )
        if header.exact != bundle.exact:
            raise ModelMismatchError(
                f"the file needs {_profile(header.exact)} entropy arithmetic, this bundle ({bundle.path}) has "
                f"{_profile(bundle.exact)}; decode it with the bundle that wrote it"
            )

    def _require_open(self) -> None:
        if not self._open:
            raise EngineError("the codec is closed; open another: Codec(engine)")

    def _runner(self, stages: dict[str, float] | None) -> RunGraph:
        self._require_open()

        def run(graph: str, **inputs: Value) -> Sequence[Value]:
            with stage(stages, graph):
                outputs = self._backend.start(graph, inputs)
            self.bundle.check_outputs(graph, inputs, outputs)
            return outputs

        return run


def _profile(exact: bool) -> str:
    return "exact" if exact else "floating-point"


def _channels(z: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the index of the CDF table for every element of z, which is its channel."""
    indexes = np.arange(z.shape[1], dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(indexes[:, None, None], z.shape))
