"""Writes engine bundles: graphs, their shared weights, entropy tables and the manifest that lists them.

A new bundle's directory appears whole or not at all. A bundle that is being updated is valid at every moment.
`docs/bundle.md` describes the files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, numpy_helper

import glic_deploy
from glic_deploy.bundle import (
    MANIFEST,
    PLANS,
    TENSORRT,
    Arithmetic,
    Bundle,
    FileEntry,
    Form,
    Manifest,
    Model,
    PlanEntry,
    TableFit,
    alone_in,
    files_read_by,
    fingerprint,
    graphs_of,
    sha256,
    to_json,
)
from glic_deploy.errors import EngineError, GlicError
from glic_deploy.files import atomic_directory, atomic_write

from .sums import left_to_libraries

__all__ = ["WEIGHTS", "BundleUpdate", "BundleWriter", "bundle_directory", "fingerprint", "updating"]

GRAPHS = "graphs"
WEIGHTS = f"{GRAPHS}/weights.bin"
EXACT_TABLES = TableFit()
_PAGE = 4096  # runtimes map weights from the file where they start on a page
_EMBEDDED = 1024  # smaller tensors stay in the graph
_OURS = {GRAPHS: (".onnx", ".bin"), PLANS: (".plan",)}
"""Folders of a bundle, and the suffixes of the files in them that this module owns and may delete."""
_STAGING = ".update."


class BundleWriter:
    """Collects a new bundle's files in a directory; `finish` writes the manifest."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._forms: dict[str, dict[str, Form]] = {}
        self._written: set[str] = set()
        self._offsets: dict[str, dict[bytes, tuple[int, int]]] = {}

    def add_graph(
        self, name: str, form: str, model: ModelProto, *, precision: str | None = None, weights: str = WEIGHTS
    ) -> Path:
        """Write one form of a graph and return its path.

        Large constants go to the file `weights`, which graphs share; those that are in a file already stay there.
        """
        model = ModelProto.FromString(model.SerializeToString())
        for tensor in _initializers(model.graph):
            if tensor.data_location != TensorProto.EXTERNAL:
                self._externalize(tensor, weights)
        path = f"{GRAPHS}/{name}.{form}.onnx"
        self._new(path).write_bytes(model.SerializeToString(deterministic=True))
        plugins = sum(node.domain == "glic" for graph in graphs_in(model.graph) for node in graph.node)
        self._forms.setdefault(name, {})[form] = Form(path, plugins, precision, left_to_libraries(model))
        return self.directory / path

    def add_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write named arrays, of numbers, as an .npz."""
        np.savez_compressed(self._new(name), **arrays)  # type: ignore[arg-type]  # for mypy, any name may be a flag's

    def finish(self, model: Model, arithmetic: Arithmetic, table_fit: TableFit = EXACT_TABLES) -> None:
        """Write the manifest, which lists every graph of the network, and size and SHA-256 of every file.

        Raises EngineError where the manifest would be invalid, such as without entropy tables.
        """
        manifest = Manifest(
            _generator(),
            model,
            arithmetic,
            graphs_of(model.config, arithmetic.profile, self._forms),
            {name: _entry(self.directory / name) for name in sorted(self._written)},
            table_fit=table_fit,
        )
        atomic_write(self.directory / MANIFEST, to_json(manifest))

    def _new(self, name: str) -> Path:
        """Register a file of the bundle as written, create its folder, and return its path."""
        self._written.add(name)
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        return path

    def _externalize(self, tensor: TensorProto, weights: str) -> None:
        data = numpy_helper.to_array(tensor).tobytes()
        if len(data) < _EMBEDDED:
            return
        offsets = self._offsets.setdefault(weights, {})
        key = hashlib.sha256(data).digest()
        if key not in offsets:
            with open(self._new(weights), "ab") as stream:
                stream.write(bytes(-stream.tell() % _PAGE))
                offsets[key] = stream.tell(), len(data)
                stream.write(data)
        offset, length = offsets[key]
        for name in ("raw_data", "float_data", "int32_data", "int64_data"):
            tensor.ClearField(name)
        tensor.data_location = TensorProto.EXTERNAL
        for key_name, value in (("location", PurePosixPath(weights).name), ("offset", offset), ("length", length)):
            entry = tensor.external_data.add()
            entry.key, entry.value = key_name, str(value)


class BundleUpdate(BundleWriter):
    """Changes a bundle: collects new files in a hidden folder inside the bundle, until `updating` ends.

    Graphs and plans that are added replace those of the same name. A plan belongs to the graph that the bundle has when
    the update begins, and is dropped if that graph changes.
    """

    def __init__(self, bundle: Bundle, staging: Path) -> None:
        super().__init__(staging)
        self.bundle = bundle
        self._forms = {name: dict(graph.forms) for name, graph in bundle.manifest.graphs.items()}
        self._plans = {plan.file: plan for plan in bundle.manifest.plans}

    def add_plan(self, plan: PlanEntry, data: bytes) -> None:
        """Add a plan; `plan.file` is its name in the bundle."""
        self._new(plan.file).write_bytes(data)
        self._plans[plan.file] = plan

    def drop_plans(self, which: Callable[[PlanEntry], bool] = lambda plan: True) -> None:
        """Drop the plans for which `which` returns true, by default all."""
        self._plans = {file: plan for file, plan in self._plans.items() if not which(plan)}

    def apply(self) -> None:
        """Move the new files into the bundle, write its manifest, and delete files that are no longer listed.

        The manifest is valid at every moment: before a file is replaced, the graphs and plans that need it are removed
        from the manifest. Raises EngineError, OSError.
        """
        old, new = self.bundle.manifest, self._manifest()
        written = self._written & set(new.files)
        replaced = {name for name in written & set(old.files) if old.files[name] != new.files[name]}
        for form in new.forms():
            if form.file not in written and self.bundle.files_of(form) & replaced:
                raise EngineError(
                    f"{form.file} has constants in a file that this update replaces; add that graph in this update too"
                )
        try:
            if replaced:
                old = self._without(old, replaced)
                self._write(old)
            for name in sorted(written):
                self._move(name)
            for name in sorted(written & {form.file for form in new.forms()}):
                onnx.checker.check_model(str(self.bundle.path / name))
            self._write(new)
            old = new
        finally:
            self._sweep(old)

    def _manifest(self) -> Manifest:
        """Return the manifest after the update; it lists the files of graphs and plans, and all that are not ours."""
        old = self.bundle.manifest
        files = dict(old.files) | {name: _entry(self.directory / name) for name in sorted(self._written)}
        graphs = graphs_of(old.model.config, old.arithmetic.profile, self._forms)
        manifest = replace(old, generator=_generator(), graphs=graphs, files=files)
        plans = tuple(plan for plan in self._plans.values() if self._fits(plan, manifest))
        needed = {file for form in manifest.forms() for file in self._files_of(form)} | {plan.file for plan in plans}
        kept = {name: entry for name, entry in files.items() if name in needed or not _is_ours(name)}
        return replace(manifest, files=dict(sorted(kept.items())), plans=plans)

    def _fits(self, plan: PlanEntry, manifest: Manifest) -> bool:
        """Return whether a plan belongs to the graph as it is after the update."""
        old = self.bundle.manifest
        before, after = (of.graphs[plan.graph].forms.get(TENSORRT) for of in (old, manifest))
        if before is None or after is None:
            return False
        try:
            then = {file: old.files[file] for file in self.bundle.files_of(before)}
        except EngineError:  # damaged, and made anew now
            return False
        return then == {file: manifest.files[file] for file in self._files_of(after)}

    def _files_of(self, form: Form) -> set[str]:
        """Return the names of the files of a form of a graph after the update."""
        if form.file not in self._written:
            return self.bundle.files_of(form)
        return files_read_by(form.file, (self.directory / form.file).read_bytes())

    def _without(self, manifest: Manifest, gone: set[str]) -> Manifest:
        """Remove files, and the graphs and plans that need them, from a manifest."""
        graphs = {
            name: replace(
                graph,
                forms={
                    key: form
                    for key, form in graph.forms.items()
                    if form.file not in gone and not self.bundle.files_of(form) & gone
                },
            )
            for name, graph in manifest.graphs.items()
        }
        plans = (plan for plan in manifest.plans if TENSORRT in graphs[plan.graph].forms and plan.file not in gone)
        files = {name: entry for name, entry in manifest.files.items() if name not in gone}
        return replace(manifest, graphs=graphs, files=files, plans=tuple(plans))

    def _write(self, manifest: Manifest) -> None:
        atomic_write(self.bundle.path / MANIFEST, to_json(manifest))

    def _move(self, name: str) -> None:
        source, target = self.directory / name, self.bundle.path / name
        with open(source, "rb") as stream:
            os.fsync(stream.fileno())
        target.parent.mkdir(exist_ok=True)
        os.replace(source, target)

    def _sweep(self, manifest: Manifest) -> None:
        """Delete the files in the bundle's folders that its manifest does not list."""
        for folder in _OURS:
            for path in (self.bundle.path / folder).glob("*"):
                name = f"{folder}/{path.name}"
                if name not in manifest.files and _is_ours(name):
                    path.unlink(missing_ok=True)


@contextmanager
def updating(directory: str | Path) -> Iterator[BundleUpdate]:
    """Collect changes of the bundle `directory`, and apply them when the block ends; if the block raises, apply none.

    Raises EngineError when `directory` is no bundle or another process is changing the bundle, and OSError when it is
    not writable.
    """
    directory = Path(directory)
    Bundle.open(directory)
    with alone_in(directory):
        for left in directory.glob(f"{_STAGING}*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_STAGING, dir=directory) as staging:
            update = BundleUpdate(Bundle.open(directory), Path(staging))
            yield update
            update.apply()


@contextmanager
def bundle_directory(output: str | Path) -> Iterator[Path]:
    """Yield a temporary directory that replaces `output` when the block succeeds and is deleted when the block raises.

    Raises GlicError when `output` exists and is anything but a bundle whose manifest lists all its files: nothing that
    an export did not write is ever deleted.
    """
    output = Path(output).resolve()
    if problem := _why_not_replaced(output):
        raise GlicError(
            f"{output} {problem}, so it is not replaced; name another directory: "
            f"--output {output.with_name(f'{output.stem}-2.engine').name}"
        )
    with atomic_directory(output) as temporary:
        yield temporary


def _why_not_replaced(output: Path) -> str | None:
    """Say why a path may not be replaced by a bundle; None if it may be."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    if not (output / MANIFEST).is_file():
        return "exists and is no engine bundle"
    try:
        listed = {MANIFEST, *Bundle.open(output).manifest.files}
    except EngineError as error:
        return f"exists and its {MANIFEST} is not that of an engine bundle of this version ({error})"
    others = sorted(
        name
        for path in output.rglob("*")
        if not path.is_dir()
        and (name := path.relative_to(output).as_posix()) not in listed
        and not name.startswith(_STAGING)
    )
    return f"holds {len(others)} files that are not the bundle's ({', '.join(others[:3])})" if others else None


def _generator() -> str:
    return f"glic-deploy {glic_deploy.__version__}"


def _entry(path: Path) -> FileEntry:
    return FileEntry(path.stat().st_size, sha256(path))


def _is_ours(name: str) -> bool:
    """Return whether a file's name is that of a graph, of weights or of a plan."""
    folder, _, file = name.rpartition("/")
    return file.endswith(_OURS.get(folder, ()))


def graphs_in(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and the bodies inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs_in(attribute.g)


def _initializers(graph: GraphProto) -> Iterator[TensorProto]:
    for inner in graphs_in(graph):
        yield from inner.initializer
