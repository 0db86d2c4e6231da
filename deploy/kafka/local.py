"""A real Kafka cluster on this machine: one node or three, KRaft, TLS, access lists, on ports of 127.0.0.1.

Everything is in one folder: certificates, settings, data, and ``kafka.json``, which a client is given. The nodes run
with ``server.properties`` as it is shipped; ``ADDRESSES`` and ``SIZES`` are the lines that are replaced.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import ssl
import subprocess
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.kafka import jars, pki
from deploy.pki.authority import AUTHORITY_DAYS, REVOCATION

HERE: Final = Path(__file__).parent
PROPERTIES: Final = HERE / "server.properties"
TOPICS: Final = HERE / "topics.toml"
LOGGING: Final = HERE / "log4j2.xml"

CLUSTER_FILE: Final = "cluster.json"
CLIENT_FILE: Final = "kafka.json"
HOST: Final = "127.0.0.1"
HEAP: Final = "256m"
START_SECONDS: Final = 120
STOP_SECONDS: Final = 20

ADDRESSES: Final = frozenset(
    {
        "node.id",
        "listeners",
        "advertised.listeners",
        "controller.quorum.voters",
        "log.dirs",
        "ssl.keystore.location",
        "ssl.truststore.location",
    }
)
SIZES: Final = frozenset(
    {
        "default.replication.factor",
        "min.insync.replicas",
        "offsets.topic.replication.factor",
        "offsets.topic.num.partitions",
        "transaction.state.log.replication.factor",
        "transaction.state.log.min.isr",
        "share.coordinator.state.topic.replication.factor",
        "share.coordinator.state.topic.min.isr",
        "num.network.threads",
        "num.io.threads",
        "log.index.size.max.bytes",
    }
)
"""The only settings that a local node has otherwise than ``server.properties``."""


def properties(text: str) -> dict[str, str]:
    """The settings in the text of a properties file."""
    lines = (line.strip() for line in text.splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@dataclass
class Cluster:
    """A local cluster; ``create`` or ``open`` it. ``processes`` are the nodes that run, by number from 1.

    ``brief`` nodes start sooner and are slow afterwards (TLS to a quarter): right for tests, wrong for measuring.
    """

    folder: Path
    cluster_id: str
    ports: list[tuple[int, int]]
    processes: dict[int, subprocess.Popen[bytes]]
    brief: bool = False

    @classmethod
    def create(cls, folder: Path, *, nodes: int = 1) -> Cluster:
        """A new cluster in a new folder, not yet running.

        Raises:
            NoKafka: no Java, or Kafka's jars cannot be had.
        """
        folder = folder.resolve()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(folder / "nodes", ignore_errors=True)  # of an attempt that failed
        pki.create_authority(folder)
        pki.issue_clients(folder, ["admin", "broker", "notary", "operator"])
        found = _free_ports(2 * nodes)
        made = cls(folder, _cluster_id(), list(zip(found[::2], found[1::2], strict=True)), {})
        for number in range(1, nodes + 1):
            made._make_node(number)
        topics = TOPICS.read_text("utf-8")
        if nodes == 1:
            topics = topics.replace("\nreplicas = 3", "\nreplicas = 1").replace(
                "\nmin_insync_replicas = 2", "\nmin_insync_replicas = 1"
            )
        (folder / TOPICS.name).write_text(topics, "utf-8")
        client = {
            "version": 1,
            "bootstrap": [f"{HOST}:{port}" for port, _ in made.ports],
            "authority": pki.AUTHORITY,
            "clients": pki.CLIENTS,
            "prefix": "",
        }
        (folder / CLIENT_FILE).write_text(json.dumps(client, indent=1) + "\n", "utf-8")
        # Last: a folder that has it is complete.
        (folder / CLUSTER_FILE).write_text(json.dumps({"id": made.cluster_id, "ports": made.ports}) + "\n", "utf-8")
        return made

    @classmethod
    def open(cls, folder: Path) -> Cluster:
        """A cluster that was created earlier."""
        kept: dict[str, Any] = json.loads((folder / CLUSTER_FILE).read_text("utf-8"))
        return cls(folder.resolve(), kept["id"], [(client, controller) for client, controller in kept["ports"]], {})

    def start(self) -> None:
        """Starts all nodes and waits until each can be reached.

        Raises:
            NoKafka: a node ended, or was not there in time; the text holds the end of its log.
        """
        for number in range(1, len(self.ports) + 1):
            self.start_node(number)
        for number in range(1, len(self.ports) + 1):
            self.wait_for(number)

    def start_node(self, number: int) -> None:
        """Starts a node; does not wait."""
        folder = self._node(number)
        with (folder / "log").open("ab") as log:
            self.processes[number] = subprocess.Popen(
                java("kafka.Kafka", str(folder / PROPERTIES.name), heap=HEAP, brief=self.brief),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                # A Ctrl-C in the terminal is for whoever owns the cluster.
                start_new_session=True,
            )
        (folder / "pid").write_text(str(self.processes[number].pid))

    def wait_for(self, number: int) -> None:
        """Returns when a node answers.

        Raises:
            NoKafka: it ended, or was not there in time.
        """
        context = ssl.create_default_context(cafile=self.folder / pki.AUTHORITY)
        context.load_cert_chain(self.folder / pki.CLIENTS / "admin.pem")
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.processes[number].poll() is not None:
                break
            with (
                suppress(OSError),
                socket.create_connection((HOST, self.ports[number - 1][0]), timeout=5) as raw,
                context.wrap_socket(raw, server_hostname=HOST),
            ):
                return
            time.sleep(0.1)
        log = (self._node(number) / "log").read_text("utf-8", "replace")
        raise jars.NoKafka(f"node {number} of Kafka did not start: {log[-600:]}")

    def kill(self, number: int) -> None:
        """Ends a node as a loss of power would."""
        self.processes[number].kill()
        self.processes.pop(number).wait()

    def stop(self) -> None:
        """Ends all nodes; one that does not end in time is killed."""
        for process in self.processes.values():
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def destroy(self) -> None:
        """Ends the nodes and removes everything."""
        for number in list(self.processes):
            self.kill(number)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _node(self, number: int) -> Path:
        return self.folder / "nodes" / str(number)

    def _make_node(self, number: int) -> None:
        folder = self._node(number)
        folder.mkdir(parents=True)
        pki.issue(self.folder, "kafka", folder / "node.pem", hosts=[HOST, "localhost"], days=AUTHORITY_DAYS)
        settings = properties(PROPERTIES.read_text("utf-8")) | self.own_settings(number)
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        (folder / PROPERTIES.name).write_text(text, "utf-8")
        command = java("kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", str(folder / PROPERTIES.name))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise jars.NoKafka(f"Kafka's storage could not be made: {(done.stdout + done.stderr)[-600:]}")

    def own_settings(self, number: int) -> dict[str, str]:
        """What a node has otherwise than ``server.properties``."""
        client, controller = self.ports[number - 1]
        folder, replicas = self._node(number), str(len(self.ports))
        own = {
            "node.id": str(number),
            "listeners": f"CLIENTS://{HOST}:{client},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"CLIENTS://{HOST}:{client}",
            "controller.quorum.voters": ",".join(f"{n}@{HOST}:{port}" for n, (_, port) in enumerate(self.ports, 1)),
            "log.dirs": str(folder / "data"),
            "ssl.keystore.location": str(folder / "node.pem"),
            "ssl.truststore.location": str(self.folder / pki.AUTHORITY),
            "offsets.topic.num.partitions": "4",
            "num.network.threads": "2",
            "num.io.threads": "2",
            "log.index.size.max.bytes": "1048576",
        }
        if len(self.ports) < 3:
            own |= {name: replicas for name in SIZES if name.endswith("replication.factor")}
            own |= {name: "1" for name in SIZES if name.endswith((".isr", "insync.replicas"))}
        return own


def java(main: str, *args: str, heap: str = "128m", brief: bool = True) -> list[str]:
    """The command that runs a class of Kafka."""
    # A collector without threads of its own: the node shares a small machine with what it is tested by.
    tuning = [f"-Xms{heap}", f"-Xmx{heap}", "-XX:+UseSerialGC", "-Xshare:auto"]
    tuning += ["-XX:TieredStopAtLevel=1"] if brief else []
    tuning += REVOCATION
    logging = f"-Dlog4j2.configurationFile={LOGGING.resolve()}"
    return [jars.require_java(), *tuning, logging, "-cp", f"{jars.ensure()}/*", main, *args]


def _cluster_id() -> str:
    """Sixteen random bytes as Kafka writes them; a dash in front would be taken for an option."""
    while (made := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return made


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server((HOST, 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()
