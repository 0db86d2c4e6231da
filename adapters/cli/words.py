"""What commands print, in words: roles spelt out, and values of fields in one line."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, Final

import click

from broker.clock import ist, parse_time

_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")
OPENER: Final = "who opened the case"


@functools.cache
def _roles() -> Mapping[str, str]:
    """What each role is, as the authority table says it."""
    table = json.loads(resources.files("policies").joinpath("authority.json").read_text("utf-8"))
    return {**{name: rule["means"] for name, rule in table["roles"].items()}, "OPENER": OPENER}


def print_roles(roles: Iterable[str]) -> None:
    """What the roles that were named are, a line each."""
    for role in sorted(set(roles)):
        click.secho(f"{role:<6} {_roles()[role]}", dim=True)


def kind_of(event_type: str, variant: str) -> str:
    """An event's type, with its variant where it has one."""
    return event_type if variant == "-" else f"{event_type} ({variant})"


def plain(value: Any) -> str:
    """A value in one line, for reading; times in IST."""
    if isinstance(value, dict):
        if set(value) >= {"lang", "text"}:
            return f"{value['text']} [{value['lang']}{', machine' if value.get('machine') else ''}]"
        if "bytes" in value:
            value = {**value, "bytes": f"{len(value['bytes']) * 3 // 4} bytes"}
        return ", ".join(f"{key} {plain(one)}" for key, one in value.items())
    if isinstance(value, list):
        return "; ".join(plain(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and _TIME.fullmatch(value):
        return ist(parse_time(value))
    return str(value)
