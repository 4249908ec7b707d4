"""A codec that stores pixels, and `python -m tests.storing_codec`: the `glic` command with it, which needs no engine.

The environment says how it is to behave: STORING_SECONDS to encode or decode, STORING_WARNS a warning at each image,
STORING_BEGUN a file that appears when the first one is being coded.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
import zlib
from typing import ClassVar

import numpy as np

import glic_deploy
from glic_deploy import EngineError, Limits, ModelMismatchError, container
from glic_deploy.image import load_image


class StoringCodec:
    """Codec's interface with the pixels themselves, deflated, as the payload."""

    fingerprint = b"ABCD"
    fingerprints = ("ABCD",)
    devices: ClassVar[list[int | None]] = []  # of all codecs that were opened

    def __init__(self, engine, *, backend=None, precision=None, threads=None, device=None, limits=None, **options):
        self.devices.append(device)
        if backend == "tensorrt":
            raise EngineError("backend tensorrt is not installed: pip install absent")
        self.limits = limits or Limits()
        self.threads = threads

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def check_arithmetic(self):
        return "exact"

    def describe(self):
        return {"backend": {"name": "storing", "threads": self.threads}, "notices": []}

    def encode(self, img, *, background=None, stages=None, **options):
        image = load_image(img, background=background, limits=self.limits)
        _behave()
        if stages is not None:
            stages["store"] = 0.5
        height, width = image.shape[:2]
        header = container.Header(width, height, True, False, self.fingerprint, bytes(4))
        return container.pack(header, zlib.compress(image.tobytes()), 0)

    def decode(self, data, *, stages=None, **options):
        file = container.parse(data, self.limits)
        if file.header.model_fingerprint != self.fingerprint:
            raise ModelMismatchError("the file was written with another model; use its bundle")
        _behave()
        pixels = np.frombuffer(zlib.decompress(file.payload), np.uint8)
        return pixels.reshape(file.header.height, file.header.width, 3)


def _behave() -> None:
    if text := os.environ.get("STORING_WARNS"):
        warnings.warn(text, stacklevel=2)
        logging.getLogger("glic_deploy.storing").info("stored as %s", text)
    if path := os.environ.get("STORING_BEGUN"):
        open(path, "w").close()
    time.sleep(float(os.environ.get("STORING_SECONDS", "0")))


def main() -> None:
    from glic_deploy.cli import main

    vars(glic_deploy)["Codec"] = StoringCodec
    sys.exit(main())


if __name__ == "__main__":
    main()
