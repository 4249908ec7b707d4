"""Run the programs of tests/native on processors with AVX-512, which Bochs emulates: `make avx512-check`.

Each program compares the instruction sets of its processor with plain C++. A line is printed for each program. The last
line is a JSON object. The check is skipped, with the reason, if this machine lacks what the emulation needs.

Bochs emulates a whole computer: Debian's kernel starts from an image of a CD, whose first process runs the programs and
writes results to a serial port. Bochs 3.0 has two gaps. It refuses gathers whose indexes are in a register from zmm16
on; tests/native_programs.py builds the programs so that compilers use none of these. It lacks the feature that Linux
needs for AMX.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.native_programs import BOCHS, MissingToolError, build

from .commands import ReleaseError, run
from .machines import Machine

PROCESSORS = {"sapphire_rapids": "AVX-512 with VNNI and BF16", "corei7_skylake_x": "AVX-512 without VNNI and BF16"}
"""Processors that Bochs emulates, by its names, and what they have."""
MACHINE = Machine("trixie", "amd64")
"""The Debian that Bochs, the kernel and the tools for the CD come from."""
_PACKAGES = ("bochs", "bochs-term", "seabios", "vgabios", "isolinux", "syslinux-common", "xorriso", "cpio")
_PLACE = Path("/opt/avx512")
_FOLDER = MACHINE.folder / "opt" / "avx512"
_LONGEST = 1800.0  # seconds

# The kernel comes without its dependencies: nothing but its image is used.
_PREPARE = f"""
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends {" ".join(_PACKAGES)} busybox-static
mkdir -p {_PLACE}/cd; cd {_PLACE}
apt-get download -qq $(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \\(linux-image-.*\\)/\\1/p')
dpkg -x linux-image-*.deb kernel
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 cd
cp kernel/boot/vmlinuz-* cd/linux
"""
_WRITE_CD = f"""
cd {_PLACE}/root; find . | cpio -o -H newc --quiet | gzip -1 > ../cd/programs
cd {_PLACE}
xorriso -as mkisofs -quiet -o cd.iso -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table cd
"""
_START = """DEFAULT linux
LABEL linux
KERNEL linux
APPEND initrd=programs console=ttyS0 quiet mitigations=off clearcpuid=amx_tile
"""
_FIRST_PROCESS = """#!/busybox sh
for program in /tests/*; do
    said=$($program 2>&1)
    echo "result:" ${program##*/} $? $said
done
/busybox sleep 1  # until the serial port has sent everything
/busybox poweroff -f
"""
_BOCHS = """config_interface: textconfig
display_library: term
cpu: model={processor}, ips=100000000, ignore_bad_msrs=1
megs: 512
romimage: file=/usr/share/seabios/bios.bin
vgaromimage: file=/usr/share/seabios/vgabios-stdvga.bin
ata0-master: type=cdrom, path={place}/cd.iso, status=inserted
boot: cdrom
clock: sync=none
com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}
log: /dev/null
panic: action=fatal
error: action=ignore
"""


def lacking() -> str:
    """Return what this machine lacks, or "" if nothing."""
    return "; ".join(MACHINE.lacking())


def prepared() -> bool:
    """Return whether the emulator is there: `make avx512-check` downloads it, in minutes."""
    return (_FOLDER / "cd" / "linux").exists()


def prepare() -> None:
    """Install the emulator if it is not there. Raises ReleaseError if a step fails."""
    if not prepared():
        MACHINE.make()
        MACHINE.connect()
        shutil.rmtree(_FOLDER, ignore_errors=True)
        MACHINE.run(["sh", "-ec", _PREPARE])


def write_cd(programs: Sequence[Path]) -> None:
    """Write the CD that runs programs, with the libraries that they load. Raises ReleaseError if a step fails."""
    root = _FOLDER / "root"
    shutil.rmtree(root, ignore_errors=True)
    files = {program: Path("tests") / program.name for program in programs}
    for library in re.findall(r"(/\S+) \(0x", run(["ldd", *programs])):
        files[Path(library)] = Path(library[1:])
    files[MACHINE.folder / "usr" / "bin" / "busybox"] = Path("busybox")
    for source, place in files.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, root / place)
    (root / "init").write_text(_FIRST_PROCESS)
    (root / "init").chmod(0o755)
    (_FOLDER / "cd" / "isolinux.cfg").write_text(_START)
    MACHINE.run(["sh", "-ec", _WRITE_CD])


def results(processor: str, programs: Sequence[Path]) -> Iterator[tuple[str, int, str]]:
    """Run the programs of the CD; yield the name, the exit code and the output of each as it ends.

    Raises ReleaseError if not all programs end within half an hour.
    """
    missing = {program.name for program in programs}
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        configuration = _BOCHS.format(processor=processor, place=_PLACE, port=server.getsockname()[1])
        (_FOLDER / "bochsrc").write_text(configuration)
        command = MACHINE.inside(["env", "TERM=vt100", "bochs", "-q", "-f", f"{_PLACE}/bochsrc"])
        nowhere = subprocess.DEVNULL
        with subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere) as bochs:
            try:
                server.settimeout(60)
                connection, _ = server.accept()
                connection.settimeout(_LONGEST)
                with connection, connection.makefile(errors="replace") as lines:
                    for line in lines:
                        said.append(line)
                        if found := re.search(r"result: (\S+) (\d+) ?(.*)", line):
                            missing.discard(found[1])
                            yield found[1], int(found[2]), found[3].strip()
            except TimeoutError:
                pass  # what is missing says so
            finally:
                bochs.kill()
    if missing:
        raise ReleaseError(f"{processor}: no result of {', '.join(sorted(missing))}\n{''.join(said[-30:])}")


def wrong(code: int, output: str) -> bool:
    """Return whether a program failed, or had no AVX-512 to compare."""
    return code != 0 or "avx512" not in output.split()


def programs(names: Sequence[str] = ()) -> list[Path]:
    """Build the programs, and return those named, all by default. Raises ReleaseError."""
    try:
        folder = build(BOCHS)
    except MissingToolError as error:
        raise ReleaseError(str(error)) from None
    except subprocess.CalledProcessError as error:
        raise ReleaseError(f"{error}\n{error.stdout}\n{error.stderr}") from None
    # The vectors of AVX2 need no emulator.
    found = {path.name: path for path in sorted(folder.glob("test_*")) if path.name != "test_simd_avx2"}
    if unknown := set(names) - found.keys():
        raise ReleaseError(f"no program is called {', '.join(sorted(unknown))}; there are {', '.join(found)}")
    return [found[name] for name in names or found]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="such as test_gate; all by default")
    parser.add_argument("--processor", choices=PROCESSORS, action="append", help="all by default")
    args = parser.parse_args()
    if reason := lacking():
        print(f"avx512-check: skipped, since this machine lacks {reason}")
        return 0
    counts: dict[str, dict[str, int]] = {}
    try:
        prepare()
        built = programs(args.programs)
        write_cd(built)
        for processor in args.processor or PROCESSORS:
            start = time.monotonic()
            counts[processor] = {"programs": len(built), "failed": 0}
            print(f"{processor} ({PROCESSORS[processor]}):", flush=True)
            for name, code, output in results(processor, built):
                failed = wrong(code, output)
                counts[processor]["failed"] += failed
                verdict = f"FAILED with exit code {code}: {output}" if failed else f"as plain C++: {output}"
                print(f"  {name:24} {verdict} ({time.monotonic() - start:.0f} s)", flush=True)
    except ReleaseError as error:
        print(f"avx512-check: {error}", file=sys.stderr)
        return 1
    print(json.dumps(counts))
    return int(any(count["failed"] for count in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
