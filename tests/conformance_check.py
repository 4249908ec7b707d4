"""Decodes the files of tests/data/conformance and compares the results: `python -m tests.conformance_check`.

The program needs glic_deploy and a bundle of the golden network (`tests.golden_files.write_bundle`), and neither
PyTorch nor pytest, so that it also runs on machines that the project is not developed on.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glic_deploy import Codec, bundle_codec, read_metadata
from glic_deploy.backends import Backend
from glic_deploy.bundle import Bundle
from glic_deploy.channels import Channels
from glic_deploy.entropy.passes import CodedPass
from glic_deploy.entropy.rans import Decoder, InstructionSet

from .standin import StandIns

FOLDER = Path(__file__).parent / "data" / "conformance"
LIST = "corpus.json"

Decoded = dict[str, Any]
"""What the list says of a valid file: width, height, mode, and digests."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def describe(codec: Codec, data: bytes) -> tuple[Decoded, NDArray[np.uint8]]:
    """Decode a file and return what the list says of it, and the image.

    symbols: the digest of all symbols in the order of coding, tile after tile, each as a little-endian int16.
    image: of the pixels that the stand-in of the synthesis makes of the latents.
    alpha: of the opacities, row by row.
    metadata: of each item.
    """
    passes: list[CodedPass] = []
    image = codec.decode(data, passes=passes)
    channels = Channels.of(image)
    found: Decoded = {
        "width": image.shape[1],
        "height": image.shape[0],
        "mode": channels.mode,
        "symbols": sha256(b"".join(coded.symbols.astype("<i2").tobytes() for coded in passes)),
        "image": sha256(image.tobytes()),
    }
    if channels.alpha:
        found["alpha"] = sha256(np.ascontiguousarray(image[..., -1]).tobytes())
    if items := {name: sha256(content) for name, content in read_metadata(data).items()}:
        found["metadata"] = items
    return found, image


def check_valid(codec: Codec, data: bytes, expected: Decoded) -> None:
    """Raise AssertionError unless a file decodes to what is expected, whole and in part, and verifies."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, image = describe(codec, data)
        assert found == expected, f"decodes to {found}, expected {expected}"
        verified = codec.verify(data)
        width, height = expected["width"], expected["height"]
        assert (verified.width, verified.height, verified.metadata.keys()) == (
            width, height, expected.get("metadata", {}).keys()
        )  # fmt: skip
        x, y = width // 3, height // 2
        part = codec.decode(data, region=(x, y, width - x, height - y))
        np.testing.assert_array_equal(part, image[y:, x:])


def check_damaged(codec: Codec, data: bytes, expected: Mapping[str, str]) -> None:
    """Raise AssertionError unless reading a file gives the error, or the warning, that is expected of it.

    expected: `read` is "decode", "srgb" (decoding with color="srgb") or "metadata"; `error` is the class of the
    exception or warning, `phrase` a part of its message. `Codec.verify` must raise an error of the same class, or of
    any if a warning is expected. Pixels of a file with damaged metadata must still decode.
    """
    readers: dict[str, Callable[[], object]] = {
        "decode": lambda: codec.decode(data),
        "srgb": lambda: codec.decode(data, color="srgb"),
        "metadata": lambda: read_metadata(data),
    }
    raised = outcome(readers[expected["read"]])
    assert any(name == expected["error"] and expected["phrase"] in message for name, message in raised), (
        f"gives {raised or 'no error'}, expected {expected['error']} with {expected['phrase']!r}"
    )
    warned = expected["error"].endswith("Warning")
    if expected["read"] != "srgb":
        verified = outcome(lambda: codec.verify(data))
        assert verified, "verify gives no error"
        assert warned or verified[0][0] == expected["error"], f"verify gives {verified}, expected {expected['error']}"
    if warned or expected["read"] == "srgb":
        codec.decode(data)


def outcome(read: Callable[[], object]) -> list[tuple[str, str]]:
    """Return the classes and the messages of the error or the warnings of a function."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            read()
        except Exception as error:
            return [(type(error).__name__, str(error))]
    return [(type(warning.message).__name__, str(warning.message)) for warning in caught]


def problems(codec: Codec, folder: Path = FOLDER) -> Iterator[str]:
    """Check all files of a corpus. Yields what is wrong."""
    listed = json.loads((folder / LIST).read_text())
    checks: dict[str, Callable[[Codec, bytes, Any], None]] = {"valid": check_valid, "damaged": check_damaged}
    for kind, check in checks.items():
        there = {path.name for path in (folder / kind).iterdir()}
        for name in sorted(there ^ listed[kind].keys()):
            yield f"{kind}/{name} is " + ("not in the list" if name in there else "missing")
        for name in sorted(there & listed[kind].keys()):
            try:
                check(codec, (folder / kind / name).read_bytes(), listed[kind][name])
            except Exception as error:
                yield f"{kind}/{name}: {type(error).__name__}: {error}"


def open_backend(bundle: Bundle, name: str, form: str | None) -> Backend:
    """Open a CPU backend, with stand-ins for the transforms. form: of the graphs; None selects the backend's."""
    forms = None if form is None else (form,)
    if name == "onnxruntime":
        from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend

        return StandIns(OnnxRuntimeBackend(bundle, 1, forms=forms))
    from glic_deploy.backends.openvino import OpenVinoBackend

    return StandIns(OpenVinoBackend(bundle, 1, precision="fp32", forms=forms))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="a bundle of the golden network")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the corpus")
    parser.add_argument("--backend", choices=("onnxruntime", "openvino"), default="onnxruntime")
    parser.add_argument("--form", help="of the graphs; the backend selects by default")
    parser.add_argument(
        "--isa",
        choices=[isa.name.lower() for isa in InstructionSet],
        default="best",
        help="of the range coder; the environment variable GLIC_ISA selects that of the integer kernels",
    )
    args = parser.parse_args()
    isa = InstructionSet[args.isa.upper()]
    vars(bundle_codec)["Decoder"] = functools.partial(Decoder, isa=isa)
    with Codec(args.bundle, backend=open_backend(Bundle.open(args.bundle), args.backend, args.form)) as codec:
        found = list(problems(codec, args.folder))
    print("\n".join(found) or "all files give what is expected")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
