"""The finite domain over which policy is computed and proved: types, variants, compartments, and moments.

Reads the released schemas as plain JSON, only for names and attributes; coding by them is ``broker.event``'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import product
from typing import Any, Final

from broker.errors import ConfigError
from broker.names import Compartment, Phase, Role

COMPARTMENTS: Final = tuple(c for c in Compartment if c < Compartment.CREDENTIALS)
"""The compartments that policy decides; the envelope's own parts have their readers from its specification."""

ROLES: Final = tuple(r for r in Role if r is not Role.OPENER)

CONTENT: Final = tuple(c for c in COMPARTMENTS if c not in (Compartment.ROUTING, Compartment.ACCESS))


@dataclass(frozen=True, slots=True)
class Moment:
    """How things stand when a decision is asked for: phase of the person, and the two flags."""

    phase: Phase
    expired: bool
    movement_ended: bool

    def __str__(self) -> str:
        return self.phase.label + " expired" * self.expired + " movement-ended" * self.movement_ended


MOMENTS: Final = tuple(Moment(p, e, m) for p, e, m in product(Phase, (False, True), (False, True)))
"""All moments; every tuple of permits in this package runs along them."""


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """One field: ``variants`` is None where it exists in all. ``about`` is person, case or empty (domain of a fact)."""

    name: str
    compartment: Compartment
    personal: bool
    variants: frozenset[str] | None
    about: str


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """One event type or control. ``persons_max`` is None where there is no bound but the exchange's own."""

    name: str
    control: bool
    variants: tuple[str, ...]
    persons_max: int | None
    fields: tuple[FieldFacts, ...]

    def compartments(self, variant: str) -> frozenset[Compartment]:
        """The compartments that hold a field in this variant."""
        return frozenset(f.compartment for f in self.fields if f.variants is None or variant in f.variants)


Domain = Mapping[str, TypeFacts]
"""Every type and control by name."""


def load_domain() -> Domain:
    """The domain that the released schemas span: of each type its newest version.

    Raises:
        ConfigError: the schemas are missing or damaged.
    """
    folder = resources.files("schemas")
    try:
        listed = json.loads((folder / "catalogue.json").read_bytes())["schemas"]
        newest: dict[str, Any] = {}
        for entry in sorted(listed, key=lambda e: e["version"]):
            newest[entry["type"]] = entry
        return {name: _facts(json.loads((folder / entry["file"]).read_bytes())) for name, entry in newest.items()}
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError("the folder of schemas is damaged; install casebridge again", reason=str(error)) from error


def _facts(schema: Mapping[str, Any]) -> TypeFacts:
    fields = tuple(
        FieldFacts(
            name=field["field"],
            compartment=Compartment.of(field["compartment"]),
            personal=field["personal"],
            variants=frozenset(field["variants"]) if "variants" in field else None,
            about=field.get("about") or "",
        )
        for field in schema["fields"]
    )
    return TypeFacts(
        name=schema["eventType"],
        control=schema["kind"] == "control",
        variants=tuple(schema["variants"]),
        persons_max=schema["persons"]["max"],
        fields=fields,
    )
