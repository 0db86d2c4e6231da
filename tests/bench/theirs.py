"""What we are compared with: Confluent's field encryption, JWE, and the floor of bare AES-GCM over the same blocks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import fastavro
from confluent_kafka.schema_registry import Rule, RuleKind, RuleMode, RuleParams, RuleSet, Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.rules.encryption.encrypt_executor import FieldEncryptionExecutor
from confluent_kafka.schema_registry.rules.encryption.localkms.local_driver import LocalKmsDriver
from confluent_kafka.serialization import MessageField, SerializationContext
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc import jwe
from joserfc.jwk import ECKey

from broker.clock import SystemRandom
from broker.event.codec import block_codec, encode_block
from tests.bench.ours import CONTENT, SCHEMA

Run = Callable[[], Any]

FieldEncryptionExecutor.register()
LocalKmsDriver.register()


def csfle(fields: Sequence[tuple[str, Any, bool]], value: Mapping[str, Any], name: str) -> tuple[Run, Run]:
    """Serialize and deserialize by Confluent's AvroSerializer with field encryption under one key; unsigned.

    Args:
        fields: name, Avro type and whether it is encrypted, of each field of the record.
        value: what is serialized.
        name: of the topic; each has its own schema.
    """
    context = SerializationContext(name, MessageField.VALUE)
    client = SchemaRegistryClient.new_client({"url": "mock://bench"})
    schema = {
        "type": "record",
        "name": name,
        "fields": [
            {"name": field, "type": kind, **({"confluent:tags": ["PII"]} if secret else {})}
            for field, kind, secret in fields
        ],
    }
    params = RuleParams({"encrypt.kek.name": "kek", "encrypt.kms.type": "local-kms", "encrypt.kms.key.id": "key"})
    rule = Rule(
        "enc", "", RuleKind.TRANSFORM, RuleMode.WRITEREAD, "ENCRYPT", ["PII"], params, None, None, "ERROR,NONE", False
    )
    client.register_schema(f"{name}-value", Schema(json.dumps(schema), "AVRO", [], None, RuleSet(None, [rule])))
    secret = {"secret": "bench"}
    settings = {"auto.register.schemas": False, "use.latest.version": True}
    serializer = AvroSerializer(client, schema_str=None, conf=settings, rule_conf=secret)
    deserializer = AvroDeserializer(client, schema_str=None, rule_conf=secret)
    data = serializer(dict(value), context)
    assert deserializer(data, context) == value
    assert not any(str(value[field]).encode() in data for field, _, hidden in fields if hidden)
    return lambda: serializer(dict(value), context), lambda: deserializer(data, context)


def csfle_event() -> tuple[Run, Run]:
    """The event that we seal: the same 20 fields with the same values, nested as in our schema, 6 of them encrypted.

    What it encrypts is a plain string here, which spares it the walk into a list of texts.
    """
    values = {name: value for fields in CONTENT.values() for name, value in fields.items()}
    secret = ("person.fullName", "person.aliases", "person.guardianNames", "person.school", "reporter.name")
    plain: dict[str, Any] = {
        **values,
        **{name: _text(values[name]) for name in secret},
    }
    hidden = {*secret, "reporter.phone"}
    types: dict[str, Any] = {
        "spot.heightCm": _record("Range", {"from": "int", "to": "int"}),
        "spot.clothing": _list(_record("Text", {"lang": "string", "text": "string", "machine": "boolean"})),
        "spot.marks": _list("Text"),
        "case.firNo": _record(
            "Fir", {"ps": "string", "district": "int", "no": "string", "year": "int", "zero": "boolean"}
        ),
        "case.sections": _list(_record("Section", {"act": "string", "section": "string"})),
        "suspect.phones": _list("string"),
        "suspect.vehicles": _list(_record("Vehicle", {"type": "string", "regNo": "string", "colour": "string"})),
        "suspect.accounts": _list(_record("Account", {"platform": "string", "handle": "string"})),
    }
    fields = [(name.replace(".", "_"), ["null", types.get(name, "string")], name in hidden) for name in plain]
    return csfle(fields, {name.replace(".", "_"): value for name, value in plain.items()}, "event")


def csfle_flat() -> tuple[Run, Run]:
    """What suits it best: 20 short strings side by side, 6 of them encrypted."""
    fields = [(f"f{i}", "string", i < 6) for i in range(20)]
    return csfle(fields, {f"f{i}": f"value-{i:02}-some-text-here" for i in range(20)}, "flat")


def _record(name: str, parts: Mapping[str, str]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": part, "type": kind} for part, kind in parts.items()]}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _text(value: Any) -> str:
    """The first text of a list of them, however deep."""
    while isinstance(value, list):
        value = value[0]
    return str(value["text"])


def jwe_for(readers: int) -> Run:
    """One JWE for each block, ECDH-ES+A256KW to each reader."""
    keys = [ECKey.generate_key("P-256") for _ in range(readers)]
    blocks = [encode_block(SCHEMA, one, fields) for one, fields in CONTENT.items()]

    def run() -> None:
        for block in blocks:
            made = jwe.GeneralJSONEncryption({"enc": "A256GCM"}, block)
            for key in keys:
                made.add_recipient({"alg": "ECDH-ES+A256KW"}, key)
            jwe.encrypt_json(made, None)

    return run


def floor() -> tuple[Run, Run]:
    """fastavro and bare AES-GCM of the same blocks: no reader, no signature, nothing bound."""
    random = SystemRandom()
    made = []
    for compartment, fields in CONTENT.items():
        block_codec(SCHEMA, compartment)
        data = encode_block(SCHEMA, compartment, fields)
        schema = fastavro.parse_schema(
            {"type": "record", "name": f"B{int(compartment)}", "fields": [{"name": "d", "type": "bytes"}]}
        )
        made.append((schema, data, AESGCM(random.bytes(32))))
    nonce = bytes(12)

    def seal() -> list[bytes]:
        out = []
        for schema, data, key in made:
            buffer = BytesIO()
            fastavro.schemaless_writer(buffer, schema, {"d": data})
            out.append(key.encrypt(nonce, buffer.getvalue(), None))
        return out

    sealed = seal()

    def open_() -> None:
        for (schema, _, key), one in zip(made, sealed, strict=True):
            fastavro.schemaless_reader(BytesIO(key.decrypt(nonce, one, None)), schema, None)

    return seal, open_
