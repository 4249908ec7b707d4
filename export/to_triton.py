"""Convert an engine bundle to a Triton model repository: `python -m export.to_triton --engine DIR --output REPO`."""

from __future__ import annotations

import argparse
import sys

from glic_deploy.errors import GlicError
from glic_deploy.serving.repository import write_repository
from glic_deploy.serving.settings import Settings, add_arguments


def main(argv: list[str] | None = None, *, prog: str = "python -m export.to_triton") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("--engine", required=True, metavar="DIR", help="the engine bundle, made by export")
    parser.add_argument("--output", required=True, metavar="REPO", help="directory to write; replaces an earlier one")
    parser.add_argument("--reference", action="store_true", help="refer to the bundle by its path (default: copy it)")
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        write_repository(args.engine, args.output, Settings.of(args), reference=args.reference)
    except (GlicError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
