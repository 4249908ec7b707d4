"""The `glic` command: its subcommands, one module each, and how their errors leave the process.

A subcommand is a line in COMMANDS and a module of that name with `add_arguments(parser)` and `run(args) -> exit code`.
Only the module that is asked for is imported, and none imports numpy or a backend before its arguments are right.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import os
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from .. import __version__
from . import exits, messages, paths, signals, streams
from .messages import console, one_line
from .output import write_json
from .paths import STDIO

COMMANDS = {
    "encode": "encode images to .glic files",
    "decode": "decode .glic files to images",
    "verify": "check that .glic files are whole and that an engine decodes them",
    "info": "show what a .glic file or an engine bundle contains",
    "eval": "measure how well an engine compresses images: rate, quality, bits per stage",
    "tune": "find how strongly an engine's encoder should weigh bits against error",
    "bench": "measure how fast an engine is on this machine, stage by stage",
    "doctor": "show what works on this machine, what is missing, and what to type",
    "view": "show .glic files and photographs in a browser",
    "serve": "serve an engine over HTTP and gRPC with Triton Inference Server",
    "web-bundle": "write the part of an engine that web pages decode .glic files with",
    "export": "convert checkpoints to engine bundles, bundles to TensorRT plans and Triton repositories",
}

# A signal to these commands does not wait for their graphs: `abandon` removes the files that they leave behind, and
# the processes that they started end with their input.
_IN_THREAD = ("encode", "decode", "verify", "eval", "tune", "bench")
_REST = "rest"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name) and return the exit code of `glic_deploy.cli.exits`.

    argv: None takes the program's own, and ends the process at once when a signal interrupts encode or decode.
    """
    streams.open_missing()
    arguments = list(sys.argv[1:] if argv is None else argv)
    top = _top_parser()
    if not arguments or arguments[0] not in COMMANDS:
        _suggest_command(top, arguments)
        top.parse_args(arguments)  # answers --help and --version, refuses everything else
        top.print_help(sys.stderr)
        return exits.USAGE
    name = arguments[0]
    command = import_module(f".{name.replace('-', '_')}", __name__)
    parser, args = _parse(name, command, arguments[1:])
    program = argv is None
    with signals.raised(), messages.shown(f"glic {name}", quiet=getattr(args, "quiet", False), verbose=args.verbose):
        try:
            work = functools.partial(command.run, args)
            code: int = signals.in_thread(work) if program and name in _IN_THREAD else work()
            sys.stdout.flush()
            return code
        except exits.UsageError as error:
            parser.error(str(error))
        except BrokenPipeError:
            streams.discard_stdout()
            return exits.FILE_SYSTEM
        except KeyboardInterrupt as error:
            return _end(name, error, at_once=program and name in _IN_THREAD)
        except Exception as error:
            if args.debug:
                raise
            return _fail(name, args, error)


class _Parser(argparse.ArgumentParser):
    """Ends the message of an error in one line, and with the line to type where something was forgotten.

    Attributes:
        typed: the arguments that were typed.
    """

    typed: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        line = paths.completed(self.prog.rpartition(" ")[2], self.typed, message)
        super().error(one_line(message + (f"; type: {line}" if line else "")))


def _suggest_command(top: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """End with the nearest command if an unknown one was typed."""
    if arguments and (near := difflib.get_close_matches(arguments[0], COMMANDS, 1)):
        line = shlex.join(["glic", near[0], *arguments[1:]])
        top.error(one_line(f"invalid choice: {arguments[0]!r}; did you mean: {line}"))


def _parse(name: str, command: ModuleType, arguments: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = _Parser(
        prog=f"glic {name}", description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show all messages that the package logs, not only its warnings"
    )
    command.add_arguments(parser)
    parser.typed = arguments
    if hasattr(command, "PASSES_ON"):
        return parser, parser.parse_args(arguments)
    if "--" in arguments:  # what follows is a path, whatever it begins with
        at = arguments.index("--")
        behind = (
            f".{os.sep}{text}" if text.startswith("-") and text != STDIO else text for text in arguments[at + 1 :]
        )
        arguments = [*arguments[:at], *behind]
    return parser, parser.parse_intermixed_args(arguments)


def _end(name: str, error: KeyboardInterrupt, *, at_once: bool) -> int:
    """Say what ended the command; `at_once` ends the process, though threads of it are still at work."""
    from .. import files

    code = signals.code_of(error)
    if at_once:
        files.abandon()
        threading.Thread(target=_exit_soon, args=(code,), daemon=True).start()
    console.say(f"glic {name}: {signals.describe(error)}")
    if at_once:
        os._exit(code)
    return code


def _exit_soon(code: int) -> None:
    """End the process even if nobody reads its stderr."""
    time.sleep(1)
    os._exit(code)


def _fail(name: str, args: argparse.Namespace, error: Exception) -> int:
    """Say what went wrong, on stderr and where JSON was asked for, once it is known that nothing is lost there."""
    console.say(f"glic {name}: error: {exits.describe(error)}")
    target = getattr(args, "json", None)
    if target and (target == STDIO or getattr(args, "reports_permitted", False)):
        document = {"command": name, "version": __version__, **exits.as_json(error), "warnings": messages.collected()}
        try:
            write_json(target, document)
        except OSError as second:
            if exits.describe(second) != exits.describe(error):
                console.say(f"glic {name}: error: --json: {exits.describe(second)}")
    streams.discard_stdout()
    return exits.code_of(error)


def _top_parser() -> argparse.ArgumentParser:
    commands = "\n".join(f"  {name:10} {text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="glic",
        usage="glic COMMAND ...",
        description=f"GLIC learned image compression.\n\ncommands:\n{commands}\n\n"
        "Type glic COMMAND --help for the options of a command.",
        epilog=exits.TABLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"glic-deploy {__version__}")
    parser.add_argument("command", choices=COMMANDS, nargs="?", help=argparse.SUPPRESS)
    return parser
