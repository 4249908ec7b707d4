"""Engine bundles: directories of graphs, weights and entropy tables under a manifest. See docs/bundle.md.

`manifest` has the types, the reader and the writer of the manifest. `graphs` has the inputs and outputs of every graph.
`bundle` has the bundle on disk, whose files are checked before they are used.
"""

from ..forms import BASE, BF16, FP16, FUSED, INTEGER, NATIVE, TENSORRT
from .bundle import Bundle, alone_in, set_encoder_data
from .files import sha256
from .graphs import PREVIEW, Ends, Port, Role, Shape, graph_ends
from .manifest import (
    CONFORMANCE,
    FORMAT,
    MANIFEST,
    PLANS,
    TABLES,
    Arithmetic,
    Config,
    EncoderData,
    FileEntry,
    Form,
    Graph,
    GraphAggregation,
    Manifest,
    Model,
    PlanEntry,
    SizeRange,
    TableFit,
    TableForm,
    Trial,
    graphs_of,
    parse,
    to_json,
)
from .onnx_files import external_files, files_read_by
from .tables import fingerprint

__all__ = [
    "BASE",
    "BF16",
    "CONFORMANCE",
    "FORMAT",
    "FP16",
    "FUSED",
    "INTEGER",
    "MANIFEST",
    "NATIVE",
    "PLANS",
    "PREVIEW",
    "TABLES",
    "TENSORRT",
    "Arithmetic",
    "Bundle",
    "Config",
    "EncoderData",
    "Ends",
    "FileEntry",
    "Form",
    "Graph",
    "GraphAggregation",
    "Manifest",
    "Model",
    "PlanEntry",
    "Port",
    "Role",
    "Shape",
    "SizeRange",
    "TableFit",
    "TableForm",
    "Trial",
    "alone_in",
    "external_files",
    "files_read_by",
    "fingerprint",
    "graph_ends",
    "graphs_of",
    "parse",
    "set_encoder_data",
    "sha256",
    "to_json",
]
