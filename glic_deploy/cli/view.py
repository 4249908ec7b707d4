"""Show .glic files and photographs in a browser, on a page that this command serves to this machine alone.

glic view --engine DIR
glic view photo.glic photo.png --engine DIR

The page decodes in the browser. Each .glic file is shown beside the photograph of the same name, if that is there too.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import exits, options, paths
from .messages import console

if TYPE_CHECKING:
    from .. import viewer

PORT = 8040
_LARGEST_PORT = 65_535

SHOWN = frozenset({paths.GLIC_SUFFIX, ".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".webp"})
"""The suffixes of what browsers show."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        metavar="FILE",
        nargs="*",
        type=options.path,
        help=".glic files and images to show, folders or globs; other files can be dropped on the page",
    )
    parser.add_argument(
        "--engine",
        metavar="DIR",
        type=options.path,
        required=True,
        help="engine bundle that the exporter wrote, or a folder that glic web-bundle wrote",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--port",
        metavar="N",
        type=_port,
        help=f"port of the page; 0 takes a free one (default: {PORT}, or a free one if {PORT} is taken)",
    )
    place.add_argument(
        "--output",
        metavar="OUT",
        type=options.path,
        help="write the page, the web bundle and the files into a folder for another web server, and serve nothing",
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address of the page, but open no browser")


def run(args: argparse.Namespace) -> int:
    from .. import viewer
    from ..files import atomic_directory

    files = _files(args)
    if args.output:
        _check_output(Path(args.output), files)
    viewer.check_page(viewer.PAGE)
    with console.status("making the web bundle, once for this engine"):
        bundle = viewer.web_bundle_of(args.engine)
    answers = viewer.answers(viewer.PAGE, bundle, files)
    if args.output:
        with atomic_directory(args.output) as partial:
            viewer.write(answers, partial)
        console.say(
            f"glic view: {args.output} holds the page; docs/view.md names the headers that its server must send"
        )
        return exits.OK
    with _server(answers, args.port) as server, contextlib.suppress(KeyboardInterrupt):
        console.say(f"glic view: the page is at {server.url}; press Ctrl-C to end")
        if not args.no_browser:
            _open_browser(server.url)
        server.serve_forever()
    return exits.OK


def _port(text: str) -> int:
    value = options.whole(text)
    if value > _LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"got {options.shortened(text)}, expected at most {_LARGEST_PORT:,}")
    return value


def _files(args: argparse.Namespace) -> list[Path]:
    """Return the files to show. Raises UsageError for stdin and for images that browsers cannot show, OSError."""
    names = paths.sources(args.inputs, SHOWN)
    if said := paths.passed_over(args.inputs, SHOWN):
        console.say(f"glic view: {said}")
    for name in names:
        if name == paths.STDIO:
            raise exits.UsageError("the page cannot show stdin; name a file")
        if Path(name).suffix.lower() not in SHOWN:
            raise exits.UsageError(f"browsers cannot show {name}; name files that end in {', '.join(sorted(SHOWN))}")
        with open(name, "rb"):
            pass  # a missing file is an error of the command, not of the page
    return [Path(name) for name in names]


def _check_output(output: Path, files: Sequence[Path]) -> None:
    """Raise UsageError if writing the page into a folder could lose something."""
    from .. import viewer

    if output.exists() and not output.is_dir():
        raise exits.UsageError(f"{output} is a file; name a folder for the page")
    if output.is_dir() and any(output.iterdir()) and not (output / viewer.CONTENTS).is_file():
        raise exits.UsageError(f"{output} holds other files than the page of glic view; name a new folder for the page")
    inside = [file for file in files if file.resolve().is_relative_to(output.resolve())]
    if inside:
        raise exits.UsageError(f"{inside[0]} lies in {output}, which would be replaced; name another folder")


def _server(answers: Mapping[str, viewer.Answer], port: int | None) -> viewer.Server:
    """Listen on the port that was asked for, or on PORT, or on a free one if PORT is taken. Raises OSError."""
    from .. import viewer

    try:
        return viewer.Server(answers, PORT if port is None else port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise OSError(error.errno, f"{error.strerror}; choose another with --port", f"port {port}") from None
        if port is not None:
            raise OSError(
                error.errno, "is taken; choose another with --port, or a free one with --port 0", f"port {port}"
            ) from None
    console.say(f"glic view: port {PORT} is taken, so another one is used; the browser loads the decoder again there")
    return viewer.Server(answers, 0)


def _open_browser(url: str) -> None:
    import webbrowser

    if not webbrowser.open(url):
        console.say(f"glic view: no browser was found; open {url} in one")
