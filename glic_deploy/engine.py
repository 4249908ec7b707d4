"""An engine: one bundle on one backend, between padded pictures and range-coded payloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import conformance
from .backends import Backend, Precision, open_backend, require_precision
from .bundle import Bundle
from .checksum import symbol_checksum
from .container import Header
from .entropy.passes import CodedPass, Pass, RunGraph, Symbols, pack, quantize, walk
from .entropy.rans import CdfTables, Decoder, Encoder
from .errors import BitstreamError, EngineError, ModelMismatchError
from .limits import CODED_MULTIPLE
from .notices import PROCESS
from .stages import stage
from .values import Settled, Value


class Engine:
    """Codes padded pictures with one bundle. Safe to use from several threads at once.

    Args:
        directory: the engine bundle.
        backend: name of the backend that runs the graphs, or one made already; None takes the best one installed.
        threads: threads of the backend; None takes all cores. Kept as `threads`.
        precision: of the transforms; None takes the backend's own.

    Raises EngineError when the bundle cannot be opened, no backend can run it, or the one that does computes the
    entropy path wrongly on this machine (see `glic_deploy.conformance`).
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        backend: str | Backend | None = None,
        threads: int | None = None,
        precision: Precision | None = None,
    ) -> None:
        self.bundle = Bundle.open(directory)
        self.threads = threads
        tables = self.bundle.tables()
        self._y_tables, self._z_tables = (
            CdfTables(tables[f"{latent}_cdfs"], tables[f"{latent}_lengths"], tables[f"{latent}_offsets"])
            for latent in "yz"
        )
        if not isinstance(backend, Backend):
            backend = open_backend(self.bundle, backend, threads, precision)
        require_precision(backend, precision)
        self._backend = backend
        self._open = True
        if self.bundle.exact:
            conformance.ensure(self.bundle, self._backend)
        else:
            backend.notices.add(
                f"{self.bundle.path} has floating-point entropy parameters: its files decode only on the machine, "
                "with the backend and number of threads that wrote them; export without --entropy float to keep files"
            )

    def close(self) -> None:
        """Free the backend. The engine cannot be used afterwards."""
        if self._open:
            self._open = False
            self._backend.close()

    def __del__(self) -> None:
        if hasattr(self, "_backend"):
            self.close()

    def describe(self) -> dict[str, Any]:
        """Backend, bundle, and `notices` of what is slower than it could be, for people and for JSON."""
        notices = [*PROCESS, *self._backend.notices]
        return {"backend": self._backend.describe(), "engine": self.bundle.describe(), "notices": notices}

    def check_arithmetic(self) -> str:
        """Run the bundle's conformance vectors again, whatever is cached. Raises EngineError on one wrong bit."""
        if not self.bundle.exact:
            return "floating point: files decode only where they were written"
        compared = conformance.check(self.bundle, self._backend)
        return f"exact: {compared:,} conformance values reproduced bit for bit"

    def encode(self, padded: NDArray[np.uint8], stages: dict[str, float] | None = None) -> tuple[bytes, int]:
        """Payload and symbol checksum of a picture (H, W, 3), H and W multiples of `CODED_MULTIPLE`."""
        run = self._runner(stages)
        latents = run("analysis", image=padded)[0]
        z_symbols = np.asarray(run("hyper_analysis", y=latents)[0])
        with stage(stages, "analysis"):
            y = np.asarray(latents)
        coded: list[tuple[CdfTables, Symbols, NDArray[np.uint8]]] = [(self._z_tables, z_symbols, _channels(z_symbols))]

        def step(part: Pass, indexes: NDArray[np.uint8], means: Value) -> Symbols:
            symbols = quantize(pack(y[:, part.start : part.stop], part.parity), np.asarray(means))
            coded.append((self._y_tables, symbols, indexes))
            return symbols

        walk(self.bundle.groups, run, z_symbols, step)
        with stage(stages, "range coder"):
            encoder = Encoder()
            for tables, symbols, indexes in coded:
                encoder.push(tables, symbols, indexes)
            return encoder.finish(), symbol_checksum(symbols for _, symbols, _ in coded)

    def decode(
        self,
        payload: bytes | memoryview,
        checksum: int,
        height: int,
        width: int,
        stages: dict[str, float] | None = None,
        passes: list[CodedPass] | None = None,
        out: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """The picture (height, width, 3) that `encode` made a payload of, both before padding.

        checksum: of the symbols, as `encode` returned it. `stages` is filled with the seconds that each stage took,
        `passes` with what was coded, `out` with the picture, if given. Raises BitstreamError, EngineError.
        """
        y_hat = self._decode_latents(payload, checksum, height, width, stages, passes)
        padded = np.asarray(self._runner(stages)("synthesis", y_hat=Settled(y_hat, y_hat.shape[1]))[0])
        with stage(stages, "crop"):
            if out is None:
                return np.ascontiguousarray(padded[:height, :width])
            np.copyto(out, padded[:height, :width])
            return out

    def _decode_latents(
        self,
        payload: bytes | memoryview,
        checksum: int,
        height: int,
        width: int,
        stages: dict[str, float] | None,
        passes: list[CodedPass] | None,
    ) -> NDArray[np.float32]:
        run = self._runner(stages)
        rows, columns = (-(-side // CODED_MULTIPLE) for side in (height, width))
        decoded: list[CodedPass] = []

        def take(part: Pass | None, indexes: NDArray[np.uint8]) -> Symbols:
            with stage(stages, "range coder"):
                symbols = decoder.decode(self._y_tables if part else self._z_tables, indexes)
            decoded.append(CodedPass(part, symbols, indexes))
            return symbols

        decoder = Decoder(payload)
        z_shape = (1, self.bundle.hyper, 2 * rows, 2 * columns)
        z_symbols = take(None, _channels(np.empty(z_shape, np.int16)))
        y_hat = walk(self.bundle.groups, run, z_symbols, lambda part, indexes, means: take(part, indexes))
        decoder.finish()
        if symbol_checksum(coded.symbols for coded in decoded) != checksum:
            raise BitstreamError(
                "the decoded symbols are not those that were encoded (their checksum differs); "
                + (
                    "this machine computes wrongly, please report it with the output of: glic doctor --engine DIR"
                    if self.bundle.exact
                    else "files of floating-point entropy parameters decode only in the configuration that wrote them"
                )
            )
        if passes is not None:
            passes.extend(decoded)
        return y_hat

    def check_fits(self, header: Header) -> None:
        """Raises ModelMismatchError unless this engine decodes files with such a header."""
        bundle = self.bundle
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

    def _runner(self, stages: dict[str, float] | None) -> RunGraph:
        if not self._open:
            raise EngineError("the codec is closed; open another: Codec(engine)")

        def run(graph: str, **inputs: Value) -> Sequence[Value]:
            with stage(stages, graph):
                outputs = self._backend.start(graph, inputs)
            self.bundle.check_outputs(graph, inputs, outputs)
            return outputs

        return run


def _channels(z: NDArray[Any]) -> NDArray[np.uint8]:
    """Table index of every element of z: its channel."""
    indexes = np.arange(z.shape[1], dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(indexes[:, None, None], z.shape))
