"""Code many images on many machines with Ray: paths or bytes to `.glic` files and back, with a Parquet manifest.

A worker writes the outputs of a batch atomically, one by one, and then one part of the manifest. The name of that part
is a digest of the batch's sources: if a worker or a node dies and Ray runs the batch again, the same names are written.
A run skips the sources that the manifest records as done. Another run therefore finishes what is missing, and tries
failed sources again.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

from . import container, many
from .channels import colour_of
from .codec import Codec
from .coded import read_coded
from .errors import EngineError, GlicError, ImageError
from .files import atomic_write
from .image import Handling, lift_pillow_limit, read_image
from .limits import DEFAULT_LIMITS, Limits
from .metadata import describing_decoded, read_metadata
from .metrics import bits_per_pixel
from .metrics import psnr as psnr_of
from .qualities import bundles_in
from .saving import save_image

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import ray.data

try:
    import pyarrow as pa
    import pyarrow.fs
    import pyarrow.parquet
    import ray.data
except ImportError as error:
    raise EngineError(f"glic_deploy.distributed needs Ray ({error}): pip install 'glic-deploy[ray]'") from None

MANIFEST = "_manifest"
SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("output", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("bytes", pa.int64()),  # of the .glic file
        ("bpp", pa.float64()),
        ("psnr", pa.float64()),  # dB; null: not requested, or the images are equal
        ("fingerprint", pa.string()),  # of model and arithmetic
        ("error", pa.string()),  # null: done
        ("error_type", pa.string()),
        ("settings", pa.string()),  # digest of the settings that can change an output
        ("worker", pa.string()),  # host:process
        ("finished", pa.float64()),  # seconds since 1970
    ]
)

Sources: TypeAlias = "Sequence[str] | ray.data.Dataset"
Direction = Literal["encode", "decode"]

_EXPECTED = (GlicError, OSError, MemoryError)


@dataclass(frozen=True)
class Resources:
    """Set the number of Ray actors, and the resources of each. An actor holds one codec.

    Attributes:
        actors: number of actors; None for as many as the cluster has room for.
        cpus: CPUs of an actor, and threads of its codec.
        gpus: GPUs of an actor; may be a fraction.
        batch: number of images in a batch. A batch is one part of the manifest, and is coded again if its actor dies.
    """

    actors: int | None = None
    cpus: int = 1
    gpus: float = 0
    batch: int = 64


@dataclass(frozen=True)
class Summary:
    """Sum up a run.

    Attributes:
        before: number of sources that earlier runs had done.
        done: number of sources that this run coded.
        failed: number of sources that failed in this run.
        bytes: size of all `.glic` files of this run.
        seconds: duration of the run.
    """

    before: int
    done: int
    failed: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class _Job:
    direction: Direction
    engine: str
    output: str
    root: str | None
    format: str
    psnr: bool
    codec: dict[str, Any]
    options: dict[str, Any]
    threads: int
    metadata: str = "keep"
    run: str = field(default_factory=lambda: secrets.token_hex(4))

    @functools.cached_property
    def settings(self) -> str:
        """Digest of the settings that can change an output."""
        what = {"direction": self.direction, "options": self.options, "format": self.format, "psnr": self.psnr}
        what["metadata"] = self.metadata
        precision = {name: self.codec[name] for name in ("precision",) if name in self.codec}
        text = json.dumps({**what, **precision}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def output_of(self, source: str) -> str:
        """Return the path of a source's output in the output folder: the source's path below `root`, another suffix.

        Raises ImageError if the source is not below `root`.
        """
        name = source.partition("://")[2] or source
        if self.root is not None:
            name = os.path.relpath(name, self.root.partition("://")[2] or self.root)
        place = PurePosixPath(os.path.normpath(name.lstrip("/")))
        if ".." in place.parts:
            raise ImageError(f"{source} is not below {self.root}; name a root that holds all sources")
        return str(place.with_suffix(".glic" if self.direction == "encode" else f".{self.format.lower()}"))


def encode(
    sources: Sources,
    output: str,
    *,
    engine: str | Path,
    root: str | None = None,
    psnr: bool = False,
    resources: Resources = Resources(),
    codec: Mapping[str, Any] | None = None,
    **options: Any,
) -> Summary:
    """Encode images to `.glic` files in the folder `output`, each named as its source, with the suffix `.glic`.

    Args:
        sources: paths or URIs of image files, or a dataset with a column `path`. If the dataset also has a column
            `bytes`, as `ray.data.read_binary_files(..., include_paths=True)` returns it, the images are read from
            `bytes`, and `path` only names them.
        output: folder: a path that all nodes share, or a URI of pyarrow's file systems such as s3://bucket/folder.
        engine: path of a bundle, or of a folder of bundles, on every node.
        root: folder of the sources; outputs keep their paths below `root`. None keeps the whole paths.
        psnr: also decode every file, and record its PSNR.
        resources: number of actors, and the resources of each.
        codec: options of `Codec`: backend, precision, limits.
        options: options of `Codec.encode`: background, alpha, metadata, quality, target_bpp, tile, ...

    The error of an image that fails is recorded, and the run goes on.

    Raises EngineError if `engine` is no engine, ImageError if two sources of a list have the same output, OSError if
    the output folder cannot be written, and Ray's errors if the cluster cannot run the actors.
    """
    job = _Job("encode", os.fspath(engine), output, root, "", psnr, dict(codec or {}), options, threads=resources.cpus)
    return _run(job, sources, resources)


def decode(
    sources: Sources,
    output: str,
    *,
    engine: str | Path,
    root: str | None = None,
    format: str = "PNG",
    resources: Resources = Resources(),
    codec: Mapping[str, Any] | None = None,
    metadata: Literal["keep", "strip"] = "keep",
    **options: Any,
) -> Summary:
    """Decode `.glic` files to images in the folder `output`.

    Arguments and errors are those of `encode`, except these:

    Args:
        format: Pillow's name of the format of the images.
        metadata: "keep", or "strip" to write no EXIF, no XMP and no ICC profile that the pixels do not need.
        options: options of `Codec.decode`.
    """
    settings = dict(codec or {})
    job = _Job("decode", os.fspath(engine), output, root, format, False, settings, options, resources.cpus, metadata)
    return _run(job, sources, resources)


def read_manifest(output: str) -> pa.Table:
    """Read the manifest of an output folder: the last row that was written about each source."""
    return _last_rows(_all_rows(_Folder(output)))


def _all_rows(folder: _Folder) -> pa.Table:
    """Read every row of the manifest, sorted by time."""
    parts = [pa.parquet.read_table(io.BytesIO(folder.read(name))) for name in folder.parts()]
    table = pa.concat_tables(parts) if parts else SCHEMA.empty_table()
    return table.sort_by([("finished", "ascending")])


def _last_rows(table: pa.Table) -> pa.Table:
    last = {source: row for row, source in enumerate(table.column("source").to_pylist())}
    return table.take(pa.array(sorted(last.values()), pa.int64()))


def _owners(table: pa.Table) -> dict[str, str]:
    """Return the source of every output that the manifest's rows mention."""
    columns = (table.column(name).to_pylist() for name in ("output", "source"))
    return {output: source for output, source in zip(*columns, strict=True) if output is not None}


def _run(job: _Job, sources: Sources, resources: Resources) -> Summary:
    start = time.monotonic()
    bundles_in(job.engine)
    _refuse_collisions(job, sources)
    folder = _Folder(job.output)
    folder.write(f"{MANIFEST}/.probe", b"")  # raises before any work if the folder cannot be written
    everything = _all_rows(folder)
    manifest = _last_rows(everything)
    rows = zip(*(manifest.column(name).to_pylist() for name in ("source", "settings", "error")), strict=True)
    done = {source for source, settings, error in rows if settings == job.settings and error is None}
    counts = {"done": 0, "failed": 0, "bytes": 0}
    pending = _pending(sources, done, resources.batch)
    if pending is not None:
        room = ray.data.ActorPoolStrategy(size=resources.actors) if resources.actors else _as_many_as_fit(resources)
        reports = pending.map_batches(
            _Worker,
            fn_constructor_args=(job, _SharedClaims.start(_owners(everything))),
            batch_size=resources.batch,
            compute=room,
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
        )
        for batch in reports.iter_batches(batch_format="numpy"):
            for name in counts:
                counts[name] += int(batch[name].sum())
    return Summary(before=len(done), **counts, seconds=time.monotonic() - start)


def _refuse_collisions(job: _Job, sources: Sources) -> None:
    """Raise ImageError if two sources of a list have the same output. For a dataset, the workers' claims find them."""
    if isinstance(sources, ray.data.Dataset):
        return
    taken: dict[str, str] = {}
    for source in sources:
        try:
            output = job.output_of(source)
        except ImageError:
            continue  # the worker records the error
        if taken.setdefault(output, source) != source:
            raise ImageError(
                f"{taken[output]} and {source} would both be written to {output}; code them in separate runs with "
                "different output folders"
            )


def _pending(sources: Sources, done: set[str], batch: int) -> ray.data.Dataset | None:
    """Return a dataset of the sources that are not done; None if a list of sources is done completely."""
    if not isinstance(sources, ray.data.Dataset):
        paths = [path for path in sources if path not in done]
        blocks = -(-len(paths) // batch)
        items = [{"path": path} for path in paths]
        return ray.data.from_items(items, override_num_blocks=blocks) if paths else None
    if not done:
        return sources
    shared = ray.put(done)

    def is_pending(table: pa.Table) -> pa.Table:
        known = ray.get(shared)
        return table.filter(pa.array([path not in known for path in table.column("path").to_pylist()], pa.bool_()))

    return sources.map_batches(is_pending, batch_format="pyarrow", batch_size=None)


def _as_many_as_fit(resources: Resources) -> ray.data.ActorPoolStrategy:
    cluster = ray.cluster_resources()
    room = int(cluster.get("CPU", 1) // resources.cpus)
    if resources.gpus:
        room = min(room, int(cluster.get("GPU", 0) / resources.gpus))
    return ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, room))


@dataclass(frozen=True)
class _Place:
    """Name a source and its output."""

    source: str
    output: str

    def owned_by(self, owner: str) -> _Place | ImageError:
        """Return this place, or the error that says which other source owns the output."""
        if owner == self.source:
            return self
        return ImageError(
            f"{self.source} would be written to {self.output}, which belongs to {owner}; encode or decode "
            f"{self.source} in a run of its own, with another output folder"
        )


Claim: TypeAlias = "Callable[[Sequence[tuple[str, str]]], list[str]]"
"""Function that claims outputs: it gets pairs of output and source, and returns the source that owns each output."""


class _Claims:
    """Record the source that owns each output, so that no source replaces the output of another."""

    def __init__(self, owners: Mapping[str, str]) -> None:
        """Start with the owners of earlier runs: the source of each output."""
        self._owners = dict(owners)

    def claim(self, wanted: Sequence[tuple[str, str]]) -> list[str]:
        """Claim outputs for sources; return the source that owns each output: the first that claimed it."""
        return [self._owners.setdefault(output, source) for output, source in wanted]


@dataclass(frozen=True)
class _SharedClaims:
    """Share the claims of all workers of a run. An actor on the driver's node holds them and dies with the run."""

    actor: Any

    @classmethod
    def start(cls, owners: Mapping[str, str]) -> _SharedClaims:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        return cls(ray.remote(_Claims).options(num_cpus=0, scheduling_strategy=here).remote(owners))

    def __call__(self, wanted: Sequence[tuple[str, str]]) -> list[str]:
        owners: list[str] = ray.get(self.actor.claim.remote(wanted))
        return owners


class _Worker:
    """Code batches of sources with one codec, as an actor; write the outputs, and a part of the manifest per batch."""

    def __init__(self, job: _Job, claim: Claim) -> None:
        self._job = job
        self._claim = claim
        self._limits: Limits = job.codec.get("limits") or DEFAULT_LIMITS
        self._codec = Codec(job.engine, threads=job.threads, **job.codec)
        self._folder = _Folder(job.output)
        self._name = f"{platform.node()}:{os.getpid()}"
        lift_pillow_limit(self._limits.max_pixels)

    def __call__(self, batch: dict[str, np.ndarray[Any, Any]]) -> dict[str, list[int]]:
        """Code a batch; return the numbers of done and failed sources, and the bytes of the `.glic` files."""
        paths = [str(path) for path in batch["path"]]
        contents = batch.get("bytes", [None] * len(paths))
        digest = hashlib.sha256("\n".join(paths).encode()).hexdigest()[:24]
        part = f"{MANIFEST}/{self._job.run}-{digest}.parquet"
        table = self._folder.table(part)
        if table is None:  # otherwise Ray lost the result of a finished batch and runs the batch again
            table = pa.Table.from_pylist(self._rows(paths, contents), SCHEMA)
            stream = io.BytesIO()
            pa.parquet.write_table(table, stream)
            self._folder.write(part, stream.getvalue())
        failed = sum(error is not None for error in table.column("error").to_pylist())
        size = sum(size or 0 for size in table.column("bytes").to_pylist())
        return {"done": [len(paths) - failed], "failed": [failed], "bytes": [size]}

    def _rows(self, paths: list[str], contents: Iterable[bytes | None]) -> list[dict[str, Any]]:
        places = zip(self._claimed(paths), contents, strict=True)
        outcomes = many.overlap(
            (place if isinstance(place, ImageError) else (place, content) for place, content in places),
            (self._read, many.IO_THREADS),
            (self._code, many.LEAST_WORKERS),
            (self._write, many.IO_THREADS),
        )
        rows = []
        for path, outcome in zip(paths, outcomes, strict=True):
            row = {"source": path, "settings": self._job.settings, "worker": self._name, "finished": time.time()}
            if isinstance(outcome, _EXPECTED):
                row |= {"error": str(outcome) or type(outcome).__name__, "error_type": type(outcome).__name__}
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                row |= outcome
            rows.append(row)
        return rows

    def _claimed(self, paths: Sequence[str]) -> list[_Place | ImageError]:
        """Claim the output of each source. The result is an ImageError if another source owns the output."""
        places: list[_Place | ImageError] = []
        for path in paths:
            try:
                places.append(_Place(path, self._job.output_of(path)))
            except ImageError as error:
                places.append(error)
        wanted = [(place.output, place.source) for place in places if isinstance(place, _Place)]
        owners = dict(zip(wanted, self._claim(wanted), strict=True))
        return [
            place if isinstance(place, ImageError) else place.owned_by(owners[place.output, place.source])
            for place in places
        ]

    def _read(self, item: tuple[_Place, bytes | None]) -> tuple[_Place, bytes | memoryview]:
        place, content = item
        if content is not None:
            return place, content
        path = place.source
        return place, _read_coded(path, self._limits) if self._job.direction == "decode" else _read(path)

    def _code(self, item: tuple[_Place, bytes | memoryview]) -> tuple[dict[str, Any], bytes]:
        place, content = item
        job = self._job
        row: dict[str, Any] = {"output": place.output}
        coded: bytes | memoryview
        if job.direction == "encode":
            coded = result = self._codec.encode(io.BytesIO(content), **job.options)
            if job.psnr:
                original = read_image(io.BytesIO(content), Handling.among(job.options), self._limits).pixels
                row["psnr"] = psnr_of(colour_of(original), colour_of(self._codec.decode(coded)))
        else:
            coded, stream = content, io.BytesIO()
            image = self._codec.decode(coded, **job.options)
            front = container.read_front(container.flat(coded))
            color = job.options.get("color", "keep")
            kept = describing_decoded(read_metadata(coded, limits=self._limits), front.header, color, job.metadata)
            save_image(image, stream, format=job.format, metadata=kept)
            result = stream.getvalue()
        header = container.parse_header(coded, self._limits)
        row |= {"width": header.width, "height": header.height, "bytes": len(coded)}
        row["bpp"] = bits_per_pixel(len(coded), header.width * header.height)
        row["fingerprint"] = (header.model_fingerprint + header.arithmetic_fingerprint).hex()
        return row, result

    def _write(self, item: tuple[dict[str, Any], bytes]) -> dict[str, Any]:
        row, result = item
        self._folder.write(row["output"], result)
        return row


class _Folder:
    """Read and write the output folder: a local or shared folder, or a URI of pyarrow's file systems."""

    def __init__(self, uri: str) -> None:
        if "://" in uri:
            self._system, self._base = pa.fs.FileSystem.from_uri(uri)
        else:
            self._system, self._base = pa.fs.LocalFileSystem(), os.path.abspath(uri)
        self._local = isinstance(self._system, pa.fs.LocalFileSystem)

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically. Object stores do that by themselves; a local file is renamed when complete."""
        path = f"{self._base}/{name}"
        if self._local:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            atomic_write(path, data)
            return
        self._system.create_dir(os.path.dirname(path), recursive=True)
        with self._system.open_output_stream(path) as stream:
            stream.write(data)

    def read(self, name: str) -> bytes:
        with self._system.open_input_file(f"{self._base}/{name}") as stream:
            content: bytes = stream.read()
            return content

    def parts(self) -> list[str]:
        """Return the names of the manifest's parts, sorted."""
        selector = pa.fs.FileSelector(f"{self._base}/{MANIFEST}", allow_not_found=True)
        infos = self._system.get_file_info(selector)
        return sorted(f"{MANIFEST}/{info.base_name}" for info in infos if info.base_name.endswith(".parquet"))

    def table(self, name: str) -> pa.Table | None:
        info = self._system.get_file_info(f"{self._base}/{name}")
        if info.type == pa.fs.FileType.NotFound:
            return None
        return pa.parquet.read_table(io.BytesIO(self.read(name)))


def _read(uri: str) -> bytes:
    with _opened(uri) as stream:
        return stream.read()


def _read_coded(uri: str, limits: Limits) -> memoryview:
    with _opened(uri) as stream:
        return read_coded(stream, limits)


def _opened(uri: str) -> IO[bytes]:
    """Open a file for reading, by path or URI. Raises OSError."""
    if "://" not in uri:
        return open(uri, "rb")
    system, path = pa.fs.FileSystem.from_uri(uri)
    stream: IO[bytes] = system.open_input_file(path)
    return stream
