"""``python -m deploy.pki``: the certificates of a pilot from a terminal (see deploy/pki/README.md)."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path

from broker.stream.kafka.settings import common_name
from deploy.pki import authority
from deploy.pki.authority import Authority, PkiError


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.pki", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, says in (
        ("init", "make an authority"),
        ("issue", "sign a request"),
        ("renew", "sign a new request of a name that has a certificate; the old one holds until it ends"),
        ("revoke", "take a certificate back, and write the list anew"),
        ("crl", "write the list of revoked certificates anew"),
        ("list", "show every certificate that was signed"),
        ("request", "make a key and a request for its certificate: for whoever is to have it"),
    ):
        command = commands.add_parser(name, help=says)
        command.add_argument("folder", type=Path)
        if name in ("issue", "renew", "request"):
            command.add_argument("name", help="an agency id, an office, kafka or admin")
        if name in ("issue", "renew"):
            command.add_argument("--request", type=Path, required=True, help="what the request command made")
            command.add_argument("--out", type=Path, required=True, help="where the certificate goes")
            command.add_argument("--host", action="append", default=[], help="host name or address of a node")
            command.add_argument("--days", type=int, default=authority.CLIENT_DAYS)
        if name == "revoke":
            command.add_argument("serial", help="as list shows it")
        if name == "init":
            command.add_argument("--list-place", default=authority.LIST_PLACE, help="where nodes have authority.crl")
        if name != "request":
            command.add_argument("--passphrase-file", type=Path, help="without it the passphrase is asked for")
    given = parser.parse_args()
    try:
        _run(given)
    except (PkiError, OSError) as error:
        parser.exit(1, f"{error}\n")


def _run(given: argparse.Namespace) -> None:
    if given.command == "request":
        _request(given.folder, common_name(given.name))
        return
    passphrase = _passphrase(given.passphrase_file, new=given.command == "init")
    if given.command == "init":
        Authority.create(given.folder, passphrase=passphrase, place=given.list_place)
        return
    opened = Authority.open(given.folder, passphrase=passphrase)
    match given.command:
        case "issue" | "renew":
            _answer(opened, given)
        case "revoke":
            print(f"revoked: {opened.revoke(given.serial).name}; now copy {authority.REVOKED} to every node")
        case "crl":
            opened.publish()
        case "list":
            for one in opened.issued():
                print(one.serial, one.name, one.until, "revoked" if one.revoked else "")


def _answer(opened: Authority, given: argparse.Namespace) -> None:
    name = common_name(given.name)
    known = any(one.name == name for one in opened.issued())
    if given.command == "renew" and not known:
        raise PkiError(f"{name} has no certificate yet: issue")
    if given.command == "issue" and known and not given.host:
        raise PkiError(f"{name} has a certificate: renew, and revoke the old one if it is lost")
    made = opened.answer(given.request.read_bytes(), name, hosts=given.host, days=given.days)
    given.out.write_bytes(made)


def _request(folder: Path, name: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (folder / f"{name}.key").exists():
        raise PkiError(f"{folder / name}.key is there; it stays")
    key, asked = authority.request(name)
    authority.write_private(folder / f"{name}.key", key)
    (folder / f"{name}.csr").write_bytes(asked)


def _passphrase(path: Path | None, *, new: bool) -> bytes:
    said = path.read_text("utf-8").rstrip("\n") if path else getpass.getpass("Passphrase of the authority: ")
    if new and path is None and said != getpass.getpass("Again: "):
        raise PkiError("the two are not the same")
    if not said:
        raise PkiError("the passphrase is empty")
    return said.encode()


if __name__ == "__main__":
    main()
