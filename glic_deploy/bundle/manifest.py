"""The manifest of an engine bundle: its types, the one reader and the one writer. See docs/bundle.md.

A `Manifest` that was read is consistent and within bounds. The files are checked when they are used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ..entropy.quantizer import MAX_STRENGTH, Weighing
from ..errors import EngineError
from .graphs import PREVIEW, Ends, graph_ends
from .json_reader import MalformedError, Node, read_json

FORMAT = 3
MANIFEST = "manifest.json"
TABLES = "tables.npz"
CONFORMANCE = "conformance.npz"
PLANS = "plans"  # folder and manifest entry
ENCODER = "encoder"  # manifest entry
TABLE_FIT = "tables"  # manifest entry

MAX_MANIFEST_BYTES = 4 << 20
MAX_FILE_BYTES = 1 << 34
MAX_CHANNELS = 4096
MAX_HYPER = 256
"""The most channels of z: each has a table of the range coder, and the index of a table is a byte."""
MAX_SLICES = 64
EXPORT = "python -m export.to_onnx --checkpoint C.pth --output DIR"
WHOLE_COPY = "get a whole copy of the bundle"
UPGRADE = "upgrade glic-deploy: pip install --upgrade glic-deploy"

Profile = Literal["exact", "float"]
TableForm = Literal["gaussian", "fitted"]
Size = tuple[int, int]
"""Height and width in pixels."""

_HASH = re.compile("[0-9a-f]{64}"), "64 hexadecimal digits"
_TEXT = re.compile("[ -~]{1,200}"), "1 to 200 printable ASCII characters"
_NAME = re.compile("[a-z][a-z0-9_.]{0,63}"), "a name of lower-case letters, digits, '_' and '.'"
_FILE = (
    re.compile(r"(?=.{1,250}$)[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*){0,7}"),
    "the path of a file inside the bundle, of letters, digits and '_.+-' between single '/'",
)


@dataclass(frozen=True)
class GraphAggregation:
    """One graph feature aggregation of the network: its place, width, number of blocks and heads."""

    name: str
    channels: int
    depth: int
    heads: int


@dataclass(frozen=True)
class Config:
    """The network's dimensions, as the exporter read them from the checkpoint's shapes.

    widths: channels at 1/2, 1/4 and 1/8 scale. latent, hyper: channels of y and of z. groups: channels of each slice of
    y. window, sample: sides of a query group and of its candidate grid.
    """

    widths: tuple[int, ...]
    latent: int
    hyper: int
    groups: tuple[int, ...]
    graphs: tuple[GraphAggregation, ...]
    window: int
    sample: int


@dataclass(frozen=True)
class Model:
    """The network: the fingerprint of its weights, its dimensions, and the lambda of its training where known."""

    fingerprint: str
    config: Config
    lmbda: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the model as the manifest has it."""
        config = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self.config).items()}
        of_training = {} if self.lmbda is None else {"lambda": self.lmbda}
        return {"fingerprint": self.fingerprint, "config": config, **of_training}


@dataclass(frozen=True)
class Arithmetic:
    """The arithmetic of the entropy path, integer ("exact") or floating point ("float"), with its fingerprint."""

    profile: Profile
    fingerprint: str

    @property
    def exact(self) -> bool:
        """Whether files decode on any machine."""
        return self.profile == "exact"


@dataclass(frozen=True)
class Form:
    """One form of a graph.

    Attributes:
        file: its ONNX file.
        plugins: the number of native ops (nodes of the domain `glic`) in it.
        precision: what it computes in, if the manifest records it.
        library_sums: the number of nodes whose results may depend on how a runtime's libraries sum; None if the
            manifest does not record it.
    """

    file: str
    plugins: int
    precision: str | None = None
    library_sums: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the form as the manifest has it."""
        recorded = {"precision": self.precision, "library_sums": self.library_sums}
        return {"file": self.file, "plugins": self.plugins} | {k: v for k, v in recorded.items() if v is not None}


@dataclass(frozen=True)
class Graph(Ends):
    """A graph: its role, its ends, and its forms by name. A graph that was not exported has no forms."""

    forms: Mapping[str, Form]

    def as_dict(self) -> dict[str, Any]:
        """Return the graph as the manifest has it."""
        return {
            "role": self.role,
            **_ends_as_dict(self),
            "forms": {name: form.as_dict() for name, form in self.forms.items()},
        }


@dataclass(frozen=True)
class FileEntry:
    """The size of a file and the SHA-256 of its bytes, as 64 hexadecimal digits."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class SizeRange:
    """The padded image sizes that a plan accepts; it is fastest at `optimal`."""

    smallest: Size
    optimal: Size
    largest: Size


@dataclass(frozen=True)
class PlanEntry:
    """A TensorRT plan: the graph that it runs, its file, and what it was built by and for.

    flavour: a key of `glic_deploy.tensorrt.FLAVOURS`. capabilities: compute capabilities of the GPUs that the plan runs
    on, (8, 9) for 8.9.
    """

    graph: str
    file: str
    flavour: str
    version: str
    capabilities: tuple[tuple[int, int], ...]
    precision: str
    profile: SizeRange
    build_seconds: float


@dataclass(frozen=True)
class Trial:
    """Images coded at one strength of the encoder's quantisation: means of bits per pixel and of PSNR in dB."""

    strength: float
    bpp: float
    psnr: float


@dataclass(frozen=True)
class EncoderData:
    """What encoders of this bundle should do, and the measurements that led to it. Decoders do not read it.

    Attributes:
        strength, usual_bits: those of the `glic_deploy.entropy.quantizer.Weighing` at effort 1.
        exchange: the exchange rate between bits and quality at which the strength was chosen, as text.
        net_percent: the net change of the images' cost at this strength.
        worst_percent: the largest net change of an image at the strength that the other images chose; None for one
            image.
        images: the number of images.
        trials: the images at every strength that was tried; the first is 0.
    """

    strength: float
    usual_bits: tuple[float, ...]
    exchange: str
    net_percent: float
    worst_percent: float | None
    images: int
    trials: tuple[Trial, ...]

    @property
    def weighing(self) -> Weighing:
        """How encoders weigh bits against error at effort 1."""
        return Weighing(self.strength, self.usual_bits)


@dataclass(frozen=True)
class TableFit:
    """The form of the CDF tables of y, and the measurements that led to it. Coding does not read it.

    Attributes:
        form: "gaussian", a Gaussian a row, as in the authors' code, or "fitted", the same mixture of Gaussians in every
            row, relative to the row's scale.
        images: the number of images that the tables were fitted to, or were to be.
        held_out_percent: the change of the bits of images that the tables were not fitted to; None if it was not
            measured.
        ratios, weights: the scales of the mixture, as multiples of the row's scale, and their weights; empty for
            "gaussian".
    """

    form: TableForm = "gaussian"
    images: int = 0
    held_out_percent: float | None = None
    ratios: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """The contents of manifest.json. Mappings keep the order of the document."""

    generator: str
    model: Model
    arithmetic: Arithmetic
    graphs: Mapping[str, Graph]
    files: Mapping[str, FileEntry]
    plans: tuple[PlanEntry, ...] = ()
    encoder: EncoderData | None = None
    table_fit: TableFit = TableFit()

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "format": FORMAT,
            "generator": self.generator,
            "model": self.model.as_dict(),
            "arithmetic": asdict(self.arithmetic),
            TABLE_FIT: asdict(self.table_fit),
            "graphs": {name: graph.as_dict() for name, graph in self.graphs.items()},
            "files": {name: asdict(entry) for name, entry in self.files.items()},
            **({PLANS: [asdict(plan) for plan in self.plans]} if self.plans else {}),
            **({ENCODER: asdict(self.encoder)} if self.encoder else {}),
        }

    def forms(self) -> Iterator[Form]:
        """Iterate over every form of every graph."""
        return (form for graph in self.graphs.values() for form in graph.forms.values())


def to_json(manifest: Manifest) -> bytes:
    """Serialise a manifest. Raises EngineError if `parse` would refuse it."""
    data = (json.dumps(manifest.as_dict(), indent=1) + "\n").encode()
    try:
        _manifest(read_json(data))
    except MalformedError as error:
        raise EngineError(f"no bundle can be written with this: {error}; export with other values") from None
    return data


def parse(data: bytes, source: str = MANIFEST) -> Manifest:
    """Read a manifest of at most MAX_MANIFEST_BYTES.

    Raises EngineError if the document has another format or a wrong value. The message starts with `source` and names
    the place in the document.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise EngineError(f"{source} has {len(data):,} bytes, expected at most {MAX_MANIFEST_BYTES:,}; {WHOLE_COPY}")
    try:
        document = read_json(data)
        version = document["format"].integer(1, 1 << 32)
        if version == FORMAT:
            return _manifest(document)
    except (MalformedError, RecursionError) as error:
        raise EngineError(f"{source} is damaged or was edited: {error}; {WHOLE_COPY}") from None
    remedy = UPGRADE if version > FORMAT else f"export the checkpoint again: {EXPORT}"
    maker = "a newer" if version > FORMAT else "an older"
    raise EngineError(
        f"{source} is of bundle format {version}, made by {maker} glic-deploy; this one reads format {FORMAT}; {remedy}"
    )


def graphs_of(config: Config, profile: Profile, forms: Mapping[str, Mapping[str, Form]]) -> dict[str, Graph]:
    """Return all graphs of a network by name, with the forms that `forms` lists for each.

    The graph of previews is among them if `forms` has its name.
    """
    expected = graph_ends(config.latent, config.hyper, config.groups, profile == "exact")
    return {
        name: Graph(ends.role, ends.inputs, ends.outputs, forms.get(name, {}))
        for name, ends in expected.items()
        if name != PREVIEW or name in forms
    }


def _manifest(document: Node) -> Manifest:
    model = _model(document["model"])
    arithmetic = _arithmetic(document["arithmetic"])
    files = {_key(key, entry, _FILE): _file_entry(entry) for key, entry in document["files"].items()}
    for name in (TABLES, CONFORMANCE) if arithmetic.exact else (TABLES,):
        if name not in files:
            raise MalformedError(f"files lacks {name!r}")
    graphs = _graphs(document["graphs"], model.config, arithmetic.profile, files)
    plans, encoder, table_fit = (document.get(key) for key in (PLANS, ENCODER, TABLE_FIT))
    return Manifest(
        document["generator"].text(*_TEXT),
        model,
        arithmetic,
        graphs,
        files,
        tuple(_plan(plan, graphs, files) for plan in plans.elements()) if plans else (),
        _encoder(encoder, model.config) if encoder else None,
        _table_fit(table_fit) if table_fit else TableFit(),
    )


def _model(node: Node) -> Model:
    lmbda = node.get("lambda")
    if lmbda and not lmbda.number() > 0:
        lmbda.fail("a number above 0")
    return Model(node["fingerprint"].text(*_HASH), _config(node["config"]), lmbda.number() if lmbda else None)


def _config(node: Node) -> Config:
    config = Config(
        tuple(width.integer(1, MAX_CHANNELS) for width in node["widths"].elements(3, 3)),
        node["latent"].integer(1, MAX_CHANNELS),
        node["hyper"].integer(1, MAX_HYPER),
        tuple(group.integer(1, MAX_CHANNELS) for group in node["groups"].elements(1, MAX_SLICES)),
        tuple(_aggregation(graph) for graph in node["graphs"].elements(0, MAX_SLICES)),
        node["window"].integer(1, MAX_CHANNELS),
        node["sample"].integer(1, MAX_CHANNELS),
    )
    if sum(config.groups) != config.latent:
        raise MalformedError(f"{node.path}.groups sum to {sum(config.groups)}, latent is {config.latent}")
    return config


def _aggregation(node: Node) -> GraphAggregation:
    return GraphAggregation(
        node["name"].text(*_NAME), *(node[key].integer(1, MAX_CHANNELS) for key in ("channels", "depth", "heads"))
    )


def _arithmetic(node: Node) -> Arithmetic:
    return Arithmetic(_one_of(node["profile"], Profile), node["fingerprint"].text(*_HASH))


def _one_of(node: Node, literal: Any) -> Any:
    """Return a value that is one of the texts of a Literal type."""
    if node.value not in get_args(literal):
        node.fail(" or ".join(map(repr, get_args(literal))))
    return node.value


def _key(key: str, node: Node, form: tuple[re.Pattern[str], str]) -> str:
    """Return the key of a value, which must match the pattern."""
    return Node(key, f"the key of {node.path}").text(*form)


def _file_entry(node: Node) -> FileEntry:
    return FileEntry(node["bytes"].integer(0, MAX_FILE_BYTES), node["sha256"].text(*_HASH))


def _listed(node: Node, suffix: str, files: Mapping[str, FileEntry]) -> str:
    """Return a file name that `files` lists."""
    name = node.text(*_FILE)
    if name not in files or not name.endswith(suffix):
        node.fail(f"a {suffix} file that the manifest lists under files")
    return name


def _graphs(node: Node, config: Config, profile: Profile, files: Mapping[str, FileEntry]) -> dict[str, Graph]:
    expected = graphs_of(config, profile, {PREVIEW: {}} if node.get(PREVIEW) else {})
    for key, graph in node.items():
        if key not in expected:
            graph.fail(f"one of the network's graphs: {', '.join(expected)}")
    return {name: _graph(node[name], ends, files) for name, ends in expected.items()}


def _graph(node: Node, expected: Graph, files: Mapping[str, FileEntry]) -> Graph:
    for key, value in {"role": expected.role, **_ends_as_dict(expected)}.items():
        if node[key].value != value:
            text = json.dumps(node[key].value)
            raise MalformedError(f"{node.path}.{key} is {text[:200]}, expected {json.dumps(value)}")
    forms = {_key(key, form, _NAME): _form(form, files) for key, form in node["forms"].items()}
    return Graph(expected.role, expected.inputs, expected.outputs, forms)


def _ends_as_dict(ends: Ends) -> dict[str, Any]:
    return {name: [port.as_dict() for port in getattr(ends, name)] for name in ("inputs", "outputs")}


def _form(node: Node, files: Mapping[str, FileEntry]) -> Form:
    precision, library_sums = node.get("precision"), node.get("library_sums")
    return Form(
        _listed(node["file"], ".onnx", files),
        node["plugins"].integer(0, 1 << 20),
        precision.text(*_TEXT) if precision else None,
        library_sums.integer(0, 1 << 20) if library_sums else None,
    )


def _plan(node: Node, graphs: Mapping[str, Graph], files: Mapping[str, FileEntry]) -> PlanEntry:
    if node["graph"].value not in list(graphs):
        node["graph"].fail("the name of a graph")
    profile = node["profile"]
    return PlanEntry(
        node["graph"].value,
        _listed(node["file"], ".plan", files),
        node["flavour"].text(*_TEXT),
        node["version"].text(*_TEXT),
        tuple(_pair(capability, 0, 999) for capability in node["capabilities"].elements(1, 64)),
        node["precision"].text(*_TEXT),
        SizeRange(*(_pair(profile[key], 1, 1 << 32) for key in ("smallest", "optimal", "largest"))),
        node["build_seconds"].number(),
    )


def _encoder(node: Node, config: Config) -> EncoderData:
    worst, passes = node["worst_percent"], 2 * len(config.groups)
    return EncoderData(
        _above_zero(node["strength"], MAX_STRENGTH),
        tuple(_above_zero(bits, 64) for bits in node["usual_bits"].elements(passes, passes)),
        node["exchange"].text(*_TEXT),
        node["net_percent"].number(negative=True),
        None if worst.value is None else worst.number(negative=True),
        node["images"].integer(1, 1 << 32),
        tuple(
            Trial(*(trial[key].number() for key in ("strength", "bpp", "psnr"))) for trial in node["trials"].elements()
        ),
    )


def _table_fit(node: Node) -> TableFit:
    change = node["held_out_percent"]
    ratios, weights = (tuple(one.number() for one in node[key].elements(0, 64)) for key in ("ratios", "weights"))
    if len(ratios) != len(weights):
        raise MalformedError(f"{node.path} has {len(ratios)} ratios and {len(weights)} weights")
    return TableFit(
        _one_of(node["form"], TableForm),
        node["images"].integer(0, 1 << 32),
        None if change.value is None else change.number(negative=True),
        ratios,
        weights,
    )


def _above_zero(node: Node, most: float) -> float:
    if not 0 < node.number() <= most:
        node.fail(f"a number above 0 and up to {most:g}")
    return node.number()


def _pair(node: Node, least: int, most: int) -> tuple[int, int]:
    first, second = (element.integer(least, most) for element in node.elements(2, 2))
    return first, second
