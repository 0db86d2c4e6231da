"""An exchange on one machine: a folder with a stream, a signed directory, a broker and the homes of agencies.

For the demo, a pilot on a laptop, and tests. Every part is the real one; only the registrar's directory stands in for
the trust bundle.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from adapters import kafka, registrar
from adapters.adapter import Adapter
from adapters.home import Config, Home, Rules
from broker.audit.record import Chain
from broker.clock import Clock, Random
from broker.dispatch import Broker
from broker.keys import disk
from broker.keys.files import KeyFile, KeyRing
from broker.names import AgencyId, Millis
from broker.service.loop import Verdicts, pass_once
from broker.stream import embedded_file
from broker.stream.opening import open_stream
from broker.stream.protocol import Stream
from broker.stream.topics import BROKER, EVENTS, Principal, member

STREAM_FILE: Final = "stream.sqlite"
DIRECTORY_FILE: Final = "directory.json"
KEY_FILE: Final = "unlock.key"
AUDITOR_KIND: Final = "auditor"
REGISTRAR: Final = AgencyId("in.exchange.registrar")


@dataclass(slots=True)
class Exchange:
    """Everything of one exchange, opened in one process; ``agencies`` are the directory's entries by id.

    ``stream_file`` names the file of the stream in ``folder``: the stream itself, or the settings of a Kafka cluster.
    """

    folder: Path
    clock: Clock
    random: Random
    rules: Rules
    agencies: Mapping[AgencyId, Mapping[str, Any]]
    registrar_key: KeyRing
    started_at: Millis
    stream_file: str = STREAM_FILE
    homes: dict[AgencyId, Home] = field(default_factory=dict)
    adapters: dict[AgencyId, Adapter] = field(default_factory=dict)

    @classmethod
    async def create(
        cls,
        folder: Path,
        listed: Sequence[Mapping[str, Any]],
        *,
        clock: Clock,
        random: Random,
        cluster: Path | None = None,
    ) -> Self:
        """A new exchange: stream, keys and home of every agency, directory.

        Args:
            cluster: the settings file of the Kafka cluster on which the stream shall be (``adapters.kafka``).

        Raises:
            ConfigError: the folder is in use already, or the cluster's settings cannot be used.
            StoreError, StreamError: the disk or the cluster refused.
        """
        disk.make_folder(folder)
        agencies = {AgencyId(one["id"]): one for one in listed}
        if cluster is None:
            embedded_file.create(folder / STREAM_FILE, agencies=agencies, random=random)
        else:
            auditors = [agency for agency, one in agencies.items() if one["kind"] == AUDITOR_KIND]
            own = folder / kafka.SETTINGS_FILE
            await kafka.set_up(cluster, own, agencies=agencies, auditors=auditors, random=random)
        secret = KeyFile.create(folder / KEY_FILE, random=random)
        ring = KeyRing.create(folder / "registrar", agency=REGISTRAR, secret=secret, clock=clock, random=random)
        stream_file = STREAM_FILE if cluster is None else kafka.SETTINGS_FILE
        exchange = cls(folder, clock, random, Rules.load(), agencies, ring, clock.now(), stream_file)
        for agency in agencies:
            home = Home.create(
                exchange.home_folder(agency), exchange.config(agency), secret=secret, clock=clock, random=random
            )
            exchange.homes[agency] = home
        exchange.publish_directory()
        for agency, home in exchange.homes.items():
            stream = await exchange.open_stream(member(agency))
            exchange.adapters[agency] = Adapter.over(home, stream, exchange.rules, home.ground(exchange.rules))
        return exchange

    async def open_stream(self, principal: Principal) -> Stream:
        """A handle on the stream.

        Raises:
            ConfigError, StreamError: see ``opening.open_stream``.
        """
        return await open_stream(self.folder / self.stream_file, principal=principal, clock=self.clock)

    def operator_files(self) -> list[Path]:
        """The files in which the operator of the stream holds what was exchanged; of a cluster on this machine."""
        if self.stream_file == STREAM_FILE:
            return sorted(self.folder.glob(f"{STREAM_FILE}*"))
        return kafka.held_files(self.folder / self.stream_file)

    def home_folder(self, agency: AgencyId) -> Path:
        """Where an agency's adapter lives."""
        return self.folder / "homes" / agency

    def config(self, agency: AgencyId) -> Config:
        """The configuration of an agency's home."""
        return Config(
            agency=agency,
            stream=f"../../{self.stream_file}",
            directory=f"../../{DIRECTORY_FILE}",
            trusted_keys=(base64.b64encode(self.registrar_key.signing.public).decode(),),
        )

    def publish_directory(self) -> None:
        """Signs a directory with the agencies' present keys."""
        entries = [
            registrar.agency_entry(one, self.homes[agency].ring.public(), enrolled=self.started_at)
            for agency, one in self.agencies.items()
        ]
        registrar.write(
            self.folder / DIRECTORY_FILE, entries, issued_at=self.started_at, key=self.registrar_key.signing
        )

    def refresh(self) -> None:
        """Every adapter takes up the directory as it is now."""
        for agency, adapter in self.adapters.items():
            home = adapter.home
            self.adapters[agency] = Adapter.over(home, adapter.stream, self.rules, home.ground(self.rules))

    def rotate_prekeys(self) -> None:
        """Every agency publishes a new prekey, as it does each month."""
        for home in self.homes.values():
            home.ring.rotate_prekey(self.clock.now())
        self.publish_directory()
        self.refresh()

    async def broker(self, hub: AgencyId) -> Broker:
        """The broker, as the agency of kind hub runs it."""
        stream = await self.open_stream(BROKER)
        adapter = self.adapters[hub]
        return Broker(
            agency=hub,
            key=self.homes[hub].ring.signing,
            stream=stream,
            ground=adapter.ground,
            chain=Chain(hub, self.random.bytes(8), int(self.clock.now())),
            clock=self.clock,
            random=self.random,
            topic_id=await stream.topic_id(EVENTS),
        )

    async def settle(self, broker: Broker) -> list[Verdicts]:
        """Sends, dispatches and receives until nothing is on its way any more."""
        seen: list[Verdicts] = []
        broker.ground = next(iter(self.adapters.values())).ground
        for adapter in self.adapters.values():
            await adapter.send()
        await pass_once(broker, seen=seen.append)
        for adapter in self.adapters.values():
            await adapter.receive()
        return seen

    async def close(self) -> None:
        """Let go of everything."""
        for adapter in self.adapters.values():
            await adapter.close()
        self.registrar_key.close()
