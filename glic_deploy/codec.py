"""The codec: pictures to `.glic` bytes and back, on one engine bundle."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args, overload

import numpy as np
from numpy.typing import NDArray

from . import container, many, tiles
from .arguments import known, shown, thread_count
from .arrays import DlpackArray, writable
from .backends import Backend, Precision
from .bundle_codec import BundleCodec
from .coded import CodedFile, read_coded
from .container import Header
from .entropy.passes import CodedPass
from .errors import EngineError
from .image import Background, Source, check_background, load_image, pad
from .limits import DEFAULT_LIMITS, Limits
from .machine import cores
from .qualities import BundleCodecs, Target
from .stages import stage

if TYPE_CHECKING:
    from typing_extensions import Unpack


class EncodeOptions(TypedDict, total=False):
    """Keywords of `Codec.encode`, for all images of `Codec.encode_many`."""

    quality: int | None
    target_bpp: float | None
    target_psnr: float | None
    tile: int | None
    background: Background | None
    stages: dict[str, float] | None
    progress: tiles.Progress | None


class DecodeOptions(TypedDict, total=False):
    """Keywords of `Codec.decode` that can hold for all files of `Codec.decode_many`."""

    region: tuple[int, int, int, int] | None
    stages: dict[str, float] | None
    progress: tiles.Progress | None


class Codec:
    """Encodes and decodes pictures with an engine bundle. Safe to use from several threads at once.

    Args:
        engine: directory of an engine bundle, as `python -m export.to_onnx` writes it, or a folder of several: decoding
            takes the one that wrote the file, encoding the one that is asked for (`glic_deploy.qualities`).
        backend: name of the backend that runs the graphs, or one made already; None takes the best one installed.
        precision: of the transforms: "fp32", "bf16" or "fp16", as far as the backend has it; None takes its own.
        threads: threads of the backend, at most four times the cores or 16; None takes all cores.
        limits: what to refuse; None takes `Limits()`.
        keep: of several bundles, how many engines stay open between uses.

    Raises EngineError when an argument is wrong, the bundle cannot be opened, no backend can run it, or the one that
    does computes the entropy path wrongly on this machine (see `glic_deploy.conformance`).
    """

    def __init__(
        self,
        engine: str | os.PathLike[str],
        *,
        backend: str | Backend | None = None,
        precision: Precision | None = None,
        threads: int | None = None,
        limits: Limits | None = None,
        keep: int = 2,
    ) -> None:
        if threads is not None:
            threads = thread_count("threads", threads)
        for name, value, right, expected in (
            ("engine", engine, isinstance(engine, (str, os.PathLike)), "the directory of an engine bundle"),
            ("backend", backend, isinstance(backend, (str, Backend, type(None))), "the name of a backend, or None"),
            ("precision", precision, precision is None or precision in get_args(Precision), "fp32, bf16, fp16 or None"),
            ("limits", limits, isinstance(limits, (Limits, type(None))), "glic_deploy.Limits(...) or None"),
        ):
            if not right:
                raise EngineError(f"{name} is {shown(value)}, expected {expected}")
        self._limits = limits or DEFAULT_LIMITS
        self._workers = max(many.LEAST_WORKERS, cores() // (threads or cores()))
        self._codecs = BundleCodecs(Path(engine), backend=backend, threads=threads, precision=precision, keep=keep)

    def __enter__(self) -> Codec:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the backend. The codec cannot be used afterwards."""
        self._codecs.close()

    def describe(self) -> dict[str, Any]:
        """Backend, bundle and fingerprints, for people and for JSON."""
        return self._codecs.describe()

    @property
    def limits(self) -> Limits:
        """What is refused."""
        return self._limits

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """What files of this codec say of their model and arithmetic, as hexadecimal digits."""
        return tuple(bundle.fingerprints for bundle in self._codecs.bundles)

    def check_arithmetic(self) -> str:
        """Run the bundle's conformance vectors again, whatever is cached. Raises EngineError on one wrong bit."""
        said = [self._codecs.at_quality(quality).check_arithmetic() for quality in range(1, len(self._codecs) + 1)]
        return "; ".join(dict.fromkeys(said))

    def encode(
        self,
        img: Source,
        *,
        quality: int | None = None,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        tile: int | None = None,
        background: Background | None = None,
        stages: dict[str, float] | None = None,
        progress: tiles.Progress | None = None,
    ) -> bytes:
        """Compress a picture to the bytes of a `.glic` file.

        Args:
            img: uint8 array (H, W, 3) or (H, W), a PIL image, or a path; `glic_deploy.image.load_image` says what else.
            quality: of an engine of several bundles, 1 for the smallest files; None: the highest.
            target_bpp: instead, the highest quality whose file has at most so many bits per pixel, or the lowest.
            target_psnr: instead, the lowest quality that decodes to at least so many dB here, or the highest. Either
                target takes some three encodings of six qualities, PSNR as many decodings. A TargetWarning tells that
                no quality reaches it.
            tile: code the picture in tiles of at most so many pixels on a side, overlap included: a multiple of 128; 0:
                whole. None: whole, unless that takes more memory than the limits allow.
            progress: called with the number of tiles that are done, and of all, while a picture is coded in tiles.
            background: RGB triple on which transparent pictures are composited; None refuses them.
            stages: filled with the seconds that each stage took, if given.

        Raises ImageError for a picture that cannot be read, LimitError for one too large, EngineError. Wrong arguments
        are refused before the picture is read.
        """
        target = self._target(quality, target_bpp, target_psnr)
        side = tiles.check_tile(tile)
        with stage(stages, "read"):
            picture = load_image(img, background=background, limits=self._limits)

        def code(quality: int) -> bytes:
            return self._encode(self._codecs.at_quality(quality), picture, side, stages, progress)

        return target.search(picture, len(self._codecs), code, self.decode)

    def _target(self, quality: int | None, target_bpp: float | None, target_psnr: float | None) -> Target:
        target = Target(quality, target_bpp, target_psnr)
        if target.quality is not None:
            self._codecs.check(target.quality)
        return target

    def _encode(
        self,
        codec: BundleCodec,
        picture: NDArray[np.uint8],
        tile: int | None,
        stages: dict[str, float] | None,
        progress: tiles.Progress | None,
    ) -> bytes:
        height, width = picture.shape[:2]
        grid = tiles.choose_grid(width, height, tile, self._limits)
        bundle = codec.bundle
        header = Header(
            width=width,
            height=height,
            exact=bundle.exact,
            tiled=grid is not None,
            model_fingerprint=bundle.model_fingerprint,
            arithmetic_fingerprint=bundle.arithmetic_fingerprint,
        )
        if grid:
            return tiles.encode(codec, header, picture, grid, self._limits, stages, progress)
        with stage(stages, "pad"):
            padded = pad(picture)
        return container.pack(header, *codec.encode(padded, stages))

    def decode(
        self,
        data: CodedFile,
        *,
        out: DlpackArray | memoryview | None = None,
        region: tuple[int, int, int, int] | None = None,
        on_error: tiles.OnError = "raise",
        damaged: list[tiles.Box] | None = None,
        stages: dict[str, float] | None = None,
        passes: list[CodedPass] | None = None,
        progress: tiles.Progress | None = None,
    ) -> NDArray[np.uint8]:
        """Decompress a `.glic` file to a uint8 array (H, W, 3).

        Args:
            data: the file's bytes, in any object with the buffer protocol; or its path, or an open binary file, which
                are read no further than the limits allow. Of a file in tiles, those that a region needs may be all
                there is behind the table.
            out: an array that takes the picture, uint8 (H, W, 3), contiguous, in the host's memory: of numpy, torch or
                any library with DLPack. It is written to without a further copy; numpy's view of it is returned.
            region: (x, y, width, height) of the part that is wanted, exactly as a crop of the whole would give it; of a
                picture in tiles, only those are decoded that it needs.
            on_error: "raise" ends at a damaged tile; "fill" makes it grey and goes on. Damage to the header, to the
                table of tiles, or to a picture that is not in tiles, is raised all the same.
            damaged: filled with the boxes (x, y, width, height) of tiles made grey. None: a DamagedTilesWarning tells.
            stages: filled with the seconds that each stage took, if given.
            passes: filled with what was coded, if given.
            progress: called with the number of tiles that are done, and of all that are needed.

        Raises BitstreamError for a damaged file, ModelMismatchError for one of another model or arithmetic, LimitError
        for one too large, ImageError for a region that is not in the picture or an `out` that does not take it,
        EngineError; OSError when a path or file cannot be read. Wrong arguments are refused before anything is read.
        """
        tiles.check_on_error(on_error)
        tiles.region_box(region)
        coded = read_coded(data, self._limits)
        if container.is_tiled(coded):
            strips = self.decode_strips(
                coded,
                region=region,
                on_error=on_error,
                damaged=damaged,
                stages=stages,
                passes=passes,
                progress=progress,
            )
            return strips.gather(None if out is None else writable(out, strips.height, strips.width))
        file = container.parse(coded, self._limits)
        header = file.header
        codec = self._codecs.for_file(header)
        self._limits.check_memory(header.width, header.height)
        box = tiles.check_region(region, header.width, header.height)
        view = None if out is None else writable(out, box.height, box.width)
        arguments = (file.payload, file.symbol_checksum, header.height, header.width, stages, passes)
        if region is None:
            return codec.decode(*arguments, out=view)
        part = codec.decode(*arguments)[box.slices]
        if view is None:
            return np.ascontiguousarray(part)
        np.copyto(view, part)
        return view

    def decode_strips(
        self,
        data: CodedFile,
        *,
        region: tuple[int, int, int, int] | None = None,
        on_error: tiles.OnError = "raise",
        damaged: list[tiles.Box] | None = None,
        stages: dict[str, float] | None = None,
        passes: list[CodedPass] | None = None,
        progress: tiles.Progress | None = None,
    ) -> tiles.Strips:
        """What `decode` returns, with its arguments, in parts: arrays of some rows each, from top to bottom.

        Of a picture in tiles no more is held than a row of them. What is wrong with the header or the table is raised
        at once, what is wrong with a tile when its row's turn comes.
        """
        tiles.check_on_error(on_error)
        tiles.region_box(region)
        coded = read_coded(data, self._limits)
        if not container.is_tiled(coded):
            return tiles.Strips.of(self.decode(coded, region=region, stages=stages, passes=passes))
        whole = region is None and on_error == "raise"
        file = tiles.parse(coded, self._limits, partial=not whole)
        return tiles.decode(
            self._codecs.for_file(file.header),
            file,
            region,
            self._limits,
            on_error=on_error,
            damaged=damaged,
            stages=stages,
            passes=passes,
            progress=progress,
        )

    @overload
    def encode_many(
        self,
        sources: Iterable[Source],
        *,
        workers: int | None = ...,
        on_error: Literal["raise"] = ...,
        **options: Unpack[EncodeOptions],
    ) -> Iterator[bytes]: ...

    @overload
    def encode_many(
        self,
        sources: Iterable[Source],
        *,
        workers: int | None = ...,
        on_error: many.OnError,
        **options: Unpack[EncodeOptions],
    ) -> Iterator[bytes | Exception]: ...

    def encode_many(
        self,
        sources: Iterable[Source],
        *,
        workers: int | None = None,
        on_error: many.OnError = "raise",
        **options: Unpack[EncodeOptions],
    ) -> Iterator[bytes | Exception]:
        """Compress many pictures: what `encode` returns for each source, in order, while the next are worked on.

        Reading runs ahead of coding in threads of its own, and `workers` pictures are coded at a time, so that the
        range coder of one runs beside the network of another. What the caller does with a result runs beside all that.
        At most two pictures a thread are held at once, however many there are.

        Args:
            sources: drawn from in the caller's thread, a few ahead.
            workers: at most four times the cores or 16. None: the cores over the codec's `threads`, at least 2.
                Pictures side by side use cores better than the threads of one do: for many small ones, open the codec
                with threads=1.
            on_error: "raise" ends at the first picture that fails; "yield" gives its exception in its place.
            options: of `encode`, for all pictures.

        Raises TypeError for a keyword that `encode` does not have, EngineError and ImageError for wrong arguments, all
        of them in this call; the results raise what `encode` does.
        """
        known("encode_many", options, EncodeOptions)
        self._target(options.get("quality"), options.get("target_bpp"), options.get("target_psnr"))
        tiles.check_tile(options.get("tile"))
        background = options.get("background")
        check_background(background)

        def read(source: Source) -> NDArray[np.uint8]:
            return load_image(source, background=background, limits=self._limits)

        def code(picture: NDArray[np.uint8]) -> bytes:
            return self.encode(picture, **options)

        return self._overlap(sources, read, code, workers, on_error)

    @overload
    def decode_many(
        self,
        files: Iterable[CodedFile],
        *,
        workers: int | None = ...,
        on_error: Literal["raise"] = ...,
        **options: Unpack[DecodeOptions],
    ) -> Iterator[NDArray[np.uint8]]: ...

    @overload
    def decode_many(
        self,
        files: Iterable[CodedFile],
        *,
        workers: int | None = ...,
        on_error: many.OnError,
        **options: Unpack[DecodeOptions],
    ) -> Iterator[NDArray[np.uint8] | Exception]: ...

    def decode_many(
        self,
        files: Iterable[CodedFile],
        *,
        workers: int | None = None,
        on_error: many.OnError = "raise",
        **options: Unpack[DecodeOptions],
    ) -> Iterator[NDArray[np.uint8] | Exception]:
        """Decompress many `.glic` files, whatever `decode` takes: `encode_many`'s opposite, with its arguments.

        options: region, stages and progress of `decode`, for all files.
        """
        known("decode_many", options, DecodeOptions)
        tiles.region_box(options.get("region"))

        def read(file: CodedFile) -> memoryview:
            return read_coded(file, self._limits)

        def code(data: memoryview) -> NDArray[np.uint8]:
            return self.decode(data, **options)

        return self._overlap(files, read, code, workers, on_error)

    def _overlap(
        self,
        items: Iterable[Any],
        read: Callable[[Any], Any],
        code: Callable[[Any], Any],
        workers: int | None,
        on_error: many.OnError,
    ) -> Iterator[Any]:
        at_once = self._workers if workers is None else thread_count("workers", workers)
        return many.results(many.overlap(items, (read, many.IO_THREADS), (code, at_once)), on_error)
