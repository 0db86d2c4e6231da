"""A local cluster that runs in the background, for ``make kafka`` and for a run of the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from deploy.kafka import jars
from deploy.kafka.local import CLUSTER_FILE, HERE, START_SECONDS, STOP_SECONDS, Cluster

WAIT_SECONDS: Final = jars.FETCH_SECONDS + START_SECONDS


def start(folder: Path, *, nodes: int, owner: int | None = None) -> None:
    """Starts a cluster in the background, or finds it running; returns when it can be used.

    Raises:
        Missing: what it needs is not here.
        NoKafka: it did not start, or another number of nodes runs there.
    """
    if (folder / CLUSTER_FILE).exists():
        made = len(Cluster.open(folder).ports)
        if made != nodes:
            raise jars.NoKafka(f"{folder} holds a cluster of {made}; stop it and remove that folder first")
    jars.require_java()
    jars.ensure()
    process = None
    if _running(folder) is None:
        (folder / "failed").unlink(missing_ok=True)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [sys.executable, "-m", "deploy.kafka", "serve", str(folder), "--nodes", str(nodes)]
        with (folder / "serve.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, *(["--owner", str(owner)] if owner is not None else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=HERE.parents[1],
                start_new_session=True,
            )
    deadline = time.monotonic() + WAIT_SECONDS
    while not (folder / "ready").exists():
        if (folder / "failed").exists():
            raise jars.NoKafka((folder / "failed").read_text("utf-8"))
        if time.monotonic() > deadline or (process is not None and process.poll() is not None):
            raise jars.NoKafka(f"the cluster did not start; see {folder / 'serve.log'}")
        time.sleep(0.1)
    if process is not None:
        process.returncode = 0  # it outlives this process, which shall not wait for it


def stop(folder: Path) -> bool:
    """Ends a cluster that runs in the background; whether one ran."""
    pid = _running(folder)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 2 * STOP_SECONDS
    while _running(folder) is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    return True


def _running(folder: Path) -> int | None:
    try:
        pid = int((folder / "serve.pid").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


def serve(folder: Path, *, nodes: int, owner: int | None) -> None:
    """Runs a cluster until told to stop (SIGTERM, SIGINT), until a node ends, or until the process ``owner`` is gone.

    A cluster with an owner is for that one: it is removed with everything in it.
    """
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    pid, ready = folder / "serve.pid", folder / "ready"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pid.write_text(str(os.getpid()))
    cluster: Cluster | None = None
    try:
        cluster = Cluster.open(folder) if (folder / CLUSTER_FILE).exists() else Cluster.create(folder, nodes=nodes)
        cluster.brief = owner is not None
        cluster.start()
        ready.touch()
        while not stopped and _alive(owner) and all(one.poll() is None for one in cluster.processes.values()):
            time.sleep(0.5)
    except jars.NoKafka as error:
        (folder / "failed").write_text(str(error), "utf-8")
        raise
    finally:
        ready.unlink(missing_ok=True)
        if cluster is not None:
            cluster.destroy() if owner is not None else cluster.stop()
        pid.unlink(missing_ok=True)


def _alive(process: int | None) -> bool:
    if process is None:
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
