"""Decide which files a command may write, so that no file of the user is lost. docs/cli.md lists the rules."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace

from . import streams
from .exits import UsageError
from .paths import GLIC_SUFFIX, IMAGE_SUFFIXES, STDIO, CommandLine, Job, is_folder

# fmt: off
_PROTECTED_SUFFIXES = IMAGE_SUFFIXES | {
    ".arw", ".cr2", ".cr3", ".dng", ".exr", ".hdr", ".heic", ".heif", ".ico", ".icns", ".j2c", ".jpx", ".jxl", ".nef",
    ".pam", ".pcx", ".pfm", ".svg",
}
_IMAGE_MAGIC = (
    b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"8BPS", b"qoif", b"\xff\x0a", b"\0\0\0\x0cJXL ",
    b"\0\0\0\x0cjP  ", b"P5\n", b"P6\n",
)
# fmt: on
_NAMED = 3

_BUNDLE_MANIFEST = "manifest.json"
_MANIFEST_BYTES = 64 << 20

_REPORT_SUFFIXES = {"json": ".json", "csv": ".csv", "report": ".html"}
_FOLDERS = ("keep", "maps", "figures")


def permit(
    line: CommandLine, jobs: Sequence[Job], *, makes: str, overwrite: bool = False, made: Container[str] = frozenset()
) -> list[Job]:
    """Return the jobs with `replace` set: whether the job may replace an existing target.

    Args:
        makes: suffix of the files that the command writes. A `.glic` file may replace a `.glic` file; an image
            replaces nothing.
        overwrite: allow any file that is not an input to be replaced.
        made: targets that an earlier run over the same folder wrote.

    Raises UsageError, before anything is written, in these cases; the message says what to type:

    - OUT names a file of another kind than the command writes;
    - two outputs have the same name;
    - an output is an input, or part of the engine;
    - an output exists and may not be replaced.
    """
    encodes = makes == GLIC_SUFFIX
    _check_inputs(line, jobs)
    _check_output(line, jobs, encodes)
    _check_collisions(line, jobs)
    permitted = [replace(job, replace=_may_replace(job.target, encodes, overwrite, made)) for job in jobs]
    taken = [job.target for job in permitted if not job.replace and _holds_something(job.target)]
    if taken:
        names = ", ".join(taken[:_NAMED]) + (", ..." if len(taken) > _NAMED else "")
        count = f"{len(taken)} of {len(jobs)} outputs exist" if len(jobs) > 1 else "the output exists"
        raise UsageError(
            f"{count} already: {names}; name another OUT, or replace what is there: "
            + line.with_output(line.output, "--overwrite")
        )
    return permitted


def check_direction(line: CommandLine) -> None:
    """Raise UsageError, with the command that was meant, if all inputs are of the kind that the command writes."""
    encodes = line.command == "encode"
    if not all(map(_is_coded if encodes else _is_plain, line.inputs)):
        return
    suffix = os.path.splitext(line.output)[1].lower()
    written = suffix == GLIC_SUFFIX if encodes else suffix in IMAGE_SUFFIXES
    root = os.path.splitext(line.inputs[0])[0]
    single = root + (".png" if encodes else GLIC_SUFFIX)
    meant = line.output if not written else single if len(line.inputs) == 1 else "out/"
    kind = "a .glic file" if encodes else "an image"
    typed = replace(line, command="decode" if encodes else "encode").with_output(meant)
    raise UsageError(f"{line.inputs[0]} is {kind} already; did you mean: {typed}")


def _is_coded(name: str) -> bool:
    return name.lower().endswith(GLIC_SUFFIX) and (not os.path.exists(name) or _is_glic(name))


def _is_plain(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    return suffix in IMAGE_SUFFIXES and (not os.path.exists(name) or _is_image(name)) and not os.path.isdir(name)


def check_reports(args: argparse.Namespace, inputs: Iterable[str], jobs: Sequence[Job] = ()) -> None:
    """Check the targets of a command's JSON, CSV, page and folders before the work begins.

    Sets `args.reports_permitted` if all of them may be written, so that an error can be reported as JSON too.

    Raises UsageError if a report would replace an input, an image, a `.glic` file, part of an engine, an output or a
    file of another kind. Raises OSError if a report cannot be written.
    """
    inputs = list(inputs)
    known = _identities(inputs)
    bundles = _engines(args) + [name for name in inputs if os.path.isfile(os.path.join(name, _BUNDLE_MANIFEST))]
    outputs = {os.path.realpath(job.target) for job in jobs if job.target != STDIO}
    if getattr(args, "workers", None):
        outputs.add(os.path.realpath(os.path.join(args.output, "manifest.jsonl")))
    if keep := getattr(args, "keep", None):
        outputs.add(os.path.realpath(os.path.join(keep, "results.jsonl")))
    for option, path in _given(args, _REPORT_SUFFIXES):
        place = os.path.realpath(path)
        suffix = _REPORT_SUFFIXES[option]
        what = None
        if is_folder(path):
            what = "is a folder, expected a file's name"
        elif (identity := _identity(path)) in known:
            what = f"is an input, {known[identity]}, and would be replaced"
        elif place in outputs:
            what = "is also the name of another output"
        elif (
            os.path.splitext(path)[1].lower() in _PROTECTED_SUFFIXES | {GLIC_SUFFIX}
            or _is_image(path)
            or _is_glic(path)
        ):
            what = "has the name of, or is, an image or a .glic file, which a report does not replace"
        elif os.path.exists(path) and (any(_is_inside(place, folder) for folder in bundles) or _is_of_bundle(place)):
            what = "is part of the engine, or of another bundle"
        elif _holds_something(path) and not path.lower().endswith(suffix):
            what = f"is a file that does not end in {suffix}, which a report does not replace"
        if what:
            raise UsageError(f"--{option} {path}: it {what}; name another: --{option} {option}{suffix}")
        outputs.add(place)
        check_writable(path)
    folders = {os.path.realpath(os.path.dirname(name)) for name in inputs if name != STDIO and not os.path.isdir(name)}
    for option, path in _given(args, _FOLDERS):
        place = os.path.realpath(path)
        if os.path.exists(path) and not os.path.isdir(path):
            raise UsageError(f"--{option} {path}: it is a file, expected a folder; name another: --{option} {option}/")
        if place in folders or any(_is_inside(place, folder) for folder in bundles):
            raise UsageError(
                f"--{option} {path}: it holds inputs of this command, which its files could replace; name another "
                f"folder: --{option} {option}/"
            )
        check_writable(os.path.join(path, option))
    args.reports_permitted = True


def _is_of_bundle(place: str) -> bool:
    """Check whether a file has the name of a bundle's manifest, or is listed in the manifest of a folder above it."""
    if os.path.basename(place) == _BUNDLE_MANIFEST:
        return True
    folder = os.path.dirname(place)
    while folder != os.path.dirname(folder):
        with contextlib.suppress(OSError), open(os.path.join(folder, _BUNDLE_MANIFEST), "rb") as stream:
            if json.dumps(os.path.relpath(place, folder)).encode() in stream.read(_MANIFEST_BYTES):
                return True
        folder = os.path.dirname(folder)
    return False


def check_writable(path: str) -> None:
    """Raise OSError if the name, the folder or its permissions show that a file cannot be written to `path`."""
    if path == STDIO:
        streams.stdout()
        return
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        os.lstat(path)  # fails if the name is too long
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise type(error)(error.errno, error.strerror, path) from None
    folder = os.path.dirname(os.path.realpath(path))
    while not os.path.lexists(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a directory", path)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"cannot be written, {folder} does not allow it", path)


def _check_output(line: CommandLine, jobs: Sequence[Job], encodes: bool) -> None:
    """Refuse an OUT that names an image for encode, a `.glic` file for decode, or a file for several inputs."""
    output, suffix = line.output, os.path.splitext(line.output)[1].lower()
    if output == STDIO or is_folder(output):
        return
    in_folder = any(job.target != output for job in jobs)
    foreign = suffix in _PROTECTED_SUFFIXES if encodes else suffix == GLIC_SUFFIX
    exists = os.path.exists(output)
    folder = "coded/" if encodes else "decoded/"
    if foreign and exists:
        raise UsageError(
            f"OUT is {output}, {_kind(encodes)}, which {line.command} does not write; if it is an input, type OUT "
            f"behind it: {line.with_output(folder, inputs=[*line.inputs, output])}"
        )
    if in_folder and exists:
        raise UsageError(
            f"{output} is a file, but several inputs need a folder as OUT; type: {line.with_output(folder)}"
        )
    if in_folder and suffix in _PROTECTED_SUFFIXES | {GLIC_SUFFIX}:
        raise UsageError(
            f"OUT is {output}, a file's name, but several inputs need a folder; type: {line.with_output(folder)}"
        )
    if foreign:
        better = os.path.splitext(output)[0] + (GLIC_SUFFIX if encodes else ".png")
        raise UsageError(
            f"OUT is {output}, {_kind(encodes)}, which {line.command} does not write; type: {line.with_output(better)}"
        )


def _kind(encodes: bool) -> str:
    return "an image's name" if encodes else "a .glic file's name"


def _check_collisions(line: CommandLine, jobs: Sequence[Job]) -> None:
    """Refuse two outputs of the same name; case is ignored if the file system ignores it."""
    fold = len(jobs) > 1 and _ignores_case(line.output)
    taken: dict[str, Job] = {}
    for job in jobs:
        if job.target == STDIO:
            continue
        place = os.path.realpath(job.target)
        other = taken.setdefault(place.casefold() if fold else place, job)
        if other is not job:
            root, suffix = os.path.splitext(job.target)
            raise UsageError(
                f"{other.source} and {job.source} would both be written to {job.target}; write one of them by itself: "
                + line.with_output(f"{root}-2{suffix}", inputs=[job.source])
            )


def _ignores_case(path: str) -> bool:
    """Check whether the file system of `path` ignores case in names."""
    path = os.path.realpath(path)
    while not os.path.exists(path) or path.swapcase() == path:
        if path == os.path.dirname(path):
            return False
        path = os.path.dirname(path)
    return os.path.exists(path.swapcase()) and os.path.samefile(path, path.swapcase())


def _check_inputs(line: CommandLine, jobs: Sequence[Job]) -> None:
    """Refuse an output that is an input, also through a link, in other case or as stdin, or is part of the engine."""
    known = _identities(job.source for job in jobs)
    for job in jobs:
        source = known.get(_identity(job.target)) if job.target != STDIO else None
        if source is not None:
            what = f"{job.source} would be written over itself" if source == job.source else (
                f"{job.target}, made of {job.source}, would be written over the input {source}"
            )  # fmt: skip
            raise UsageError(f"{what}; name another OUT: {line.with_output('out/')}")
        place = os.path.realpath(job.target)
        if line.engine and job.target != STDIO and os.path.exists(place) and _is_inside(place, line.engine):
            raise UsageError(f"{job.target} is part of the engine; name another OUT: {line.with_output('out/')}")


def _may_replace(target: str, encodes: bool, overwrite: bool, made: Container[str]) -> bool:
    if overwrite or target in made:
        return True
    return encodes and not _is_image(target) and (target.lower().endswith(GLIC_SUFFIX) or _is_glic(target))


def _holds_something(target: str) -> bool:
    """Check whether the target is a regular file with content. Pipes, devices and empty files may be written."""
    return target != STDIO and os.path.isfile(target) and os.path.getsize(target) > 0


def _is_glic(path: str) -> bool:
    from ..container import MAGIC

    return _start(path).startswith(MAGIC)


def _is_image(path: str) -> bool:
    start = _start(path)
    return start.startswith(_IMAGE_MAGIC) or start[4:8] == b"ftyp" or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def _start(path: str) -> bytes:
    """Return the first 12 bytes of a regular file, or b"" if `path` is anything else or cannot be read."""
    try:
        if not os.path.isfile(path):
            return b""
        with open(path, "rb") as stream:
            return stream.read(12)
    except OSError:
        return b""


def _identities(names: Iterable[str]) -> dict[tuple[int, int] | None, str]:
    """Map the device and inode of each regular file to its name."""
    found = {_identity(name): name for name in names}
    found.pop(None, None)
    return found


def _identity(name: str) -> tuple[int, int] | None:
    """Return device and inode of a regular file, or of stdin for `-`; None if there is no regular file."""
    try:
        status = os.fstat(sys.stdin.fileno()) if name == STDIO else os.stat(name)
    except (OSError, ValueError, AttributeError):
        return None
    regular = status.st_mode & 0o170000 == 0o100000
    return (status.st_dev, status.st_ino) if regular else None


def _given(args: argparse.Namespace, options: Iterable[str]) -> Iterator[tuple[str, str]]:
    for option in options:
        path = getattr(args, option, None)
        if path is not None and path != STDIO:
            yield option, path


def _engines(args: argparse.Namespace) -> list[str]:
    engine = getattr(args, "engine", None)
    given = [] if engine is None else [engine] if isinstance(engine, str) else list(engine)
    return [name if os.path.exists(name) else name.partition("=")[2] or name for name in given]  # NAME=DIR of eval


def _is_inside(place: str, folder: str) -> bool:
    root = os.path.realpath(folder)
    return place == root or place.startswith(root.rstrip(os.sep) + os.sep)
