"""Whatever is wrong with a bundle is an EngineError that names it: at once, in little memory, before anything runs."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from glic_deploy.backends.base import Backend
from glic_deploy.bundle import FORMAT, MANIFEST, Bundle, external_files, fingerprint, parse, to_json
from glic_deploy.bundle_codec import BundleCodec
from glic_deploy.cli import main
from glic_deploy.errors import EngineError

from .small_bundle import edit, graphs, model, replace_arrays, replace_file, tables, vectors, write_small_bundle

Document = dict[str, Any]
BASE = "graphs/synthesis.base.onnx"


@pytest.fixture(autouse=True)
def nothing_hangs() -> Iterator[None]:
    """Whoever waits for a pipe or reads a device is interrupted."""

    def interrupt(*_: object) -> None:
        raise AssertionError("still at it after 20 s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid bundle. Tests must not change it."""
    return write_small_bundle(tmp_path_factory.mktemp("bundles") / "small")


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return shutil.copytree(pristine, tmp_path / "bundle")


def read_all(path: Path) -> Bundle:
    """Use everything that a bundle has."""
    bundle = Bundle.open(path)
    bundle.tables()
    if bundle.exact:
        bundle.conformance()
    for name in bundle.graphs():
        bundle.graph(name, ["base"])
    json.dumps(bundle.describe(), allow_nan=False)
    return bundle


class TestManifest:
    def test_reader_and_writer_agree(self, pristine: Path) -> None:
        data = (pristine / MANIFEST).read_bytes()
        assert to_json(parse(data)) == data
        bundle = read_all(pristine)
        assert (bundle.groups, bundle.latent, bundle.hyper, bundle.lmbda) == ((2, 4), 6, 2, 0.013)
        assert bundle.transforms() == ["analysis", "hyper_analysis", "synthesis", "preview"]

    def test_plans_are_read_as_they_are_written(self, bundle: Path) -> None:
        add_plan(bundle)
        data = (bundle / MANIFEST).read_bytes()
        assert json.loads(to_json(parse(data))) == json.loads(data)
        (plan,) = Bundle.open(bundle).plans()
        assert (plan.graph, plan.capabilities, plan.profile.largest) == ("synthesis", ((8, 9),), (2176, 3840))

    def test_an_unknown_key_is_left_to_later_versions(self, bundle: Path) -> None:
        edit(bundle, lambda document: document["model"].update(future=1))
        read_all(bundle)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("arithmetic.profile", "exakt"),
            ("arithmetic.profile", []),
            ("arithmetic.fingerprint", "ab" * 31),
            ("arithmetic.fingerprint", "AB" * 32),
            ("model", 3),
            ("model.fingerprint", "abcd"),
            ("model.fingerprint", 64),
            ("model.lambda", 0),
            ("model.lambda", -0.1),
            ("model.lambda", "0.1"),
            ("model.lambda", True),
            ("model.lambda", None),
            ("model.config", None),
            ("model.config.hyper", -1),
            ("model.config.hyper", 10**9),
            ("model.config.hyper", 257),
            ("model.config.hyper", 2.0),
            ("model.config.hyper", True),
            ("model.config.hyper", "2"),
            ("model.config.latent", 4097),
            ("model.config.groups", []),
            ("model.config.groups", [2, 5]),
            ("model.config.groups", [2, "4"]),
            ("model.config.groups", [7, -1]),
            ("model.config.groups", {"0": 6}),
            ("model.config.groups", [1] * 65),
            ("model.config.widths", [8, 8]),
            ("model.config.graphs", [3]),
            ("generator", "\x1b[2J"),
            ("generator", ""),
            ("generator", None),
            ("files", []),
            ("files", {}),
            ("files.tables", 1),
            ("graphs", []),
            ("graphs", {}),
            ("graphs.analysis", None),
            ("graphs.another", {}),
            ("graphs.analysis.role", "entropy"),
            ("graphs.analysis.role", None),
            ("graphs.analysis.forms", []),
            ("graphs.analysis.forms.base", "graphs/analysis.base.onnx"),
            ("graphs.analysis.forms.base.file", 3),
            ("graphs.analysis.forms.base.file", "graphs/unlisted.onnx"),
            ("graphs.analysis.forms.base.file", "tables.npz"),
            ("graphs.analysis.forms.base.plugins", -1),
            ("graphs.analysis.forms.base.plugins", "0"),
            ("graphs.analysis.forms.base.precision", 16),
            ("graphs.analysis.forms.base.library_sums", -1),
            ("graphs.analysis.forms.base.library_sums", "0"),
            ("graphs.analysis.forms.Base", {}),
            ("graphs.synthesis.outputs", [{"name": "image", "dtype": "float32", "shape": ["H", "W", 3]}]),
            ("graphs.synthesis.outputs", [{"name": "image", "dtype": "uint8", "shape": [1, 1, 3]}]),
            ("graphs.synthesis.outputs", []),
            ("graphs.synthesis.inputs", None),
            ("graphs.slice0_anchors.outputs", [{"name": "indexes", "dtype": "uint8", "shape": [1, 2, "H/16", "W/32"]}]),
            ("plans", {}),
            ("plans", [{}]),
            ("format", "3"),
            ("format", True),
            ("format", None),
        ],
    )
    def test_values_that_cannot_be_are_named(self, bundle: Path, path: str, value: object) -> None:
        def change(document: Document) -> None:
            *places, last = path.split(".")
            for place in places:
                document = document[place]
            document[last] = value

        edit(bundle, change)
        with pytest.raises(EngineError, match=r"is damaged or was edited: .*get a whole copy of the bundle") as error:
            Bundle.open(bundle)
        assert path.rpartition(".")[0] in str(error.value)

    @pytest.mark.parametrize("path", ["format", "model", "arithmetic", "graphs", "files", "generator"])
    def test_what_lacks_is_named(self, bundle: Path, path: str) -> None:
        edit(bundle, lambda document: document.pop(path))
        with pytest.raises(EngineError, match=f"lacks '{path}'"):
            Bundle.open(bundle)

    @pytest.mark.parametrize("name", ["synthesis", "hyper_synthesis", "slice1_nonanchors"])
    def test_every_graph_must_be_there(self, bundle: Path, name: str) -> None:
        edit(bundle, lambda document: document["graphs"].pop(name))
        with pytest.raises(EngineError, match=f"graphs lacks '{name}'"):
            Bundle.open(bundle)

    @pytest.mark.parametrize("name", ["tables.npz", "conformance.npz"])
    def test_arrays_must_be_listed(self, bundle: Path, name: str) -> None:
        edit(bundle, lambda document: document["files"].pop(name))
        with pytest.raises(EngineError, match=f"files lacks '{name}'"):
            Bundle.open(bundle)

    @pytest.mark.parametrize(
        "name",
        ["../elsewhere", "/etc/passwd", "a\0b", "a\\b", "a//b", "./a", "a/../b", "", "\ud800", "ä", "-x", "a" * 300],
    )
    def test_names_that_lead_elsewhere_are_refused(self, bundle: Path, name: str) -> None:
        edit(bundle, lambda document: document["files"].update({name: document["files"]["tables.npz"]}))
        with pytest.raises(EngineError, match="expected the path of a file inside the bundle"):
            Bundle.open(bundle)

    @pytest.mark.parametrize(
        ("entry", "expected"),
        [
            ({"bytes": -1}, "an integer of 0"),
            ({"bytes": "9"}, "an integer of 0"),
            ({"bytes": 1 << 60}, "an integer of 0"),
            ({"sha256": "00"}, "64 hexadecimal digits"),
            ({"sha256": None}, "64 hexadecimal digits"),
        ],
    )
    def test_entries_of_files_are_checked(self, bundle: Path, entry: Document, expected: str) -> None:
        edit(bundle, lambda document: document["files"]["tables.npz"].update(entry))
        with pytest.raises(EngineError, match=rf"files\['tables.npz'\]\.{next(iter(entry))} is .*{expected}"):
            Bundle.open(bundle)

    @pytest.mark.parametrize(
        "change",
        [
            {"graph": "another"},
            {"graph": {}},
            {"file": "plans/unlisted.plan"},
            {"file": BASE},
            {"capabilities": [[8]]},
            {"capabilities": [[8, 9, 0]]},
            {"capabilities": "8.9"},
            {"profile": {"smallest": [128, 128]}},
            {"version": "\x07"},
            {"build_seconds": -1},
            {"precision": None},
        ],
    )
    def test_plans_are_checked(self, bundle: Path, change: Document) -> None:
        add_plan(bundle)
        edit(bundle, lambda document: document["plans"][0].update(change))
        with pytest.raises(EngineError, match=rf"plans\[0\]\.{next(iter(change))}"):
            Bundle.open(bundle)

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "is no JSON"),
            (b"{", "is no JSON"),
            (b"[]", "expected an object"),
            (b"3", "expected an object"),
            (b"\xff\xfe", "is no UTF-8 text"),
            ('{"format": 3}'.encode("utf-16"), "is no UTF-8 text"),
            (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
            (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
            (b'{"format": 3, "model": {"lambda": 1e999}}', "is not finite"),
            (b'{"format": 3, "model": {"lambda": NaN}}', "is not finite"),
            (b'{"format": 3, "model": {"lambda": -Infinity}}', "is not finite"),
            (b'{"format": ' + b"9" * 100_000 + b"}", "is too large"),
        ],
        ids=lambda value: ascii(value[:20]),
    )
    def test_what_is_no_manifest(self, bundle: Path, data: bytes, reason: str) -> None:
        (bundle / MANIFEST).write_bytes(data)
        with pytest.raises(EngineError, match=f"{reason}.*; get a whole copy of the bundle"):
            Bundle.open(bundle)

    def test_its_size_is_bounded(self, bundle: Path) -> None:
        with open(bundle / MANIFEST, "r+b") as stream:
            stream.truncate(1 << 40)
        with pytest.raises(EngineError, match="expected at most 4,194,304"):
            Bundle.open(bundle)

    def test_other_formats_say_what_to_do(self, bundle: Path) -> None:
        edit(bundle, lambda document: document.update(format=FORMAT - 1))
        with pytest.raises(EngineError, match=r"made by an older glic-deploy.*export the checkpoint again"):
            Bundle.open(bundle)
        edit(bundle, lambda document: document.update(format=FORMAT + 1, model="of another form"))
        with pytest.raises(EngineError, match=r"made by a newer glic-deploy.*pip install --upgrade glic-deploy"):
            Bundle.open(bundle)

    def test_what_is_no_bundle(self, tmp_path: Path) -> None:
        with pytest.raises(EngineError, match=r"no manifest\.json; export one: python -m export\.to_trt"):
            Bundle.open(tmp_path)
        with pytest.raises(
            EngineError,
            match=r"nothere does not exist, so .*; export one: python -m export\.to_trt --checkpoint glic\.pth$",
        ):
            Bundle.open(tmp_path / "nothere")
        (tmp_path / "file").write_text("")
        with pytest.raises(EngineError, match="is a file"):
            Bundle.open(tmp_path / "file")
        (tmp_path / "my model.pth").write_text("")
        with pytest.raises(EngineError, match=r"is a file.*--checkpoint '.*/my model\.pth'$"):
            Bundle.open(tmp_path / "my model.pth")
        with pytest.raises(EngineError, match="cannot be read"):
            Bundle.open("a\0b")

    def test_info_shows_plans(self, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
        add_plan(bundle)
        assert main(["info", str(bundle)]) == 0
        assert "flavour=rtx version=1.2 compute_capabilities=8.9 sizes=128x128 to 3840x2176" in capsys.readouterr().out
        assert main(["info", str(bundle), "--json", "-"]) == 0
        (entry,) = json.loads(capsys.readouterr().out)["entries"]
        assert entry["plans"][0]["graphs"] == 1


def add_plan(bundle: Path) -> None:
    replace_file(bundle, "plans/synthesis.plan", b"a plan")
    sizes = {"smallest": [128, 128], "optimal": [512, 768], "largest": [2176, 3840]}
    plan = {"graph": "synthesis", "file": "plans/synthesis.plan", "flavour": "rtx", "version": "1.2"}
    plan |= {"capabilities": [[8, 9]], "precision": "fp16", "profile": sizes, "build_seconds": 1.5}
    edit(bundle, lambda document: document.update(plans=[plan]))


class TestFiles:
    @pytest.mark.parametrize("name", [MANIFEST, "tables.npz", "conformance.npz", BASE, "graphs/weights.bin"])
    @pytest.mark.parametrize("kind", ["pipe", "device", "endless", "folder", "loop", "nothing"])
    def test_only_regular_files_are_opened(self, bundle: Path, name: str, kind: str) -> None:
        path = bundle / name
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind != "nothing":
            path.symlink_to({"device": "/dev/tty", "endless": "/dev/zero", "loop": path}[kind])
        with pytest.raises(EngineError, match=r"cannot be read|no engine bundle"):
            read_all(bundle)

    def test_a_link_to_a_regular_file_is_followed(self, bundle: Path, tmp_path: Path) -> None:
        for name in (MANIFEST, "tables.npz", "graphs/weights.bin"):
            (bundle / name).rename(tmp_path / "elsewhere.bin")
            (bundle / name).symlink_to(shutil.copy(tmp_path / "elsewhere.bin", tmp_path / f"{Path(name).name}.kept"))
        read_all(bundle)

    @pytest.mark.parametrize("name", ["tables.npz", "conformance.npz", BASE, "graphs/weights.bin"])
    def test_altered_files_are_found_out(self, bundle: Path, name: str) -> None:
        data = bytearray((bundle / name).read_bytes())
        data[len(data) // 2] ^= 1
        (bundle / name).write_bytes(data)
        with pytest.raises(EngineError, match=r"SHA-256 differs.*get a whole copy"):
            read_all(bundle)
        (bundle / name).write_bytes(data[:-1])
        with pytest.raises(EngineError, match=r"bytes, its manifest says.*get a whole copy"):
            read_all(bundle)

    @pytest.mark.parametrize("name", ["tables.npz", BASE])
    def test_a_size_beyond_all_is_not_read(self, bundle: Path, name: str) -> None:
        with open(bundle / name, "r+b") as stream:
            stream.truncate(1 << 33)
        edit(bundle, lambda document: document["files"][name].update(bytes=1 << 33))
        with pytest.raises(EngineError, match="8,589,934,592 bytes, expected at most"):
            read_all(bundle)

    def test_a_form_that_lacks_says_how_to_add_it(self, pristine: Path) -> None:
        bundle = Bundle.open(pristine)
        with pytest.raises(EngineError, match=r"has the forms base.*python -m export\.to_trt --engine"):
            bundle.graph("analysis", ["fp16"])
        with pytest.raises(EngineError, match=r"has the forms base.*python -m export\.to_onnx"):
            bundle.graph("analysis", ["integer"])
        with pytest.raises(EngineError, match=r"no form tensorrt; add it: python -m export\.to_trt"):
            bundle.form("analysis", "tensorrt")
        with pytest.raises(EngineError, match="has no graph elsewhere"):
            bundle.graph("elsewhere", ["base"])


def archive(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return buffer.getvalue()


def npy(array: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def members(**changed: bytes) -> dict[str, bytes]:
    """The members of a right tables.npz, but for these."""
    return {f"{name}.npy": changed.get(name, npy(array)) for name, array in tables().items()}


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new, 1)


def _headed(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


_BOMB = bytes(50 << 20)
RIGHT = archive(members())


class TestNpz:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"PK",
            bytes(1000),
            RIGHT[:-1],
            RIGHT[: len(RIGHT) // 2],
            RIGHT + b"behind",
            archive({}),
            archive({"y_cdfs.npy": npy(tables()["y_cdfs"])}),
            archive(members() | {"more.npy": npy(np.zeros(3))}),
            archive({f"{i}.npy": b"" for i in range(20_000)}),
            archive(members(), zipfile.ZIP_BZIP2),
            archive(members(), zipfile.ZIP_LZMA),
            archive(members(y_cdfs=b"")),
            archive(members(y_cdfs=b"\x93NUMPY")),
            archive(members(y_cdfs=b"\x93NUMPY\1\0\xff\xff")),
            archive(members(y_cdfs=npy(tables()["y_cdfs"], version=(2, 0)))),
            archive(members(y_cdfs=_headed("(" * 900))),
            archive(members(y_cdfs=_headed("-" * 900 + "1"))),
            archive(members(y_cdfs=_headed("{'descr': '<i4', 'fortran_order': False, 'shape': (3, 5)}" + " " * 9999))),
            archive(members(y_cdfs=_headed("{'descr': '<i4', 'fortran_order': False, 'shape': (3, -5)}"))),
            archive(members(y_cdfs=_headed("{'descr': '<i4', 'fortran_order': False, 'shape': (10**99, 5)}"))),
            archive(members(y_cdfs=_headed("{'descr': '<i4', 'fortran_order': False, 'shape': (3, 65537)}"))),
            archive(members(y_cdfs=npy(tables()["y_cdfs"])[:-1])),
            archive(members(y_cdfs=npy(tables()["y_cdfs"]) + b"more")),
            archive(members(y_cdfs=npy(np.array([[None]], object), allow_pickle=True))),
            archive(members(y_cdfs=npy(np.zeros((3, 5), "i4,i4")))),
            archive(members(y_cdfs=npy(np.asfortranarray(tables()["y_cdfs"])))),
            archive(members(y_cdfs=npy(tables()["y_cdfs"].astype(np.int64)))),
            archive(members(y_cdfs=npy(tables()["y_cdfs"].astype(np.float32)))),
            archive(members(y_cdfs=npy(tables()["y_cdfs"].astype(">i4")))),
            archive(members(y_cdfs=npy(tables()["y_cdfs"][None]))),
            archive(members(y_cdfs=npy(np.zeros((257, 5), np.int32)))),
            archive(members(y_lengths=npy(np.zeros((0,), np.int32)))),
            archive(members(z_cdfs=npy(tables()["z_cdfs"][:1]))),
            archive(members(y_offsets=_BOMB)),
            patched(RIGHT, b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"),  # encrypted
            patched(RIGHT, b"y_cdfs", b"y_cdfz"),
        ],
        ids=lambda data: f"{len(data)} bytes",
    )
    def test_no_tables(self, bundle: Path, data: bytes) -> None:
        replace_file(bundle, "tables.npz", data)
        opened = Bundle.open(bundle)
        tracemalloc.start()
        with pytest.raises(EngineError, match=r"tables\.npz: .*; get a whole copy of the bundle"):
            opened.tables()
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
        tracemalloc.stop()

    def test_nothing_inflates_beyond_what_the_archive_says(self, bundle: Path) -> None:
        """A member that is 50 MiB of zeros and says to be as small as it should be."""
        right = len(npy(tables()["y_offsets"]))
        data = archive(members(y_offsets=npy(tables()["y_offsets"]) + _BOMB))
        data = data.replace(struct.pack("<L", right + len(_BOMB)), struct.pack("<L", right))
        replace_file(bundle, "tables.npz", data)
        opened = Bundle.open(bundle)
        tracemalloc.start()
        with pytest.raises(EngineError, match="CRC"):
            opened.tables()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()

    @pytest.mark.parametrize("name", ["y_cdfs", "z_cdfs"])
    @pytest.mark.parametrize(
        ("part", "row"),
        [
            ("cdfs", [0, 20000, 20000, 1 << 16, 0]),
            ("cdfs", [0, 30000, 20000, 1 << 16, 0]),
            ("cdfs", [1, 20000, 30000, 1 << 16, 0]),
            ("cdfs", [0, 20000, 30000, 65535, 0]),
            ("cdfs", [0, -(1 << 31), (1 << 31) - 1, 1 << 16, 0]),
            ("lengths", 0),
            ("lengths", -1),
            ("lengths", 2),
            ("lengths", 6),
            ("lengths", -(1 << 31)),
            ("lengths", (1 << 31) - 1),
            ("offsets", -32769),
            ("offsets", 32767),
            ("offsets", (1 << 31) - 1),
        ],
    )
    def test_rows_that_no_coder_takes(self, bundle: Path, name: str, part: str, row: Any) -> None:
        arrays = tables()
        arrays[f"{name[0]}_{part}"][1] = row
        replace_arrays(bundle, "tables.npz", arrays)
        with pytest.raises(EngineError, match=f"row 1 of the {name[0]} tables"):
            Bundle.open(bundle).tables()

    def test_rows_that_the_coder_takes_are_read(self, bundle: Path) -> None:
        arrays = tables()
        arrays["y_offsets"][:] = [32766, -32768, 0]
        replace_arrays(bundle, "tables.npz", arrays)
        np.testing.assert_equal(Bundle.open(bundle).tables(), arrays)
        BundleCodec(bundle, backend=Fake(Bundle.open(bundle)))

    def test_tables_are_the_float_fingerprint_s(self, tmp_path: Path) -> None:
        bundle = write_small_bundle(tmp_path / "float", "float")
        read_all(bundle)
        arrays = tables()
        arrays["y_cdfs"][0, 1] += 1
        replace_arrays(bundle, "tables.npz", arrays)
        with pytest.raises(EngineError, match="arithmetic fingerprint"):
            Bundle.open(bundle).tables()
        edit(bundle, lambda document: document["arithmetic"].update(fingerprint=fingerprint(arrays)))
        Bundle.open(bundle).tables()

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("z_symbols", None),
            ("slice1_nonanchors_means", None),
            ("more", np.zeros(3)),
            ("z_symbols", np.zeros((2, 1, 2, 2, 3), np.int16)),
            ("z_symbols", np.zeros((2, 1, 2, 2, 18), np.int16)),
            ("z_symbols", np.zeros((2, 1, 3, 2, 4), np.int16)),
            ("z_symbols", np.zeros((1, 1, 2, 2, 4), np.int16)),
            ("slice0_anchors_indexes", np.zeros((2, 1, 2, 8, 8), np.int16)),
            ("slice0_anchors_means", np.zeros((2, 1, 2, 8, 16), np.float32)),
            ("slice0_anchors_symbols", np.zeros((2, 1, 4, 8, 8), np.int16)),
        ],
    )
    def test_vectors_of_another_form(self, bundle: Path, name: str, value: NDArray[Any] | None) -> None:
        arrays = vectors()
        arrays.pop(name, None)
        replace_arrays(bundle, "conformance.npz", arrays if value is None else arrays | {name: value})
        with pytest.raises(EngineError, match=r"conformance\.npz: .*; get a whole copy of the bundle"):
            Bundle.open(bundle).conformance()


def tensor(location: str) -> TensorProto:
    made = TensorProto(name=location, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    made.external_data.add(key="location", value=location)
    made.external_data.add(key="offset", value="0")
    return made


def everywhere() -> onnx.ModelProto:
    """A model with external data in every place where a tensor can be."""
    attribute, sparse = onnx.AttributeProto, onnx.SparseTensorProto
    inner = onnx.GraphProto(initializer=[tensor("inner")], sparse_initializer=[sparse(values=tensor("sparse"))])
    body = onnx.NodeProto(attribute=[attribute(name="a", g=inner, t=tensor("t"), tensors=[tensor("tensors")])])
    deep = onnx.GraphProto(node=[body])
    nodes = [
        onnx.NodeProto(attribute=[attribute(name="a", graphs=[deep])]),
        onnx.NodeProto(attribute=[attribute(name="a", sparse_tensor=sparse(indices=tensor("indices")))]),
        onnx.NodeProto(attribute=[attribute(name="a", sparse_tensors=[sparse(values=tensor("sparse_tensors"))])]),
    ]
    model = onnx.ModelProto(graph=onnx.GraphProto(node=nodes, initializer=[tensor("top")]))
    model.functions.add(
        node=[onnx.NodeProto(attribute=[attribute(name="a", t=tensor("function"))])],
        attribute_proto=[attribute(name="a", t=tensor("default"))],
    )
    model.training_info.add(
        initialization=onnx.GraphProto(initializer=[tensor("initialization")]),
        algorithm=onnx.GraphProto(initializer=[tensor("algorithm")]),
    )
    return model


EVERYWHERE = {"inner", "sparse", "t", "tensors", "indices", "sparse_tensors", "top", "function", "default"}
EVERYWHERE |= {"initialization", "algorithm"}


def locations(message: Any) -> set[str]:
    """The locations that a parsed message has, by onnx's own classes."""
    found = set()
    if isinstance(message, TensorProto):
        found |= {entry.value for entry in message.external_data if entry.key == "location"}
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                found |= locations(inner)
    return found


class TestExternalData:
    def test_it_is_found_everywhere(self) -> None:
        model = everywhere()
        assert locations(model) == EVERYWHERE
        assert external_files(model.SerializeToString()) == EVERYWHERE

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6))
    def test_no_altered_graph_hides_a_file(self, changes: list[tuple[int, int]]) -> None:
        data = bytearray(everywhere().SerializeToString())
        for place, value in changes:
            data[place % len(data)] = value
        try:
            parsed = onnx.ModelProto.FromString(bytes(data))
        except Exception:
            return
        try:
            found = external_files(bytes(data))
        except ValueError:
            return
        assert locations(parsed) <= found

    @pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph", "function"])
    @pytest.mark.parametrize(
        "location", ["other.bin", "../tables.npz", "/etc/passwd", "*/_ORT_MEM_ADDR_/*", "../../x", "", "a\0b"]
    )
    def test_files_that_are_not_listed_are_never_read(self, bundle: Path, place: str, location: str) -> None:
        model = onnx.load(bundle / BASE, load_external_data=False)
        constant = onnx.NodeProto(op_type="Constant", output=["c"])
        constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR, t=tensor(location))
        if place == "initializer":
            model.graph.initializer.append(tensor(location))
        elif place == "attribute":
            model.graph.node.append(constant)
        elif place == "subgraph":
            model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=onnx.GraphProto(node=[constant])))
        else:
            model.functions.add(name="f", domain="glic", node=[constant])
        replace_file(bundle, BASE, model.SerializeToString())
        (bundle / "graphs" / "other.bin").write_bytes(bytes(4))
        with pytest.raises(EngineError, match="which the manifest does not list"):
            Bundle.open(bundle).graph("synthesis", ["base"])

    def test_a_graph_is_no_link_to_where_other_constants_are(self, bundle: Path, tmp_path: Path) -> None:
        (bundle / BASE).rename(tmp_path / "graph.onnx")
        (bundle / BASE).symlink_to(tmp_path / "graph.onnx")
        with pytest.raises(EngineError, match="is a symbolic link, expected the file itself"):
            Bundle.open(bundle).graph("synthesis", ["base"])
        (bundle / "graphs").rename(tmp_path / "graphs")
        (bundle / "graphs").symlink_to(tmp_path / "graphs")
        Bundle.open(bundle).graph("analysis", ["base"])

    def test_files_that_another_graph_reads_are_not_looked_at(self, bundle: Path) -> None:
        replace_file(bundle, "graphs/weights.fp16.bin", b"of other graphs")
        (bundle / "graphs" / "weights.fp16.bin").unlink()
        read_all(bundle)

    @pytest.mark.parametrize("data", [b"<?xml?>", b"ORTM", b"\x3a\xff\xff\xff\xff\x7f", b"\x0b\x0c", b"\x80"])
    def test_what_is_no_graph(self, bundle: Path, data: bytes) -> None:
        replace_file(bundle, BASE, data)
        with pytest.raises(EngineError, match="is no ONNX graph"):
            Bundle.open(bundle).graph("synthesis", ["base"])

    def test_endless_nesting_ends(self) -> None:
        graph = onnx.GraphProto(initializer=[tensor("x")]).SerializeToString()
        for _ in range(200):
            graph = _field(1, _field(5, _field(6, graph)))
        with pytest.raises(ValueError, match="nests more than"):
            external_files(_field(7, graph))


def _field(number: int, data: bytes) -> bytes:
    size, length = len(data), b""
    while size >= 128:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


class Fake(Backend):
    """Gives zeros of the form that the bundle says, but for one output."""

    name = "fake"

    def __init__(self, bundle: Bundle, graph: str = "", wrong: Callable[[NDArray[Any]], Any] | None = None) -> None:
        self.bundle, self.graph, self.wrong = bundle, graph, wrong

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        shapes = self.bundle.output_shapes(graph, {name: value.shape for name, value in inputs.items()})
        outputs = [np.zeros(shapes[port.name], port.dtype) for port in self.bundle.ports(graph)[1]]
        if graph == self.graph and self.wrong is not None:
            outputs = self.wrong(outputs[0])
        return outputs

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def close(self) -> None:
        pass


class TestOutputs:
    """What a graph gives is held against the manifest, whatever the backend."""

    def engine(self, path: Path, graph: str, wrong: Callable[[NDArray[Any]], Any]) -> BundleCodec:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return BundleCodec(path, backend=Fake(Bundle.open(path), graph, wrong))

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda image: [image[:1, :1]],
            lambda image: [image.astype(np.float32)],
            lambda image: [image[..., 0]],
            lambda image: [],
            lambda image: [image, image],
        ],
    )
    def test_an_image_of_another_form(self, tmp_path: Path, wrong: Callable[[NDArray[Any]], Any]) -> None:
        engine = self.engine(write_small_bundle(tmp_path / "float", "float"), "synthesis", wrong)
        payload, checksum = engine.encode(np.zeros((128, 256, 3), np.uint8))
        with pytest.raises(EngineError, match=r"graph synthesis of .* returned .*, expected uint8\[128, 256, 3\]"):
            engine.decode(payload, checksum, 100, 200)

    @pytest.mark.parametrize("graph", ["analysis", "hyper_analysis", "hyper_synthesis", "slice1_nonanchors"])
    def test_every_graph_is_held_to_its_ends(self, tmp_path: Path, graph: str) -> None:
        engine = self.engine(write_small_bundle(tmp_path / "float", "float"), graph, lambda first: [first[..., :-1]])
        with pytest.raises(EngineError, match=rf"graph {graph} of .* returned"):
            engine.encode(np.zeros((128, 256, 3), np.uint8))

    def test_conformance_is_too(self, pristine: Path) -> None:
        with pytest.raises(EngineError, match=r"graph slice0_anchors of .* returned"):
            BundleCodec(pristine, backend=Fake(Bundle.open(pristine), "slice0_anchors", lambda first: [first]))


def problem_of(use: Callable[[], object]) -> str:
    """The message of an EngineError that this raises, if it does."""
    try:
        use()
    except EngineError as error:
        return str(error)
    return ""


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of all values of a document."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["base", "exact"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_manifest_raises_anything_else(pristine: Path, data: st.DataObject) -> None:
    """Open, tables and vectors of whatever a manifest says raise EngineError alone."""
    text = (pristine / MANIFEST).read_text()
    document = json.loads(text)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([place for place in places(document) if place]))
        target = document
        for key in path[:-1]:
            target = target[key]
        kind = data.draw(st.sampled_from(["replace", "delete", "add"]))
        if kind == "replace":
            target[path[-1]] = data.draw(ANYTHING)
        elif kind == "delete":
            del target[path[-1]]
        elif isinstance(target, dict):
            target[data.draw(st.text(max_size=8))] = data.draw(ANYTHING)
        else:
            target.append(data.draw(ANYTHING))
    copy = pristine.parent / "mutated"
    if not copy.exists():
        shutil.copytree(pristine, copy)
    (copy / MANIFEST).write_text(json.dumps(document))
    assert problem_of(lambda: read_all(copy)).isascii()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 40))
def test_no_archive_raises_anything_else(pristine: Path, changes: list[tuple[int, int]], cut: int) -> None:
    """The same of whatever tables.npz holds, where the manifest says that it is right."""
    copy = pristine.parent / "archives"
    if not copy.exists():
        shutil.copytree(pristine, copy)
    data = bytearray(RIGHT[: len(RIGHT) - max(0, cut - 20)])
    for place, value in changes:
        data[place % len(data)] = value
    replace_file(copy, "tables.npz", bytes(data))
    problem = problem_of(lambda: Bundle.open(copy).tables())
    assert not problem or "tables.npz" in problem


def test_stub_graphs_are_valid(pristine: Path) -> None:
    for name, ends in graphs().items():
        onnx.checker.check_model(model(name, ends, 0))
