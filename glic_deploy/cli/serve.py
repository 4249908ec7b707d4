"""Serve an engine with Triton Inference Server: encode and decode over HTTP and gRPC until you interrupt the command.

glic serve --engine DIR
glic serve --engine DIR --instances 4 --http-port 9000
glic serve --repository REPO

The command needs pytriton, whose wheel includes the server: pip install 'glic-deploy[cpu,serve]'.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
from pathlib import Path

from ..serving import settings
from . import exits, options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--engine", metavar="DIR", help="engine bundle that the exporter wrote")
    source.add_argument("--repository", metavar="REPO", help="model repository that export.to_triton wrote")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    for name, port in (("http", 8000), ("grpc", 8001), ("metrics", 8002)):
        parser.add_argument(
            f"--{name}-port",
            metavar="N",
            type=options.positive,
            default=port,
            help=f"port for {name} (default: {port})",
        )
    settings.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from ..serving.repository import write_repository
    from ..serving.server import Address, Distribution, Server

    wanted = settings.Settings.of(args)
    if args.repository and wanted != settings.Settings():
        raise exits.UsageError(
            "a model repository has its own settings, which options do not change; edit its config.pbtxt files"
        )
    distribution = Distribution.installed()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    address = Address(args.host, args.http_port, args.grpc_port, args.metrics_port)
    with tempfile.TemporaryDirectory(prefix="glic-serve-") as directory, contextlib.suppress(KeyboardInterrupt):
        repository = args.repository or Path(directory, "models")
        if args.engine:
            write_repository(args.engine, repository, wanted, reference=True)
        with Server(distribution, repository, address, log=sys.stderr.fileno()) as server:
            server.ready()
            print(
                f"glic serve: ready at http://{address.host}:{address.http}, grpc://{address.host}:{address.grpc}; "
                f"metrics at http://{address.host}:{address.metrics}/metrics",
                file=sys.stderr,
            )
            server.supervise()
    return exits.OK
