"""Every command that writes, on a disk that is full and on one that cannot be written: one plain line, and nothing half."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fault.disks import apart, bound_by_modes, full, read_only
from tests.story.small_exchange import AGENCIES, HOME, HUB, OTHER, alert
from tests.unit.cli.terminal import Desk, Done, typed

SIZES: Final = (0, 4_096, 20_000, 45_000, 70_000)
"""Bytes beyond which no file can be written: the disk is full sooner or later on the way."""
OPEN: Final = ("--post", "duty-officer", "--purpose", "case-work")


@dataclass(frozen=True)
class Office:
    """An exchange in which something has arrived, and a folder for what is new."""

    desk: Desk
    new: Path
    event: str
    case: str

    def key(self) -> tuple[str, Path]:
        """The words that unlock."""
        return "--key-file", self.desk.folder / "unlock.key"

    def files(self) -> set[Path]:
        """Every file, but for those that SQLite keeps beside its own."""
        found = {path for path in self.desk.folder.parent.rglob("*") if path.is_file()}
        return {path for path in found if not path.name.endswith(("-wal", "-shm"))}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """An exchange."""
    folder = tmp_path_factory.mktemp("disks")
    desk = Desk.create(folder / "exchange")
    said = desk.publish(alert())
    desk.types(OTHER, "inbox")
    (folder / "entry.json").write_text(json.dumps(AGENCIES[3]))
    (folder / "keys.json").write_text(desk.types(OTHER, "keys", "show", "--json").out)
    (folder / "trust").write_text(json.loads((desk.home(OTHER) / "config.json").read_text())["trusted_keys"][0])
    (folder / "new").mkdir(mode=0o700)
    return Office(desk, folder / "new", said["event"], said["case"])


def _types(*words: str, said: str = "") -> Callable[[Office, str], Done]:
    """A command of a desk."""
    return lambda office, _: office.desk.types(
        OTHER, *[word.format(event=office.event, case=office.case) for word in words], said=said
    )


def _init(office: Office, name: str) -> Done:
    trust = (office.desk.folder.parent / "trust").read_text()
    places = ("--stream", office.new / "stream", "--directory", office.desk.folder / "directory.json")
    return typed(
        *("--key-file", office.new / f"{name}.key", "--home", office.new / name),
        *("init", "--agency", "in.kl.new.desk", *places, "--trust", trust),
    )


def _registrar(office: Office, name: str) -> Done:
    return typed("--key-file", office.new / f"{name}.key", "directory", "create", "--keys", office.new / name)


def _enrol(office: Office, name: str) -> Done:
    folder = office.desk.folder
    files = ("--entry", folder.parent / "entry.json", "--public", folder.parent / "keys.json")
    return typed(*office.key(), "directory", "enrol", office.new / name, "--keys", folder / "registrar", *files)


def _stream(office: Office, name: str) -> Done:
    return typed("stream", "create", office.new / f"{name}.sqlite", "--agency", "in.kl.new.desk")


def _topic(office: Office, name: str) -> Done:
    agencies = [word for number in range(200) for word in ("--agency", f"in.{name}.desk{number}")]
    return typed("stream", "enrol", office.desk.folder / "stream.sqlite", *agencies)


COMMANDS: Final[dict[str, Callable[[Office, str], Done]]] = {
    "publish": lambda office, _: office.desk.types(HOME, "publish", "-", "--wait", "0", said=json.dumps(alert())),
    "inbox": _types("inbox"),
    "show": _types("show", "{event}"),
    "open": _types("open", "{event}", *OPEN),
    "open --offline": _types("--offline", "open", "{event}", *OPEN),
    "trace": _types("trace", "{case}"),
    "quarantine": _types("quarantine"),
    "keys rotate": _types("keys", "rotate"),
    "keys destroy-expired": _types("keys", "destroy-expired"),
    "init": _init,
    "directory create": _registrar,
    "directory enrol": _enrol,
    "stream create": _stream,
    "stream enrol": _topic,
    "keys erase": _types("keys", "erase", "{case}", "--person", "P-1", "--yes"),
}


def _plain(done: Done) -> None:
    """It ended as an installation at fault does, in one line that names a file and says what to do about the disk."""
    assert done.code == 6, done
    assert re.search(r"(disk|full|writ|permission|too large)", done.complaint), done.complaint
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_ends_a_command_in_one_line_and_leaves_nothing(name: str, office: Office) -> None:
    """Wherever on the way the disk is full, no file is left that was not there; with room the command works."""
    place, before, refused = f"full-{name.replace(' ', '-')}", office.files(), 0
    for size in SIZES:
        done = apart(full(size), lambda: COMMANDS[name](office, place))
        if done.code == 0:
            break
        _plain(done)
        assert office.files() == before
        refused += 1
    else:
        done = COMMANDS[name](office, place)
    assert refused
    assert done.code == 0, done.err


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_cannot_be_written_ends_a_command_in_one_line(name: str, office: Office) -> None:
    """Nothing is there afterwards that was not there before; with a disk that can be written the command works."""
    place, before = f"ro-{name.replace(' ', '-')}", office.files()
    with read_only(office.desk.folder.parent):
        done = apart(bound_by_modes, lambda: COMMANDS[name](office, place))
    _plain(done)
    assert office.files() == before
    assert COMMANDS[name](office, place).code == 0


def test_where_only_the_stream_cannot_be_written_a_message_is_kept(office: Office) -> None:
    """The message is in the outbox and goes out later; the command says so and ends with 0."""

    def publish() -> Done:
        return office.desk.types(HOME, "publish", "-", "--wait", "0", "--json", said=json.dumps(alert()))

    path = office.desk.folder / "stream.sqlite"
    path.chmod(0o400)
    try:
        done = apart(bound_by_modes, publish)
    finally:
        path.chmod(0o600)
    assert done.code == 0
    assert "it cannot be written" in done.err
    said: dict[str, Any] = done.json[0]
    assert said["state"] == "kept"
    office.desk.types(HOME, "inbox")
    office.desk.publish(alert())
    assert said["event"] in [one["event"] for one in office.desk.types(HOME, "inbox", "--json").json]


def test_modes_bind_the_process_that_was_set_apart(tmp_path: Path) -> None:
    """What these tests rely on: such a process writes neither into a read-only folder nor beyond the end of a full disk."""

    def writes() -> Done:
        try:
            (tmp_path / "file").write_bytes(b"12345")
        except OSError as error:
            return Done(error.errno or 0, "", "")
        return Done(0, "", "")

    with read_only(tmp_path):
        assert apart(bound_by_modes, writes).code != 0
    assert apart(full(4), writes).code != 0
    assert apart(bound_by_modes, writes).code == 0


def test_a_broker_and_an_adapter_that_start_on_such_a_disk_say_so(office: Office) -> None:
    """They end with 6 before anything runs: a service that starts them again tries again."""
    with read_only(office.desk.folder):
        for agency, role in ((HUB, "broker"), (OTHER, "adapter")):
            _plain(apart(bound_by_modes, lambda agency=agency, role=role: office.desk.types(agency, role, "run")))  # type: ignore[misc]
