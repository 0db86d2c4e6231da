"""``python -m deploy.kafka``: a local Kafka cluster from a terminal (see ``make kafka``)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from deploy.kafka import background, jars, local, manifests, pki


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.kafka", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, says in (
        ("start", "start a cluster in the background"),
        ("serve", "run a cluster until stopped"),
        ("stop", "end a cluster in the background"),
        ("issue", "make client certificates"),
    ):
        command = commands.add_parser(name, help=says)
        command.add_argument("folder", type=Path)
        if name in ("start", "serve"):
            command.add_argument("--nodes", type=int, default=1, choices=(1, 3))
            command.add_argument("--owner", type=int, help="end with this process, and remove everything")
        if name == "start":
            command.add_argument("--agencies", type=Path, help="a scenario; each agency of it is given a certificate")
        if name == "issue":
            command.add_argument("names", nargs="+")
    command = commands.add_parser("manifests", help="write the same cluster for Kubernetes (Strimzi)")
    command.add_argument("folder", type=Path)
    command.add_argument("--agencies", type=Path, required=True, help="a scenario; each agency of it has a topic")
    commands.add_parser("jars", help="fetch and check Kafka's jars")
    commands.add_parser("missing", help="say what the tests on Kafka lack; nothing where they lack nothing")
    given = parser.parse_args()
    try:
        _run(given)
    except jars.NoKafka as error:
        parser.exit(1, f"{error}\n")


def _run(given: argparse.Namespace) -> None:
    match given.command:
        case "missing":
            if jars.missing():
                print(f"the tests on Kafka are left out: {jars.missing()}")
        case "jars":
            jars.require_java()
            print(jars.ensure())
        case "start":
            background.start(given.folder, nodes=given.nodes, owner=given.owner)
            if given.agencies:
                listed = json.loads(given.agencies.read_text("utf-8"))["agencies"]
                pki.issue_clients(given.folder, [one["id"] for one in listed])
            print(f"Kafka runs; clients are given {given.folder / local.CLIENT_FILE}")
        case "serve":
            background.serve(given.folder, nodes=given.nodes, owner=given.owner)
        case "stop":
            print("stopped" if background.stop(given.folder) else "no cluster runs there")
        case "manifests":
            print(*manifests.write(given.folder, given.agencies))
        case "issue":
            pki.issue_clients(given.folder, given.names)


if __name__ == "__main__":
    main()
