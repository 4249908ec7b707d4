"""The codec: images to `.glic` files and back, with an engine bundle."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args, overload

import numpy as np
from numpy.typing import NDArray

from . import channel_codec, colour, container, many, metadata, tiles
from .arguments import check_receivers, integer, known, one_of, shown, thread_count
from .arrays import DlpackArray, writable
from .backends import Backend, Precision
from .channels import Channels, colour_of, with_colour
from .coded import CodedFile, read_coded
from .container import Header
from .cuda_arrays import CudaArray, CudaImage, CudaSource
from .effort import check_effort, refines, weighing_at
from .entropy.passes import CodedPass
from .entropy.quantizer import Weighing
from .errors import BitstreamError, EngineError, ImageError
from .image import Alpha, Background, Colour, Handling, Source, SourceImage, check_colour, read_image
from .limits import DEFAULT_LIMITS, Limits
from .machine import cores
from .metadata import MetadataOption
from .qualities import BundleCodecs
from .rate_control import Target
from .refinement import Gradients
from .scales import check_scale
from .stages import stage
from .verification import Verified, verify

if TYPE_CHECKING:
    from typing_extensions import Unpack


class EncodeOptions(TypedDict, total=False):
    """Keyword arguments of `Codec.encode`, which `Codec.encode_many` applies to all images."""

    quality: float | None
    target_bpp: float | None
    target_bytes: int | None
    target_psnr: float | None
    effort: int | None
    strict: bool
    tile: int | None
    background: Background | None
    alpha: Alpha
    color: Colour
    metadata: MetadataOption
    stages: dict[str, float] | None
    progress: tiles.Progress | None


_TARGET = frozenset({"quality", "target_bpp", "target_bytes", "target_psnr", "effort", "strict"})


class DecodeOptions(TypedDict, total=False):
    """Keyword arguments of `Codec.decode` that `Codec.decode_many` applies to all files."""

    region: tuple[int, int, int, int] | None
    scale: int
    color: Colour
    stages: dict[str, float] | None
    progress: tiles.Progress | None


class AllDecodeOptions(DecodeOptions, total=False):
    """Keyword arguments of `Codec.decode`, without `device`."""

    out: DlpackArray | memoryview | None
    on_error: tiles.OnError
    damaged: list[tiles.Box] | None
    passes: list[CodedPass] | None


class Codec:
    """Encodes and decodes images with an engine bundle. Safe to use from several threads at once.

    Args:
        engine: the directory of an engine bundle, as `python -m export.to_onnx` writes it, or a folder with several
            bundles. A file is decoded with the bundle that wrote it; `quality` selects the bundle that encodes (see
            `glic_deploy.qualities`).
        backend: the name of the backend that runs the graphs, or a Backend object. None selects the best installed one.
        precision: the precision of the transforms: "fp32", "bf16" or "fp16", if the backend supports it. None selects
            the backend's default.
        threads: the number of threads of the backend: at most four times the cores, or 16 if that is more. None uses
            all cores.
        device: the number of the GPU that runs the graphs, as CUDA counts those that CUDA_VISIBLE_DEVICES allows. None
            selects the first GPU, or the CPU.
        limits: the sizes to refuse; None: `Limits()`.
        keep: the number of bundles that stay open between uses.
        checkpoint: the checkpoint that the bundle was exported from, which only effort 2 needs.

    Raises EngineError if an argument is wrong, if the bundle cannot be opened, if no backend can run it, or if the
    backend computes the entropy path wrongly on this machine (see `glic_deploy.conformance`).
    """

    def __init__(
        self,
        engine: str | os.PathLike[str],
        *,
        backend: str | Backend | None = None,
        precision: Precision | None = None,
        threads: int | None = None,
        device: int | None = None,
        limits: Limits | None = None,
        keep: int = 2,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        if threads is not None:
            threads = thread_count("threads", threads)
        if device is not None:
            device = integer("device", device, "the number of a GPU, from 0, or None", least=0)
            if isinstance(backend, Backend):
                raise EngineError(f"device is {device}, but a Backend object has its device; leave out one of them")
        known_precision = precision is None or (isinstance(precision, str) and precision in get_args(Precision))
        for name, value, right, expected in (
            ("backend", backend, isinstance(backend, (str, Backend, type(None))), "the name of a backend, or None"),
            ("precision", precision, known_precision, "fp32, bf16, fp16 or None"),
            ("limits", limits, isinstance(limits, (Limits, type(None))), "glic_deploy.Limits(...) or None"),
        ):
            if not right:
                raise EngineError(f"{name} is {shown(value)}, expected {expected}")
        self._workers = max(many.LEAST_WORKERS, cores() // (threads or cores()))
        self._gradients = Gradients(checkpoint, threads)
        self._codecs = BundleCodecs(
            engine, backend=backend, threads=threads, precision=precision, device=device, keep=keep
        )
        self._limits = (limits or DEFAULT_LIMITS).for_network(self._codecs.memory())

    def __enter__(self) -> Codec:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the backend. The codec cannot be used afterwards."""
        self._codecs.close()
        self._gradients.close()

    def describe(self) -> dict[str, Any]:
        """Describe the backend, the bundles and their fingerprints, for people and for JSON."""
        return self._codecs.describe()

    @property
    def limits(self) -> Limits:
        """The sizes that are refused."""
        return self._limits

    @property
    def has_previews(self) -> bool:
        """Whether all bundles decode previews, which `scale` asks for."""
        return all(bundle.has_previews for bundle in self._codecs.bundles)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprints of model and arithmetic in the files of each quality, as hexadecimal digits."""
        return tuple(bundle.fingerprints for bundle in self._codecs.bundles)

    def check_arithmetic(self) -> str:
        """Run the conformance vectors even if a passed check is cached. Raises EngineError if any bit is wrong."""
        results = [self._codecs.at_quality(quality).check_arithmetic() for quality in range(1, len(self._codecs) + 1)]
        return "; ".join(dict.fromkeys(results))

    def encode(
        self,
        img: Source,
        *,
        quality: float | None = None,
        target_bpp: float | None = None,
        target_bytes: int | None = None,
        target_psnr: float | None = None,
        effort: int | None = None,
        strict: bool = False,
        tile: int | None = None,
        background: Background | None = None,
        alpha: Alpha = "refuse",
        color: Colour = "srgb",
        metadata: MetadataOption = "keep",
        stages: dict[str, float] | None = None,
        progress: tiles.Progress | None = None,
    ) -> bytes:
        """Compress an image to the bytes of a `.glic` file.

        At most one of `quality`, `target_bpp`, `target_bytes` and `target_psnr` may be set. A target runs the analysis
        transform of about three bundles, each once, and the entropy model about six times; `target_psnr` also decodes.

        Args:
            img: a uint8 array (H, W, 3), (H, W) for grey, (H, W, 4) or (H, W, 2) with alpha, a PIL image, or a path;
                see `glic_deploy.image.read_image`. Arrays may be in the memory of a GPU (docs/gpu.md#cuda-arrays).
            quality: 1 (the smallest files) to the number of bundles; None: the highest. A fraction is a rate between
                two bundles: 3.5 is the geometric mean of the rates of 3 and 4.
            target_bpp: the most bits per pixel that the file may have. The best file within the target is returned. If
                there is none, the smallest file is returned and a TargetWarning is issued.
            target_bytes: the most bytes that the file may have, like `target_bpp`.
            target_psnr: the least PSNR, in dB, to which the file decodes on this machine. The smallest such file is
                returned. If there is none, the best is returned and a TargetWarning is issued.
            effort: 0 rounds latents to the nearest symbol; 1 weighs bits against error, as strongly as the bundle's
                encoder data say (docs/rate.md); 2 also refines the latents by gradient, which takes minutes and needs
                PyTorch and `checkpoint`. None is 1 if that gained on every image that the bundle was tuned on, else 0.
                Targets between and below bundles are met by weighing, but with 0 only the bundles themselves are tried.
            strict: raise TargetError instead of the warning.
            tile: the maximum side of a tile in pixels, overlap included, a multiple of 128. 0 codes the image whole.
                None codes the image whole if its memory is within the limits, else in tiles.
            background: the RGB triple on which transparent images are composited.
            alpha: "refuse" refuses transparent pixels unless there is a background; "keep" codes alpha losslessly.
            color: "srgb" converts pixels with an ICC profile to sRGB; "keep" codes the pixels as they are and keeps the
                profile.
            metadata: "keep" keeps EXIF, XMP and an ICC profile that describes the pixels; "strip" drops EXIF and XMP;
                `glic_deploy.Metadata` replaces the metadata of the image.
            stages: receives the seconds that each stage took.
            progress: called with the number of finished tiles and of all tiles while an image is coded in tiles.

        Raises ImageError if the image cannot be read, LimitError if it is too large, EngineError, and TargetError if
        `strict`. Wrong arguments are refused before the image is read.
        """
        target = self._target(quality, target_bpp, target_psnr, target_bytes, effort, strict)
        side = tiles.check_tile(tile)
        handling = Handling(background, alpha, color, metadata)
        check_receivers(stages=stages, progress=progress)
        return self._encode(self._read(img, handling, stages), target, side, stages, progress)

    def _read(self, img: Source, handling: Handling, stages: dict[str, float] | None) -> SourceImage | CudaSource:
        with stage(stages, "read"):
            return CudaSource.of(img, handling, self._limits) or read_image(img, handling, self._limits)

    def _target(
        self,
        quality: float | None = None,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        target_bytes: int | None = None,
        effort: int | None = None,
        strict: bool = False,
    ) -> Target:
        target = Target(quality, target_bpp, target_psnr, target_bytes, check_effort(effort), strict)
        if target.quality is not None:
            self._codecs.check(target.quality)
        return target

    def _encode(
        self,
        source: SourceImage | CudaSource,
        target: Target,
        tile: int | None,
        stages: dict[str, float] | None,
        progress: tiles.Progress | None,
    ) -> bytes:
        pixels = source.pixels
        height, width = pixels.shape[:2]
        tiles.choose_grid(width, height, tile, self._limits)  # refuses too large an image before a bundle is opened
        fields, attachments = metadata.attach(source.metadata, self._limits)

        @functools.cache
        def analysed(quality: int) -> channel_codec.Analysed:
            codec = self._codecs.at_quality(quality)
            result = channel_codec.Analysed(pixels, stages)
            if refines(target.effort, codec.bundle):
                weighing = weighing_at(target.effort, codec.bundle)
                result.refine(codec, weighing, self._gradients.of(codec.bundle), stages)
            return result

        def code(quality: int, strength: float | None) -> bytes:
            codec = self._codecs.at_quality(quality)
            side = codec.tile_that_fits(width, height, tile, self._limits)
            grid = tiles.choose_grid(width, height, side, self._limits)
            weighing = weighing_at(target.effort, codec.bundle) if strength is None else Weighing(strength)
            header = Header(
                width=width,
                height=height,
                exact=codec.bundle.exact,
                tiled=grid is not None,
                model_fingerprint=codec.bundle.model_fingerprint,
                arithmetic_fingerprint=codec.bundle.arithmetic_fingerprint,
                **Channels.of(pixels)._asdict(),
                profiled=source.profiled,
                fields=fields,
            )
            if grid:
                gradient = self._gradients.of(codec.bundle) if refines(target.effort, codec.bundle) else None
                arguments = (codec, header, np.asarray(pixels), grid, self._limits, stages, progress, attachments)
                return tiles.encode(*arguments, weighing, gradient)
            return container.pack(header, *analysed(quality).code(codec, stages, weighing), attachments)

        try:
            colours = pixels if isinstance(pixels, CudaImage) else colour_of(pixels)
            return target.search(colours, len(self._codecs), code, lambda data: colour_of(self.decode(data)))
        finally:
            analysed.cache_clear()  # or the latents would keep their place on a GPU until the next garbage collection

    @overload
    def decode(
        self, data: CodedFile, *, device: None = ..., **options: Unpack[AllDecodeOptions]
    ) -> NDArray[np.uint8]: ...

    @overload
    def decode(self, data: CodedFile, *, device: Literal["cuda"], **options: Unpack[AllDecodeOptions]) -> CudaArray: ...

    def decode(
        self,
        data: CodedFile,
        *,
        device: Literal["cuda"] | None = None,
        out: DlpackArray | memoryview | None = None,
        region: tuple[int, int, int, int] | None = None,
        scale: int = 1,
        color: Colour = "keep",
        on_error: tiles.OnError = "raise",
        damaged: list[tiles.Box] | None = None,
        stages: dict[str, float] | None = None,
        passes: list[CodedPass] | None = None,
        progress: tiles.Progress | None = None,
    ) -> NDArray[np.uint8] | CudaArray:
        """Decompress a `.glic` file to a uint8 array (H, W, 3).

        A grey image is an array (H, W). An image with alpha is an array (H, W, 4), or (H, W, 2) if it is grey. With
        `device`, the array is in the memory of a GPU.

        Args:
            data: the bytes of the file in any object with the buffer protocol, the path of the file, or an open binary
                file. Paths and files are not read further than the limits allow. To decode a region of a file in tiles,
                the data may end behind the last tile that the region needs.
            device: "cuda" returns the image in the memory of the codec's GPU, as a `glic_deploy.cuda_arrays.CudaArray`,
                which torch and CuPy take without a copy. None returns a numpy array.
            out: an array that receives the image: uint8 of its shape, contiguous, in host memory, of numpy, torch or
                any library with DLPack. The image is decoded into its memory, and numpy's view of it is returned.
            region: (x, y, width, height) of the part to decode. The result equals a crop of the whole image. Of an
                image in tiles, only the tiles that the region needs are decoded.
            scale: 1, or 2, 4 or 8 for a preview: an image whose sides are divided by it and rounded up. Previews come
                from the latents without synthesis, in a fraction of the time, and are slightly less sharp than the
                reduced image. A preview of a region shows all its pixels; the region is in pixels of the whole image.
            color: "keep" returns the pixels as they were coded: in sRGB, or in the colours of the file's ICC profile if
                the file was encoded with color="keep". "srgb" converts the latter to sRGB.
            on_error: "raise" raises an error at a damaged tile; "fill" makes the tile grey and continues. Damage to the
                header, to the table of tiles, or to an image that is not in tiles, always raises an error.
            damaged: receives the boxes (x, y, width, height) of the tiles that were made grey. None: a
                DamagedTilesWarning is issued.
            stages: receives the seconds that each stage took.
            passes: receives the symbols and indexes of each pass.
            progress: called with the number of finished tiles and of all tiles that are needed.

        Raises BitstreamError for a damaged file, ModelMismatchError for a file of another model or arithmetic,
        LimitError for a file that is too large, ImageError for a region outside of the image, another scale or an
        unsuitable `out`, EngineError, also for a preview from a bundle without previews and for "cuda" without a GPU,
        and OSError if a path or file cannot be read. Wrong arguments are refused before anything is read.
        """
        tiles.check_on_error(on_error)
        tiles.region_box(region)
        scale = check_scale(scale)
        check_colour(color)
        check_receivers(stages=stages, passes=passes, damaged=damaged, progress=progress)
        if device is not None:
            one_of("device", device, ("cuda",), ImageError)
            if out is not None:
                raise ImageError("got device='cuda' and out, expected at most one of them; leave out one of them")
        coded = read_coded(data, self._limits)
        gpu = None if device is None else self._codecs.for_file(container.read_front(coded).header).gpu_images()
        if container.is_tiled(coded):
            strips = self.decode_strips(
                coded,
                region=region,
                scale=scale,
                color=color,
                on_error=on_error,
                damaged=damaged,
                stages=stages,
                passes=passes,
                progress=progress,
            )
            image = strips.gather(None if out is None else writable(out, strips.shape))
            return image if gpu is None else gpu.upload(image)
        file = container.parse(coded, self._limits)
        header, kept = file.header, Channels.of_header(file.header)
        codec = self._codecs.for_file(header)
        self._limits.check_memory(header.width, header.height)
        box = tiles.check_region(region, header.width, header.height).reduced(scale)
        converted = self._to_srgb(coded, header, color)
        view = None if out is None else writable(out, kept.shape(box.height, box.width))
        coded_image = (file.payload, file.symbol_checksum, header.height, header.width)
        if gpu is not None and kept == Channels(grey=False, alpha=False) and scale == 1 and converted is None:
            return codec.decode_on_gpu(*coded_image, box, stages, passes)
        arguments = (codec, kept, *coded_image, stages, passes)
        if region is None and converted is None and gpu is None:
            return channel_codec.decode(*arguments, out=view, scale=scale)
        part = channel_codec.decode(*arguments, scale=scale)[box.slices]
        if converted is not None:
            part = converted(part)
        if gpu is not None:
            return gpu.upload(part)
        if view is None:
            return np.ascontiguousarray(part)
        np.copyto(view, part)
        return view

    def _to_srgb(
        self, coded: memoryview, header: Header, color: Colour
    ) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None:
        """Return the conversion of decoded pixels that `color` asks for; None if there is nothing to convert.

        Raises BitstreamError if the profile of the file is damaged.
        """
        if color == "keep" or not header.profiled:
            return None
        front = container.read_front(coded)
        profile = metadata.item(front.header, coded[front.frame_end :], "icc", self._limits)
        if profile is None:
            raise BitstreamError(
                "the colours are those of an ICC profile, which the file lacks; decode with color='keep'"
            )

        def convert(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return with_colour(pixels, colour.array_to_srgb(np.ascontiguousarray(colour_of(pixels)), profile))

        return convert

    def decode_strips(
        self,
        data: CodedFile,
        *,
        region: tuple[int, int, int, int] | None = None,
        scale: int = 1,
        color: Colour = "keep",
        on_error: tiles.OnError = "raise",
        damaged: list[tiles.Box] | None = None,
        stages: dict[str, float] | None = None,
        passes: list[CodedPass] | None = None,
        progress: tiles.Progress | None = None,
    ) -> tiles.Strips:
        """Decompress a `.glic` file in strips: arrays of several rows each, from top to bottom.

        The arguments are those of `decode`. Of an image in tiles, only one row of tiles is in memory at a time. Errors
        in the header or the table of tiles are raised by this call, errors in a tile when its row is decoded.
        """
        tiles.check_on_error(on_error)
        tiles.region_box(region)
        scale = check_scale(scale)
        check_colour(color)
        check_receivers(stages=stages, passes=passes, damaged=damaged, progress=progress)
        coded = read_coded(data, self._limits)
        if not container.is_tiled(coded):
            image = self.decode(coded, region=region, scale=scale, color=color, stages=stages, passes=passes)
            return tiles.Strips.of(image)
        whole = region is None and on_error == "raise"
        file = tiles.parse(coded, self._limits, partial=not whole)
        codec = self._codecs.for_file(file.header)
        converted = self._to_srgb(coded, file.header, color)
        strips = tiles.decode(
            codec,
            file,
            region,
            self._limits,
            scale=scale,
            on_error=on_error,
            damaged=damaged,
            stages=stages,
            passes=passes,
            progress=progress,
        )
        return strips if converted is None else strips.map(converted)

    def verify(self, data: CodedFile) -> Verified:
        """Verify that a `.glic` file is whole and that this engine decodes it, without the synthesis of pixels.

        The checksums of the frame, the tiles and the metadata are checked, and all symbols and alpha are decoded.

        Raises BitstreamError, which lists everything that is damaged, and ModelMismatchError, LimitError, EngineError
        and OSError as `decode` does.
        """
        return verify(self._codecs, read_coded(data, self._limits), self._limits)

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
        """Compress many images concurrently. Yields what `encode` returns for each source, in order.

        Separate threads read images ahead, and `workers` images are coded at a time, so that the range coder of one
        image overlaps with the network of another, and both with the caller's work on a result. At most two images a
        thread are in memory at a time.

        Args:
            sources: what `encode` accepts; iterated in the caller's thread, a few items ahead.
            workers: the number of images to code at a time: at most four times the cores, or 16 if that is more. None:
                the cores divided by the codec's `threads`, at least 2. Concurrent images use the cores better than the
                threads of one image do: for many small images, open the codec with threads=1.
            on_error: "raise" stops at the first image that fails; "yield" yields the exception instead of its result.
            options: the keyword arguments of `encode`, for all images.

        Raises TypeError for an unknown keyword argument, EngineError and ImageError for wrong arguments, all in this
        call. The iterator raises what `encode` raises.
        """
        known("encode_many", options, EncodeOptions)
        target = self._target(**{name: options[name] for name in _TARGET & options.keys()})  # type: ignore[literal-required]
        side = tiles.check_tile(options.get("tile"))
        handling = Handling.among(options)
        stages, progress = options.get("stages"), options.get("progress")
        check_receivers(stages=stages, progress=progress)

        def read(source: Source) -> SourceImage | CudaSource:
            return self._read(source, handling, stages)

        def code(image: SourceImage | CudaSource) -> bytes:
            return self._encode(image, target, side, stages, progress)

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
        """Decompress many `.glic` files concurrently. Yields what `decode` returns for each file, in order.

        Args:
            files: what `decode` accepts; iterated in the caller's thread, a few items ahead.
            workers: as in `encode_many`.
            on_error: as in `encode_many`.
            options: the keyword arguments region, stages and progress of `decode`, for all files.

        Raises like `encode_many`.
        """
        known("decode_many", options, DecodeOptions)
        tiles.region_box(options.get("region"))
        check_colour(options.get("color", "keep"))
        check_receivers(stages=options.get("stages"), progress=options.get("progress"))

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
