"""The `glic` command: its subcommands, one module each, and how their errors leave the process.

A subcommand is a line in COMMANDS and a module of that name with `add_arguments(parser)` and `run(args) -> exit code`.
Only the module that is asked for is imported, and none imports numpy or a backend before its arguments are right.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from .. import __version__
from . import exits
from .output import write_json

COMMANDS = {
    "encode": "pictures to .glic files",
    "decode": ".glic files to pictures",
    "info": "what a .glic file or an engine bundle says about itself",
    "eval": "how well an engine compresses pictures: rate, quality, what the bits are for",
    "bench": "how fast an engine is on this machine, stage by stage",
    "doctor": "what works here, what is missing, and what to type",
    "serve": "an engine over HTTP and gRPC, with Triton Inference Server",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name) and return the exit code of `glic_deploy.cli.exits`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    top = _top_parser()
    if not arguments or arguments[0] not in COMMANDS:
        top.parse_args(arguments)  # answers --help and --version, refuses everything else
        top.print_help(sys.stderr)
        return exits.USAGE
    name = arguments[0]
    command = import_module(f".{name}", __name__)
    parser = argparse.ArgumentParser(
        prog=f"glic {name}", description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    command.add_arguments(parser)
    args = parser.parse_intermixed_args(arguments[1:])
    try:
        code: int = command.run(args)
        sys.stdout.flush()
        return code
    except exits.UsageError as error:
        parser.error(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the exit's own flush does not fail too
        return exits.FILE_SYSTEM
    except KeyboardInterrupt:
        print(f"glic {name}: interrupted", file=sys.stderr)
        return exits.INTERRUPTED
    except Exception as error:
        if args.debug:
            raise
        print(f"glic {name}: error: {exits.describe(error)}", file=sys.stderr)
        if getattr(args, "json", None):
            write_json(args.json, {"command": name, "version": __version__, **exits.as_json(error)})
        return exits.code_of(error)


def _top_parser() -> argparse.ArgumentParser:
    commands = "\n".join(f"  {name:10} {text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="glic",
        usage="glic COMMAND ...",
        description=f"GLIC learned image compression.\n\ncommands:\n{commands}\n\nglic COMMAND --help tells the rest.",
        epilog=exits.TABLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"glic-deploy {__version__}")
    parser.add_argument("command", choices=COMMANDS, nargs="?", help=argparse.SUPPRESS)
    return parser
