"""Target for command lines of `glic`, in this process, in a folder of a few files.

An input is the arguments, each ended by a zero byte. Paths are kept inside the folder. What is checked: the exit code
is one of the table's, no exception that is unexpected comes out, nothing that was there is replaced unless the command
line allows it, no input ever changes, and no half-written file stays behind.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import io
import os
import random
import re
import shutil
import sys
import warnings
from collections.abc import Hashable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from glic_deploy import Codec, cli
from glic_deploy.backends import onnxruntime
from glic_deploy.cli import exits

from .. import profiles
from .mutate import havoc
from .target import Find, Place, Target, stored

RUN = ("encode", "decode", "info", "verify")
CODES = {getattr(exits, name) for name in dir(exits) if name.isupper() and isinstance(getattr(exits, name), int)}
IMAGE_SUFFIXES = (".png", ".jpg", ".ppm")
WORDS = (
    *("encode", "decode", "info", "eval", "bench", "doctor", "serve", "--engine", "E", "a.png", "b.jpg", "photo.glic"),
    *("tiled.glic", "cut.glic", "notes.txt", "images", "images/c.ppm", "empty", "out.glic", "out.png", "new/", "-"),
    *("--json", "--quiet", "-q", "--debug", "--overwrite", "--workers", "--threads", "--tile", "--quality", "--", "**"),
    *(
        "verify",
        "--metadata",
        "strip",
        "keep",
        "--alpha",
        "--color",
        "srgb",
        "alpha.png",
        "described.jpg",
        "alpha.glic",
    ),
    *("--target-bpp", "--target-psnr", "--max-pixels", "--max-memory", "--max-side", "--region", "--on-error", "fill"),
    *(
        "--background",
        "white",
        "#fff",
        "--precision",
        "fp32",
        "bf16",
        "onnxruntime",
        "--help",
        "--version",
        "--backend",
    ),
    *(
        "0",
        "1",
        "2",
        "-1",
        "256",
        "5000",
        "1e9",
        "3G",
        "infG",
        "nan",
        "0,0,8,8",
        "1,1,1,1",
        "*.png",
        "[",
        "",
        " ",
        "\n",
    ),
    *("-a.png", "語" * 80, "x" * 300, "a\udcff.png", "a.png/", "./a.png", "images/../a.png", "link.png", "E/x.glic"),
)


class CommandLines(Target):
    """`glic` with any arguments."""

    name = "command-lines"
    expected = ()
    share = 2.0
    memory = 1 << 30
    deadline = 30.0

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        warnings.simplefilter("ignore")
        _keep_sessions()
        self.folder, self.original = place.scratch / "folder", place.scratch / "original"
        self.engine = place.scratch / "E"
        shutil.copytree(place.engine, self.engine)
        self._fill(self.original)

    def _fill(self, folder: Path) -> None:
        (folder / "images").mkdir(parents=True)
        (folder / "empty").mkdir()
        ramp = np.arange(24 * 32 * 3, dtype=np.uint32).reshape(24, 32, 3).astype(np.uint8)
        Image.fromarray(ramp).save(folder / "a.png")
        Image.fromarray(ramp[::-1]).save(folder / "b.jpg")
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by 90 degrees
        Image.fromarray(ramp).save(folder / "described.jpg", exif=exif, icc_profile=profiles.display_p3(), xmp=b"<x/>")
        Image.fromarray(np.dstack((ramp, ramp[..., 0]))).save(folder / "alpha.png")
        Image.fromarray(ramp[:8]).save(folder / "images" / "c.ppm")
        Image.fromarray(ramp[:, :8]).save(folder / "images" / "d.png")
        (folder / "notes.txt").write_text("notes\n")
        (folder / "link.png").symlink_to("a.png")
        with Codec(self.engine) as codec:
            photo = codec.encode(ramp)
            tiled = codec.encode(np.resize(ramp, (140, 300, 3)), tile=256)
            described = codec.encode(folder / "described.jpg", color="keep")
            codec.decode(photo)
        (folder / "photo.glic").write_bytes(photo)
        (folder / "tiled.glic").write_bytes(tiled)
        (folder / "described.glic").write_bytes(described)
        (folder / "cut.glic").write_bytes(photo[: len(photo) // 2])

    def seeds(self) -> list[bytes]:
        lines = stored("command-lines")[0].decode().splitlines()
        return [b"".join(word.encode() + b"\0" for word in line.split()) for line in lines]

    def mutate(self, data: bytes, rng: random.Random, pool: Sequence[bytes]) -> bytes:
        if rng.random() < 0.1:
            return havoc(data, rng, pool, 3)
        words = data.split(b"\0")[:-1]
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(words) + 1)
            kind = rng.choice(("insert", "replace", "drop", "swap", "option"))
            word = rng.choice(WORDS).encode("utf-8", "surrogateescape")
            if kind == "insert" or not words:
                words.insert(at, word)
            elif kind == "replace":
                words[at % len(words)] = word
            elif kind == "drop":
                del words[at % len(words)]
            elif kind == "swap":
                other = rng.randrange(len(words))
                words[at % len(words)], words[other] = words[other], words[at % len(words)]
            else:
                options = [name.encode() for name in WORDS if name.startswith("--")]
                words[at:at] = [rng.choice(options), word]
        return b"".join(word + b"\0" for word in words)

    def fuzz_one(self, data: bytes) -> Hashable:
        words = [word.decode("utf-8", "surrogateescape") for word in data.split(b"\0")[:-1]][:40]
        arguments = [_inside(word) for word in words]
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.original, self.folder, symlinks=True)
        (self.folder / "E").symlink_to(self.engine)
        before, engine = _contents(self.folder), _stamps(self.engine)
        with _within(self.folder):
            if arguments and arguments[0] in cli.COMMANDS and arguments[0] not in RUN:
                _parsed(arguments)  # what these run takes minutes, or serves for ever
                return "parsed"
            code, output, errors = _run(arguments)
            parsed = _parsed(arguments)
        said = f"\nglic {arguments}\n{errors[-1500:]}"
        if code not in CODES:
            raise Find(f"exit code {code!r}, expected one of {sorted(CODES)}{said}")
        traced = "Traceback (most recent call last)" in errors and not _debugging(arguments)
        if traced or "this is unexpected" in errors:
            kinds = re.findall(r"\b([A-Z]\w*(?:Error|Exception|Warning))\b", errors)
            raise Find(f"an unexpected {kinds[-1] if kinds else 'error'}, exit code {code}{said}")
        if re.search(r"^glic .*error: .*out of memory", errors, re.MULTILINE):
            raise Find(f"out of memory on files of a few kilobytes{said}")
        self._check_files(before, arguments, parsed, said)
        after = _stamps(self.engine)
        if after != engine:
            shutil.rmtree(self.engine)
            shutil.copytree(self.place.engine, self.engine)
        if not engine <= after:  # new files may be there: the engine's folder is as good an output as others
            raise Find(f"files of the engine were replaced{said}")
        return code, arguments[:1] == ["encode"], errors.split("error:")[-1][:20], len(output) > 0

    def _check_files(
        self, before: dict[str, str], arguments: list[str], parsed: argparse.Namespace | None, said: str
    ) -> None:
        after = _contents(self.folder)
        changed = {name for name, digest in before.items() if after.get(name) != digest}
        partial = [name for name in after.keys() - before.keys() if name.endswith(".part")]
        if partial:
            raise Find(f"{partial} stayed behind{said}")
        inputs = [os.path.normpath(name) for name in getattr(parsed, "inputs", None) or []]
        overwrite = bool(getattr(parsed, "overwrite", False))
        for name in sorted(changed):
            if any(name == given or name.startswith(f"{given}/") for given in inputs):
                raise Find(f"the input {name} was replaced{said}")
            if parsed is None:
                raise Find(f"{name} was replaced by a command line that is wrong{said}")
            if not overwrite and name.endswith(IMAGE_SUFFIXES):
                raise Find(f"the image {name} was replaced without --overwrite{said}")
            if not overwrite and name.endswith(".glic") and arguments[0] != "encode":
                raise Find(f"{name} was replaced by {arguments[0]}{said}")


def _keep_sessions() -> None:
    """Open the engine's graphs once for all command lines: what they do beside that is what is looked at."""
    open_session = onnxruntime.open_session
    kept = functools.cache(open_session)

    def open_or_reuse(path: Path, threads: int, **options: bool) -> Any:
        return (kept if threads <= 4 else open_session)(path.resolve(), threads, **options)

    onnxruntime.open_session = open_or_reuse


def _inside(word: str) -> str:
    """An argument that names nothing outside of the folder."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    parts = [part for part in value.split("/") if part != ".."]
    while len(parts) > 1 and not parts[0]:
        del parts[0]
    return option + equals + "/".join(parts)


def _debugging(arguments: list[str]) -> bool:
    """Whether tracebacks were asked for: --debug, or short for it."""
    return any(word.startswith("--d") for word in arguments)


def _contents(folder: Path) -> dict[str, str]:
    """The files in a folder but those of the engine, and digests of their bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "E" not in path.relative_to(folder).parts[:1]
    }


def _stamps(folder: Path) -> set[tuple[str, int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@contextlib.contextmanager
def _within(folder: Path) -> Iterator[None]:
    here = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


@contextlib.contextmanager
def _streams(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Standard streams of the process as files: no input, outputs beside the folder."""
    out, err = folder.parent / "stdout", folder.parent / "stderr"
    kept = sys.stdin, sys.stdout, sys.stderr
    options = {"encoding": "utf-8", "errors": "backslashreplace"}
    with (
        open(os.devnull, encoding="utf-8") as stdin,
        open(out, "w", **options) as stdout,
        open(err, "w", **options) as stderr,
    ):
        sys.stdin, sys.stdout, sys.stderr = stdin, stdout, stderr
        try:
            yield out, err
        finally:
            sys.stdin, sys.stdout, sys.stderr = kept


def _run(arguments: list[str]) -> tuple[object, str, str]:
    """The exit code of a command line, and what it wrote to the standard streams."""
    with _streams(Path.cwd()) as (out, err):
        try:
            code: object = cli.main(arguments)
        except SystemExit as error:
            code = error.code or 0
        except Exception as error:
            if not _debugging(arguments):
                raise
            code = exits.code_of(error)  # raised on request
    return code, out.read_text(errors="replace"), err.read_text(errors="replace")


def _parsed(arguments: list[str]) -> argparse.Namespace | None:
    """What argparse makes of the arguments; None where it refuses them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--debug", action="store_true")
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            import_module(f"glic_deploy.cli.{arguments[0]}").add_arguments(parser)
            return parser.parse_intermixed_args(arguments[1:])
        except (SystemExit, IndexError, ModuleNotFoundError):
            return None
