"""The codec: pictures to `.glic` bytes and back, on one engine bundle."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import conformance, container
from .backends import Backend, open_backend
from .bundle import Bundle
from .checksum import symbol_checksum
from .container import Header
from .entropy.passes import CodedPass, Pass, RunGraph, Symbols, pack, quantize, walk
from .entropy.rans import CdfTables, Decoder, Encoder
from .errors import BitstreamError, EngineError, ModelMismatchError
from .image import Background, Source, load_image, pad
from .limits import CODED_MULTIPLE, DEFAULT_LIMITS, Limits
from .stages import Stages, stage


class Codec:
    """Encodes and decodes pictures with an engine bundle. Safe to use from several threads at once.

    Args:
        engine: directory of an engine bundle, as `python -m export.to_onnx` writes it.
        backend: name of the backend that runs the graphs, or one made already; None takes the best one installed.
        threads: threads of the backend; None takes all cores.
        limits: what to refuse; None takes `Limits()`.

    Raises EngineError when the bundle cannot be opened, no backend can run it, or the one that does computes the
    entropy path wrongly on this machine (see `glic_deploy.conformance`).
    """

    def __init__(
        self,
        engine: str | Path,
        *,
        backend: str | Backend | None = None,
        threads: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise EngineError(f"threads is {threads}, expected at least 1, or None for all cores")
        self._bundle = Bundle.open(engine)
        self._limits = limits or DEFAULT_LIMITS
        tables = self._bundle.tables()
        self._y_tables, self._z_tables = (
            CdfTables(tables[f"{latent}_cdfs"], tables[f"{latent}_lengths"], tables[f"{latent}_offsets"])
            for latent in "yz"
        )
        self._backend = backend if isinstance(backend, Backend) else open_backend(self._bundle, backend, threads)
        self._open = True
        if self._bundle.exact:
            conformance.ensure(self._bundle, self._backend)
        else:
            warnings.warn(
                f"{self._bundle.path} has floating-point entropy parameters: its files decode only on the machine, "
                "with the backend and number of threads that wrote them; export without --entropy float to keep files",
                stacklevel=2,
            )

    def __enter__(self) -> Codec:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the backend. The codec cannot be used afterwards."""
        if self._open:
            self._open = False
            self._backend.close()

    def describe(self) -> dict[str, Any]:
        """Backend, bundle and fingerprints, for people and for JSON."""
        return {"backend": self._backend.describe(), "engine": self._bundle.describe()}

    def check_arithmetic(self) -> str:
        """Run the bundle's conformance vectors again, whatever is cached. Raises EngineError on one wrong bit."""
        if not self._bundle.exact:
            return "floating point: files decode only where they were written"
        compared = conformance.check(self._bundle, self._backend)
        return f"exact: {compared:,} conformance values reproduced bit for bit"

    def encode(
        self, img: Source, *, background: Background | None = None, stages: dict[str, float] | None = None
    ) -> bytes:
        """Compress a picture to the bytes of a `.glic` file.

        Args:
            img: uint8 array (H, W, 3) or (H, W), a PIL image, or a path; `glic_deploy.image.load_image` says what else.
            background: RGB triple on which transparent pictures are composited; None refuses them.
            stages: filled with the seconds that each stage took, if given.

        Raises ImageError for a picture that cannot be read, LimitError for one too large, EngineError.
        """
        with stage(stages, "read"):
            picture = load_image(img, background=background, limits=self._limits)
        height, width = picture.shape[:2]
        with stage(stages, "pad"):
            padded = pad(picture)
        payload, checksum = self._encode_latents(padded, stages)
        header = Header(
            width=width,
            height=height,
            exact=self._bundle.exact,
            tiled=False,
            model_fingerprint=self._bundle.model_fingerprint,
            arithmetic_fingerprint=self._bundle.arithmetic_fingerprint,
        )
        return container.pack(header, payload, checksum)

    def _encode_latents(self, padded: NDArray[np.uint8], stages: dict[str, float] | None) -> tuple[bytes, int]:
        run = self._runner(stages)
        y = run("analysis", image=padded)[0]
        z_symbols = run("hyper_analysis", y=y)[0]
        coded: list[tuple[CdfTables, Symbols, NDArray[np.uint8]]] = [(self._z_tables, z_symbols, _channels(z_symbols))]

        def step(part: Pass, indexes: NDArray[np.uint8], means: NDArray[np.float32]) -> Symbols:
            symbols = quantize(pack(y[:, part.start : part.stop], part.parity), means)
            coded.append((self._y_tables, symbols, indexes))
            return symbols

        walk(self._bundle.groups, run, z_symbols, step)
        with stage(stages, "range coder"):
            encoder = Encoder()
            for tables, symbols, indexes in coded:
                encoder.push(tables, symbols, indexes)
            return encoder.finish(), symbol_checksum(symbols for _, symbols, _ in coded)

    def decode(
        self,
        data: bytes | bytearray | memoryview,
        *,
        stages: dict[str, float] | None = None,
        passes: list[CodedPass] | None = None,
    ) -> NDArray[np.uint8]:
        """Decompress the bytes of a `.glic` file to a uint8 array (H, W, 3).

        `stages` is filled with the seconds that each stage took, `passes` with what was coded, if given. Raises
        BitstreamError for a damaged file, ModelMismatchError for one of another model or arithmetic, LimitError for one
        too large, EngineError.
        """
        file = container.parse(data, self._limits)
        header = file.header
        self._check_fits(header)
        y_hat = self._decode_latents(file, stages, passes)
        padded = self._runner(stages)("synthesis", y_hat=y_hat)[0]
        with stage(stages, "crop"):
            return np.ascontiguousarray(padded[: header.height, : header.width])

    def _decode_latents(
        self, file: container.File, stages: dict[str, float] | None, passes: list[CodedPass] | None
    ) -> NDArray[np.float32]:
        run = self._runner(stages)
        rows, columns = (-(-side // CODED_MULTIPLE) for side in (file.header.height, file.header.width))
        decoded: list[CodedPass] = []

        def take(part: Pass | None, indexes: NDArray[np.uint8]) -> Symbols:
            with stage(stages, "range coder"):
                symbols = decoder.decode(self._y_tables if part else self._z_tables, indexes)
            decoded.append(CodedPass(part, symbols, indexes))
            return symbols

        decoder = Decoder(file.payload)
        z_shape = (1, self._bundle.hyper, 2 * rows, 2 * columns)
        z_symbols = take(None, _channels(np.empty(z_shape, np.int16)))
        y_hat = walk(self._bundle.groups, run, z_symbols, lambda part, indexes, means: take(part, indexes))
        decoder.finish()
        if symbol_checksum(coded.symbols for coded in decoded) != file.symbol_checksum:
            raise BitstreamError(
                "the decoded symbols are not those that were encoded (their checksum differs); "
                + (
                    "this machine computes wrongly, please report it with the output of: glic doctor --engine DIR"
                    if file.header.exact
                    else "files of floating-point entropy parameters decode only in the configuration that wrote them"
                )
            )
        if passes is not None:
            passes.extend(decoded)
        return y_hat

    def _check_fits(self, header: Header) -> None:
        bundle = self._bundle
        for what, needed, found in (
            ("model", header.model_fingerprint, bundle.model_fingerprint),
            ("entropy arithmetic", header.arithmetic_fingerprint, bundle.arithmetic_fingerprint),
        ):
            if needed != found:
                raise ModelMismatchError(
                    f"the file was written with {what} {needed.hex()}, this engine ({bundle.path}) has {found.hex()}; "
                    "decode it with the bundle of the checkpoint that wrote it"
                )
        if header.exact != bundle.exact:
            raise ModelMismatchError("the file and this engine disagree about the arithmetic profile; use its bundle")
        if header.tiled:
            raise BitstreamError(
                "the file is coded in tiles, which this glic-deploy does not read; install a newer one"
            )

    def _runner(self, stages: dict[str, float] | None) -> RunGraph:
        if not self._open:
            raise EngineError("the codec is closed; open another: Codec(engine)")

        def run(graph: str, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
            with stage(stages, graph):
                outputs = self._backend.run(graph, inputs)
            if isinstance(stages, Stages) and (use := self._backend.device_use()):
                stages.device[graph] = use
            return outputs

        return run


def _channels(z: NDArray[Any]) -> NDArray[np.uint8]:
    """Table index of every element of z: its channel."""
    indexes = np.arange(z.shape[1], dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(indexes[:, None, None], z.shape))
