"""Compare this machine with an ARM64 one, which is emulated if need be: `make arm64-check`.

On the ARM64 machine the wheel is installed, the conformance files are decoded, and each bundle codes crops of
photographs with every form of its entropy path. Each machine then decodes the files of both. A row of the printed
matrix is an encoder, a column a decoder; a pair is identical if all CDF indexes and means are equal. The last line is a
JSON object. The check is skipped, with the reason, if this machine cannot make the other one.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
from pathlib import Path

from tests.conftest import PHOTOS
from tests.golden_files import write_bundle

from . import pairs, trial
from .commands import OUT, ReleaseError, built, run
from .machines import Machine

_MACHINE = Machine("bookworm", "arm64")
_FOLDER = OUT / "arm64"
_PHOTOS = sorted(PHOTOS.glob("*.png"))


def conformance() -> str:
    """Decode the conformance files of the golden network on the ARM64 machine. Raises ReleaseError."""
    bundle = write_bundle(_FOLDER / "golden").path
    return _MACHINE.run_python(["-m", "tests.conformance_check", "--bundle", str(bundle)]).strip()


def compare(bundle: Path, photos: list[Path], crop: int) -> tuple[int, int]:
    """Code photographs with a bundle on both machines, and print the matrix. Returns its pairs, and the identical ones.

    Raises ReleaseError if a step fails.
    """
    folder = _FOLDER / bundle.name
    options = ["--bundle", str(bundle), "--folder", str(folder)]
    for command in (["encode", *map(str, photos), "--crop", str(crop)], ["decode"]):
        arguments = ["-m", "release.pairs", *command, *options]
        print(run([sys.executable, *arguments]), end="", flush=True)
        print(_MACHINE.run_python(arguments), end="", flush=True)
    counts = pairs.matrix(folder)
    decoders = sorted({decoder for _, decoder in counts})
    print(f"\n{bundle.name}: {'encoder':20}" + "".join(f"{name:>17}" for name in decoders))
    for encoder in sorted({encoder for encoder, _ in counts}):
        row = [counts[encoder, decoder] for decoder in decoders]
        print(f"{encoder:{len(bundle.name) + 22}}" + "".join(f"{f'{equal} of {files}':>17}" for files, equal in row))
    return sum(files for files, _ in counts.values()), sum(equal for _, equal in counts.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="of the sample network, for all sample photographs")
    parser.add_argument("--full", type=Path, help="a bundle of full size, for one photograph")
    parser.add_argument("--crop", type=int, default=128, help="side of what is coded of a photograph")
    args = parser.parse_args()
    if lacking := "; ".join(_MACHINE.lacking()):
        print(f"arm64-check: skipped, since this machine lacks {lacking}")
        return 0
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    try:
        trial.on(_MACHINE, built("aarch64"), args.bundle.resolve())
        print(f"conformance on ARM64: {conformance()}", flush=True)
        found = {"sample": compare(args.bundle.resolve(), _PHOTOS, args.crop)}
        if args.full:
            found["full_size"] = compare(args.full.resolve(), _PHOTOS[:1], args.crop)
    except ReleaseError as error:
        print(f"arm64-check: {error}", file=sys.stderr)
        return 1
    emulated = f"{platform.machine()} and aarch64{' (emulated)' if _MACHINE.emulated else ''}"
    print(json.dumps({"machines": emulated} | {n: {"pairs": p, "identical": i} for n, (p, i) in found.items()}))
    return int(any(pairs != identical for pairs, identical in found.values()))


if __name__ == "__main__":
    sys.exit(main())
