"""The codec: pictures to `.glic` bytes and back, on one engine bundle."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import container
from .backends import Backend
from .container import Header
from .engine import Engine
from .entropy.passes import CodedPass
from .errors import BitstreamError, EngineError
from .image import Background, Source, load_image, pad
from .limits import DEFAULT_LIMITS, Limits
from .stages import stage


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
        self._limits = limits or DEFAULT_LIMITS
        self._engine = Engine(engine, backend=backend, threads=threads)

    def __enter__(self) -> Codec:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the backend. The codec cannot be used afterwards."""
        self._engine.close()

    def describe(self) -> dict[str, Any]:
        """Backend, bundle and fingerprints, for people and for JSON."""
        return self._engine.describe()

    def check_arithmetic(self) -> str:
        """Run the bundle's conformance vectors again, whatever is cached. Raises EngineError on one wrong bit."""
        return self._engine.check_arithmetic()

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
        payload, checksum = self._engine.encode(padded, stages)
        bundle = self._engine.bundle
        header = Header(
            width=width,
            height=height,
            exact=bundle.exact,
            tiled=False,
            model_fingerprint=bundle.model_fingerprint,
            arithmetic_fingerprint=bundle.arithmetic_fingerprint,
        )
        return container.pack(header, payload, checksum)

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
        self._engine.check_fits(header)
        if header.tiled:
            raise BitstreamError(
                "the file is coded in tiles, which this glic-deploy does not read; install a newer one"
            )
        return self._engine.decode(file.payload, file.symbol_checksum, header.height, header.width, stages, passes)
