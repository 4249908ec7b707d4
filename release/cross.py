"""Compile the range coder and the kernels for systems on which they have not run: `make cross-check`.

A library that compiles and links is all that this shows.
"""

from __future__ import annotations

import sys

from .commands import ROOT, ReleaseError, mebibytes, run, tool
from .wheels import defines

_TARGETS = {"aarch64-macos": ".dylib", "x86_64-windows-gnu": ".dll"}
_LIBRARIES = ("rans", "glic_kernels")


def compile_for(target: str, suffix: str) -> str:
    """Compile the libraries for a target of zig. Returns a line about them; raises ReleaseError."""
    build = ROOT / "build" / f"cross-{target}"
    settings = [f"-D{name}={value}" for name, value in defines(target).items()]
    # As for a wheel, so that no library lands in the package of the checkout.
    state = ["-DSKBUILD=2", "-DSKBUILD_STATE=wheel"]
    run([tool("cmake"), "-G", "Ninja", "-S", ROOT, "-B", build, *settings, *state])
    run([tool("cmake"), "--build", build, "--target", *_LIBRARIES])
    found = [path for path in build.rglob(f"*{suffix}") if path.stem.removeprefix("lib") in _LIBRARIES]
    if len(found) != len(_LIBRARIES):
        raise ReleaseError(f"{build} has the libraries {[path.name for path in found]}, expected {_LIBRARIES}")
    return f"{target}: " + ", ".join(f"{path.name} {mebibytes(path.stat().st_size)}" for path in sorted(found))


def main() -> int:
    failed = False
    for target, suffix in _TARGETS.items():
        try:
            print(compile_for(target, suffix), flush=True)
        except ReleaseError as error:
            print(f"cross: {target}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
