"""Debian machines in out/machines, without a compiler, with a wheel of this checkout installed.

`python -m release.machines bookworm-arm64` creates one and installs the wheel that `make wheels` built;
`python -m release.machines bookworm-arm64 python ...` runs its Python in the present folder. The checkout and the
temporary folder are visible inside under their own names, with the installed package in the place of the checkout's.

A machine is a folder that programs see as the root. debootstrap downloads it in minutes, which needs root on Linux. If
the processor is another one, qemu runs its programs, some hundred times slower.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .commands import OUT, ROOT, ReleaseError, built, run

SUITES = ("bookworm", "trixie", "sid")
"""Debian's suites with Python 3.11, with 3.13, and with the newest that Debian has."""
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
_PACKAGES = "python3,python3-venv,ca-certificates"
_PYTHON = Path("opt/glic/bin/python")
_COMPLETE = "opt/.complete"
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_EMULATOR = "qemu-aarch64-static"


@dataclass(frozen=True)
class Machine:
    """One machine: a suite of Debian and an architecture, as Debian calls them."""

    suite: str
    architecture: str

    @property
    def folder(self) -> Path:
        return OUT / "machines" / f"{self.suite}-{self.architecture}"

    @property
    def emulated(self) -> bool:
        return ARCHITECTURES[self.architecture] != platform.machine()

    @property
    def made(self) -> bool:
        return (self.folder / _COMPLETE).exists()

    def lacking(self) -> Iterator[str]:
        """Yield what the present machine lacks for this one, and how to get it."""
        if platform.system() != "Linux" or os.geteuid() != 0:
            yield "root on Linux"
        needed = {"debootstrap": "debootstrap"}
        if self.emulated:
            if self.architecture != "arm64":
                yield "a processor for x86-64"
            needed |= {_EMULATOR: "qemu-user-static", "update-binfmts": "binfmt-support"}
        if packages := [package for program, package in needed.items() if shutil.which(program) is None]:
            yield f"Debian's packages (apt-get install {' '.join(packages)})"
        elif self.emulated and not _emulation():
            yield f"binfmt_misc (mount binfmt_misc -t binfmt_misc {_BINFMT}; update-binfmts --enable qemu-aarch64)"

    def make(self) -> None:
        """Create the machine if it is not there. Raises ReleaseError if the present machine cannot, or a step fails."""
        if self.made:
            return
        if lacking := "; ".join(self.lacking()):
            raise ReleaseError(f"no machine {self.suite}-{self.architecture}: this one lacks {lacking}")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        alone = ["unshare", "--mount"]  # what debootstrap mounts ends with it
        options = [f"--arch={self.architecture}", "--variant=minbase", f"--include={_PACKAGES}"]
        options += ["--foreign"] if self.emulated else []
        run([*alone, "debootstrap", *options, self.suite, str(self.folder)])
        if self.emulated:
            shutil.copy(shutil.which(_EMULATOR) or "", self.folder / "usr" / "bin")
            run([*alone, "chroot", str(self.folder), "/debootstrap/debootstrap", "--second-stage"], env=_environment())
        (self.folder / _COMPLETE).touch()

    def install(self, wheel: Path) -> None:
        """Install a wheel and what its extra `cpu` names, from the package index, into a new environment."""
        self.connect()
        place = Path("/") / _PYTHON.parent.parent
        self.run(["/usr/bin/python3", "-m", "venv", "--clear", str(place)])
        self.run_python(["-m", "pip", "install", "-q", "--no-compile", f"{wheel}[cpu]"])

    def connect(self) -> None:
        """Give the machine the names and certificates of the present one's network."""
        for name in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"):
            shutil.copy(name, self.folder / name[1:])

    def run(self, command: Sequence[str]) -> str:
        """Run a command on the machine; see `inside`. Raises ReleaseError if it fails."""
        return run(self.inside(command), cwd=Path.cwd(), env=_environment())

    def run_python(self, arguments: Sequence[str]) -> str:
        """Run the Python of the environment that has the wheel; like `run` otherwise."""
        return self.run([f"/{_PYTHON}", *arguments])

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs `command` on the machine. Its mounts end with it."""
        mounts = [(folder, folder) for folder in (Path(tempfile.gettempdir()), ROOT)]
        packages = (self.folder / _PYTHON.parent.parent / "lib").glob("python3*/site-packages/glic_deploy")
        mounts += [(package, ROOT / "glic_deploy") for package in packages]
        script = ["set -e", f"mount -t proc proc {shlex.quote(str(self.folder / 'proc'))}"]
        for source, target in mounts:
            place = shlex.quote(str(self.folder / target.relative_to("/")))
            script.append(f"mkdir -p {place}; mount --bind {shlex.quote(str(source))} {place}")
        script.append(f'exec chroot {shlex.quote(str(self.folder))} sh -c \'cd "$0"; exec "$@"\' "$@"')
        return ["unshare", "--mount", "sh", "-c", "\n".join(script), "sh", str(Path.cwd()), *command]

    @classmethod
    def named(cls, name: str) -> Machine:
        """Return the machine of a name such as `bookworm-arm64`. Raises ReleaseError if there is none of that name."""
        suite, _, architecture = name.partition("-")
        if suite not in SUITES or architecture not in ARCHITECTURES:
            raise ReleaseError(
                f"no machine is called {name!r}; expected SUITE-ARCHITECTURE with one of {', '.join(SUITES)} and one "
                f"of {', '.join(ARCHITECTURES)}"
            )
        return cls(suite, architecture)


def _emulation() -> bool:
    """Return whether the kernel runs programs for ARM64 through qemu, after an attempt to arrange this."""
    for command in (
        ["mount", "binfmt_misc", "-t", "binfmt_misc", str(_BINFMT)],
        ["update-binfmts", "--enable", "qemu-aarch64"],
    ):
        if not (_BINFMT / "qemu-aarch64").exists():
            subprocess.run(command, capture_output=True, check=False)
    return (_BINFMT / "qemu-aarch64").exists()


def _environment() -> dict[str, str]:
    """Return the environment of programs on a machine: the present one without the configuration of Python and pip."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "VIRTUAL_"))}
    return kept | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("machine", help="SUITE-ARCHITECTURE, for example bookworm-arm64")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="python and its arguments, to run them there")
    args = parser.parse_args()
    try:
        machine = Machine.named(args.machine)
        if args.command[:1] == ["python"]:
            command = machine.inside([f"/{_PYTHON}", *args.command[1:]])
            os.execvpe(command[0], command, _environment())
        machine.make()
        machine.install(built(ARCHITECTURES[machine.architecture]))
    except ReleaseError as error:
        print(f"machines: {error}", file=sys.stderr)
        return 1
    print(machine.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
