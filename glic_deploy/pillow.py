"""Makes Pillow open and save `.glic` files: `glic_deploy.pillow.register(engine)`."""

from __future__ import annotations

import dataclasses
import inspect
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from PIL import Image, ImageFile

from . import container, metadata
from .channels import Channels
from .codec import Codec
from .coded import read_coded
from .errors import BitstreamError, GlicError, LimitError
from .limits import DEFAULT_LIMITS, Limits
from .qualities import bundles_in
from .scales import SCALES, shrunk

FORMAT = "GLIC"
MIME_TYPE = "image/x-glic"
SUFFIX = ".glic"

_METADATA_KEYS = {"exif": "exif", "xmp": "xmp", "icc_profile": "icc"}

# The size is looked at without allocating by it, and held against Pillow's limit by Image.open.
_UNLIMITED = Limits(max_pixels=1 << 64, max_side=1 << 32, max_payload_bpp=1 << 32, max_metadata=1 << 40)


def register(engine: str | Path | Codec, **options: Any) -> None:
    """From now on `Image.open` reads `.glic` files with this engine, and `Image.save` writes them.

    Args:
        engine: a bundle's directory, or an open codec. A directory is opened by each process when it first needs it:
            processes that are forked before that, such as a data loader's workers, have a codec of their own. (After
            that, start them with "spawn" or "forkserver": a backend's threads do not survive a fork.)
        options: of `Codec`, for a directory.

    Registering again replaces the engine. Raises EngineError for a directory that is no bundle, TypeError for an option
    that `Codec` does not have.
    """
    global _engine
    if not isinstance(engine, Codec):
        inspect.signature(Codec).bind(engine, **options)
        bundles_in(engine)
    _engine = _Engine(engine, options)
    Image.register_open(FORMAT, GlicImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, SUFFIX)
    Image.register_mime(FORMAT, MIME_TYPE)


class GlicImageFile(ImageFile.ImageFile):
    """A `.glic` file: its header is parsed when it is opened, its image is decoded when it is loaded."""

    format = FORMAT
    format_description = "GLIC learned image compression"

    def _open(self) -> None:
        stream = _stream(self)
        try:
            front = container.read_front(memoryview(stream.read(container.HEADER_BYTES)))
            container.check_front(front, _UNLIMITED)
        except BitstreamError as error:
            raise SyntaxError(str(error)) from error  # what Pillow takes for "not this format"
        header = front.header
        self._size = self._whole = header.width, header.height
        self._scale = 1
        self._mode = Channels.of_header(header).mode
        self._coded = True
        if header.fields:
            stream.seek(front.frame_end)
            limits = _registered().limits
            with _pillow_errors():
                limits.check_metadata(front.file_end - front.frame_end)
                found = metadata.of_file(header, memoryview(stream.read(front.file_end - front.frame_end)), limits)
            self.info.update(found.pillow_info().items())

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Decode the smallest preview that is not smaller than `size`, if the engine has previews.

        `Image.thumbnail` calls this method.
        """
        if not self._coded or size is None:
            return None
        width, height = self._whole
        ratio = min(width // max(size[0], 1), height // max(size[1], 1))
        scale = max((scale for scale in SCALES if scale <= ratio), default=1)
        if scale == 1 or not _opened().has_previews:
            return None
        self._scale = scale
        self._size = shrunk(width, scale), shrunk(height, scale)
        return self.mode, (0, 0, width / scale, height / scale)

    def load(self) -> Any:
        if self._coded and self._im is None:
            pixels = self._decode()
            self._coded = False
            if self._exclusive_fp:
                _stream(self).close()
            self.fp = io.BytesIO(pixels)
            self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
        return super().load()

    def _decode(self) -> memoryview:
        codec = _opened()
        stream = _stream(self)
        stream.seek(0)
        with _pillow_errors():
            return codec.decode(stream, scale=self._scale).data

    def verify(self) -> None:
        """Check the whole file's checksum, without decoding it. Raises OSError, DecompressionBombError as `load`."""
        stream = _stream(self)
        stream.seek(0)
        with _pillow_errors():
            container.parse(read_coded(stream, _registered().limits), _UNLIMITED)
        super().verify()


class _Engine:
    """One codec a process, opened when it is first used."""

    def __init__(self, engine: str | Path | Codec, options: dict[str, Any]) -> None:
        self._engine = engine
        self._options = options
        self._codec: Codec | None = None
        self._process = 0
        self._lock = threading.Lock()

    @property
    def limits(self) -> Limits:
        """The codec's, which need not be open."""
        return self._engine.limits if isinstance(self._engine, Codec) else self._options.get("limits") or DEFAULT_LIMITS

    def codec(self) -> Codec:
        if isinstance(self._engine, Codec):
            return self._engine
        with self._lock:
            if self._codec is None or self._process != os.getpid():
                self._codec, self._process = Codec(self._engine, **self._options), os.getpid()
            return self._codec


_engine: _Engine | None = None


def _registered() -> _Engine:
    if _engine is None:
        raise OSError("no engine is registered for .glic files; call glic_deploy.pillow.register(engine)")
    return _engine


def _opened() -> Codec:
    engine = _registered()
    with _pillow_errors():
        return engine.codec()


@contextmanager
def _pillow_errors() -> Iterator[None]:
    """Pillow's callers expect OSError for what is bad, and a DecompressionBombError for too large images."""
    try:
        yield
    except LimitError as error:
        raise Image.DecompressionBombError(str(error)) from error
    except GlicError as error:
        raise OSError(str(error)) from error


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC)


def _stream(image: ImageFile.ImageFile) -> IO[bytes]:
    assert image.fp is not None  # open until it is loaded or closed
    return image.fp


def _save(image: Image.Image, stream: IO[bytes], filename: str | bytes) -> None:
    """Encode an image. The keywords of `Image.save` are options of `Codec.encode`, and Pillow's names of metadata.

    `exif`, `xmp` and `icc_profile`, bytes or None, replace those of the image, as they do when JPEG files are saved.
    """
    options = dict(image.encoderinfo)
    given = {name: options.pop(key) for key, name in _METADATA_KEYS.items() if key in options}
    codec = _opened()
    with _pillow_errors():
        if given:
            if isinstance(given.get("exif"), Image.Exif):
                given["exif"] = given["exif"].tobytes()
            kept = metadata.Metadata() if options.get("metadata") == "strip" else metadata.of_pillow(image)
            options["metadata"] = dataclasses.replace(kept, **given)
        stream.write(codec.encode(image, **options))
