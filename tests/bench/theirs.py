"""What we are compared with: Confluent's field encryption, JWE, and the floor of bare AES-GCM over the same blocks."""

from __future__ import annotations

import json
from collections.abc import Callable
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


def csfle() -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Serialize and deserialize of 20 fields, 6 of them encrypted, by Confluent's AvroSerializer; unsigned."""
    FieldEncryptionExecutor.register()
    LocalKmsDriver.register()
    fields = [{"name": f"f{i}", "type": "string", **({"confluent:tags": ["PII"]} if i < 6 else {})} for i in range(20)]
    client = SchemaRegistryClient.new_client({"url": "mock://bench"})
    params = RuleParams({"encrypt.kek.name": "kek", "encrypt.kms.type": "local-kms", "encrypt.kms.key.id": "key"})
    rule = Rule(
        "enc", "", RuleKind.TRANSFORM, RuleMode.WRITEREAD, "ENCRYPT", ["PII"], params, None, None, "ERROR,NONE", False
    )
    text = json.dumps({"type": "record", "name": "E", "fields": fields})
    client.register_schema("t-value", Schema(text, "AVRO", [], None, RuleSet(None, [rule])))
    secret = {"secret": "bench"}
    settings = {"auto.register.schemas": False, "use.latest.version": True}
    serializer = AvroSerializer(client, schema_str=None, conf=settings, rule_conf=secret)
    deserializer = AvroDeserializer(client, schema_str=None, rule_conf=secret)
    context = SerializationContext("t", MessageField.VALUE)
    value = {f"f{i}": f"value-{i:02}-some-text-here" for i in range(20)}
    data = serializer(dict(value), context)
    assert deserializer(data, context) == value
    return lambda: serializer(dict(value), context), lambda: deserializer(data, context)


def jwe_for(readers: int) -> Callable[[], Any]:
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


def floor() -> tuple[Callable[[], Any], Callable[[], Any]]:
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
