"""Notes, checkpoints, cosignatures, policies and proofs: published values there and back, and everything else refused."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

import pytest

from broker.merkle import EMPTY_ROOT, leaf_hash, levels
from broker.tlog import tree
from broker.tlog.checkpoint import Checkpoint, decimal, parse_checkpoint
from broker.tlog.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_MLDSA44,
    ED25519,
    Ed25519Signer,
    Line,
    Mldsa44Signer,
    Note,
    NoteSigner,
    Verifier,
    cosigned_tree,
    parse_note,
    parse_vkey,
    sign_note,
    verify_note,
)
from broker.tlog.policy import Policy, parse_policy
from broker.tlog.proof import Proof, parse_proof

AT: Final = 1_770_000_000
EXAMPLE_KEY: Final = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE: Final = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
TESSERA_SEED: Final = base64.b64decode("AeymY/SZAX0jZcJ8enZ5FY1Dz+wTML2yWSkK+9DSF3eg")[1:]
TESSERA_KEY: Final = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
TESSERA: Final = (
    "example.com/log/testdata\n15\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n\n— example.com/log/testdata "
    "M9e0luh4jTG+UMBqOUo9/q+yAEvx1ilBEniMvjf1zfcBOhg+CKubMt53MvIt/uEWP6zdkdIQzd/fmwlM/dlPWF74ewI=\n"
)

LOG: Final = Ed25519Signer("log.example/one", bytes(range(32)))
WITNESSES: Final[list[NoteSigner]] = [
    Ed25519Signer("witness.example/w1", b"1" * 32, kind=COSIGNATURE_ED25519),
    Mldsa44Signer("witness.example/w2", b"2" * 32),
    Ed25519Signer("witness.example/w3", b"3" * 32, kind=COSIGNATURE_ED25519),
]
CHECKPOINT: Final = Checkpoint("log.example/one", 15, b"r" * 32)


def altered(line: Line, at: int = -1) -> Line:
    """The line with another byte in its signature."""
    signature = bytearray(line.signature)
    signature[at] ^= 1
    return line._replace(signature=bytes(signature))


def test_the_note_of_the_specification_verifies() -> None:
    """The example of c2sp.org/signed-note, with its vkey."""
    key = parse_vkey(EXAMPLE_KEY)
    assert key.vkey() == EXAMPLE_KEY
    note = parse_note(EXAMPLE.encode())
    assert note.text == "This is an example message.\n"
    assert note.encode() == EXAMPLE.encode()
    (seen,) = verify_note(note, [key])
    assert (seen.name, seen.kind, seen.at) == ("example.com/foo", ED25519, None)


def test_the_checkpoint_of_another_program_is_made_byte_for_byte() -> None:
    """Tessera's test log: with its published test key the same checkpoint comes out."""
    signer = Ed25519Signer("example.com/log/testdata", TESSERA_SEED)
    assert signer.verifier.vkey() == TESSERA_KEY
    root = base64.b64decode("rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=")
    text = Checkpoint("example.com/log/testdata", 15, root).text()
    assert sign_note(text, [signer], at=AT).encode() == TESSERA.encode()


@pytest.mark.parametrize("signer", [LOG, *WITNESSES], ids=lambda one: one.verifier.name)
def test_a_signature_holds_for_its_text_alone(signer: NoteSigner) -> None:
    """Each kind of key signs a checkpoint; another root, time, name or bit does not verify."""
    note = sign_note(CHECKPOINT.text(), [signer], at=AT)
    (seen,) = verify_note(parse_note(note.encode()), [signer.verifier])
    assert seen.at == (None if signer is LOG else AT)
    other = CHECKPOINT._replace(root=b"s" * 32).text()
    for text, line in ((other, note.lines[0]), *[(note.text, altered(note.lines[0], at)) for at in (0, 7, 8, -1)]):
        with pytest.raises(ValueError, match=r"does not verify|no time"):
            verify_note(Note(text, (line,)), [signer.verifier])


def test_what_a_cosigner_signs_is_what_the_specification_says() -> None:
    """The structure of an ML-DSA-44 cosignature, byte by byte."""
    assert cosigned_tree("w", Checkpoint("o", 258, b"r" * 32), 1) == (
        b"subtree/v1\n\0" + b"\x01w" + bytes(7) + b"\x01" + b"\x01o" + bytes(8) + bytes(6) + b"\x01\x02" + b"r" * 32
    )
    for name, origin in (("", "o"), ("w" * 256, "o"), ("w", "o" * 256)):
        with pytest.raises(ValueError, match="too long"):
            cosigned_tree(name, Checkpoint(origin, 1, bytes(32)), 1)


def test_unknown_keys_are_ignored_and_known_ones_must_hold() -> None:
    """A stranger's line changes nothing; a broken line of a known key spoils the note; nobody known is no signature."""
    note = sign_note(CHECKPOINT.text(), [LOG, *WITNESSES], at=AT)
    assert [seen.name for seen in verify_note(note, [LOG.verifier])] == ["log.example/one"]
    spoilt = note._replace(lines=(note.lines[0], altered(note.lines[1])))
    assert len(verify_note(spoilt, [LOG.verifier])) == 1
    with pytest.raises(ValueError, match="does not verify"):
        verify_note(spoilt, [LOG.verifier, WITNESSES[0].verifier])
    with pytest.raises(ValueError, match="no key that is trusted"):
        verify_note(note, [])
    twice = note._replace(lines=(note.lines[0], note.lines[0]))
    assert len(verify_note(twice, [LOG.verifier])) == 1


@pytest.mark.parametrize(
    ("sentence", "change"),
    [
        ("no blank line", lambda text: text.replace("\n\n", "\n")),
        ("no newline at the end", lambda text: text[:-1]),
        ("a tab", lambda text: text.replace("This", "Th\tis")),
        ("a carriage return", lambda text: text.replace("\n", "\r\n")),
        ("another dash", lambda text: text.replace("— ", "- ")),
        ("a name with a plus", lambda text: text.replace("example.com/foo", "example+com")),
        ("a name with a wide space", lambda text: text.replace("example.com/foo", "example\u2003com")),
        ("no name", lambda text: text.replace("example.com/foo ", " ")),
        ("base64 with bits left over", lambda text: text.replace("aQM=\n", "aQN=\n")),
        ("base64 without padding", lambda text: text.replace("aQM=\n", "aQM\n")),
        ("a signature of no bytes", lambda text: text[: text.index("Uw2Q")] + "Uw2QOg==\n"),
        ("an empty line among the signatures", lambda text: text + "\n"),
    ],
)
def test_what_is_not_a_note_is_refused(sentence: str, change: Callable[[str], str]) -> None:
    """Each broken form by itself."""
    with pytest.raises(ValueError, match=r"note|signature|base64"):
        verify_note(parse_note(change(EXAMPLE).encode()), [parse_vkey(EXAMPLE_KEY)])


def test_a_note_is_utf8_and_bounded() -> None:
    """Other bytes, a million of them, and a hundred and one signatures are refused."""
    with pytest.raises(ValueError, match="UTF-8"):
        parse_note(b"\xff\n\n")
    with pytest.raises(ValueError, match="too large"):
        parse_note(bytes(1_000_001))
    with pytest.raises(ValueError, match="too many"):
        parse_note((EXAMPLE + EXAMPLE.split("\n\n")[1] * 100).encode())
    for text in ("no newline", "a\x07bell\n"):
        with pytest.raises(ValueError, match="text of a note"):
            sign_note(text, [LOG], at=AT)


@pytest.mark.parametrize(
    "vkey",
    [
        "example.com/foo",
        EXAMPLE_KEY.replace("530d903a", "530d903b"),
        EXAMPLE_KEY.replace("530d903a", "530D903A"),
        EXAMPLE_KEY.replace("+Aeky", "+Aeku"),
        EXAMPLE_KEY.replace("+Aeky", "+Auky"),
        EXAMPLE_KEY[:-4],
        EXAMPLE_KEY.replace("example.com/foo", "example com"),
    ],
)
def test_a_vkey_is_its_key_or_nothing(vkey: str) -> None:
    """The id must be that of name, kind and key; the kind one that is known here."""
    with pytest.raises(ValueError, match=r"verifier key|base64"):
        parse_vkey(vkey)


@pytest.mark.parametrize(
    "text",
    ["a\n1\n", "a\n01\n{}\n", "a\n+1\n{}\n", "a\n1 \n{}\n", "a\n٣\n{}\n", "\n1\n{}\n", "a\n1\n{}", "a\n1\n{}\nmore\n", "a\n1\n{}=\n",
     "a\n0\n{}\n", f"a\n{1 << 63}\n{{}}\n", "a\n1\nAAAA\n"],
)  # fmt: skip
def test_a_checkpoint_has_one_form(text: str) -> None:
    """No extension lines, no leading zeros, no other digits, no empty tree with a root of something."""
    root = base64.b64encode(b"r" * 32).decode()
    with pytest.raises(ValueError, match=r"checkpoint|number|empty tree"):
        parse_checkpoint(text.format(root))
    assert parse_checkpoint(CHECKPOINT.text()) == CHECKPOINT
    assert parse_checkpoint(Checkpoint("a", 0, EMPTY_ROOT).text()).size == 0
    assert decimal("0") == 0


def policy_text(quorum: str, *lines: str) -> bytes:
    """A policy of the test's log and witnesses, with these lines before its quorum."""
    witnesses = [f"witness w{number} {one.verifier.vkey()}" for number, one in enumerate(WITNESSES, 1)]
    return "".join(
        f"{line}\n" for line in ("# who", f"log {LOG.verifier.vkey()}", *witnesses, *lines, f"quorum {quorum}")
    ).encode()


@pytest.mark.parametrize(
    ("policy", "signed", "believed"),
    [
        (policy_text("none"), [], True),
        (policy_text("w1"), [1], True),
        (policy_text("w1"), [2, 3], False),
        (policy_text("g", "group g any w1 w2 w3"), [3], True),
        (policy_text("g", "group g all w1 w2 w3"), [1, 2], False),
        (policy_text("g", "group g all w1 w2 w3"), [1, 2, 3], True),
        (policy_text("g", "group g 2 w1 w2 w3"), [2, 3], True),
        (policy_text("g", "group g 2 w1 w2 w3"), [2], False),
        (policy_text("g", "group g 2 w1 w2 w3"), [], False),
        (policy_text("h", "group g any w1 w2", "group h  all\tg w3 "), [2, 3], True),
        (policy_text("h", "group g any w1 w2", "group h all g w3"), [1, 2], False),
    ],
)
def test_a_checkpoint_is_believed_by_the_quorum(policy: bytes, signed: list[int], believed: bool) -> None:
    """Witnesses and groups count as the policy says, and never twice."""
    note = sign_note(CHECKPOINT.text(), [LOG, *[WITNESSES[number - 1] for number in signed]], at=AT)
    if believed:
        checkpoint, seen = parse_policy(policy).check(note)
        assert checkpoint == CHECKPOINT
        assert len(seen) == 1 + len(signed)
    else:
        with pytest.raises(ValueError, match="too few witnesses"):
            parse_policy(policy).check(note)


def test_a_log_that_is_not_known_is_not_believed_whoever_cosigns() -> None:
    """Another origin, or a checkpoint that its log has not signed."""
    policy = parse_policy(policy_text("w1"))
    stranger = sign_note(CHECKPOINT._replace(origin="other").text(), [LOG, WITNESSES[0]], at=AT)
    with pytest.raises(ValueError, match="not one that this policy knows"):
        policy.check(stranger)
    with pytest.raises(ValueError, match="no key that is trusted"):
        policy.check(sign_note(CHECKPOINT.text(), [WITNESSES[0]], at=AT))


@pytest.mark.parametrize(
    "lines",
    [
        ["group g any w9"],
        ["group g 0 w1"],
        ["group g 02 w1 w2"],
        ["group g 3 w1 w2"],
        ["group g any"],
        ["group g any w1 w1"],
        ["group g any w1", "group h any w1"],
        ["group w1 any w2"],
        ["group none any w2"],
        ["quorum w1"],
        ["witness w4 " + Ed25519Signer("witness.example/w4", b"1" * 32, kind=COSIGNATURE_ED25519).verifier.vkey()],
        ["witness w4 " + LOG.verifier.vkey()],
        ["log " + LOG.verifier.vkey()],
        ["log"],
        ["something else"],
    ],
)
def test_a_policy_that_means_two_things_is_refused(lines: list[str]) -> None:
    """Names that are not there, keys that stand twice, groups that nobody can satisfy; the message names the line."""
    with pytest.raises(ValueError, match=r"^line [67]: "):
        parse_policy(policy_text("none", *lines))


def test_a_policy_is_whole() -> None:
    """No quorum, a carriage return, no newline at the end."""
    for data in (b"", policy_text("none")[:-1], policy_text("none").replace(b"\n", b"\r\n")):
        with pytest.raises(ValueError, match="policy"):
            parse_policy(data)


def proof_of(index: int) -> tuple[Proof, bytes, Policy]:
    """A proof for one of fifteen entries, the leaf hash, and a policy that believes it."""
    hashed = [leaf_hash(bytes((number,))) for number in range(15)]
    nodes = lambda level, at: levels(hashed[at << level : (at + 1) << level])[-1][0]  # noqa: E731
    text = Checkpoint("log.example/one", 15, tree.root(15, nodes)).text()
    note = sign_note(text, [LOG, *WITNESSES], at=AT)
    return Proof(index, tuple(tree.inclusion(index, 15, nodes)), note), hashed[index], parse_policy(policy_text("w2"))


@pytest.mark.parametrize("extra", [None, b"", b"why"])
def test_a_proof_is_read_as_it_was_written_and_checks(extra: bytes | None) -> None:
    """Off line, with the policy alone: the entry stands in the log. Another entry does not."""
    proof, leaf, policy = proof_of(9)
    data = proof._replace(extra=extra).encode()
    found = parse_proof(data)
    assert found == proof._replace(extra=extra)
    checkpoint, seen = found.check(leaf, policy)
    assert (checkpoint.size, len(seen)) == (15, 4)
    with pytest.raises(ValueError, match="does not lead"):
        found.check(bytes(32), policy)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"@v1", b"@v2"),
        (b"index 9", b"index 09"),
        (b"index 9", b"index"),
        (b"index 9\n", b""),
        (b"index 9", b"extra %%\nindex 9"),
        (b"index 9\n", b"index 9\nAAAA\n"),
        (b"index 9\n", b"index 9\n" + base64.b64encode(bytes(32)) * 64),
        (b"\n\n", b"\n"),
        (b"index 9", b"index 9 "),
        (b"c2sp", b"\xe2\x80\x94"),
    ],
)
def test_what_is_not_a_proof_is_refused(old: bytes, new: bytes) -> None:
    """Each broken form by itself."""
    data = proof_of(9)[0].encode()
    assert old in data
    with pytest.raises(ValueError, match=r"proof|number|base64|note|signature"):
        parse_proof(data.replace(old, new, 1))


def test_a_cosignature_with_a_time_beyond_all_clocks_is_refused() -> None:
    """The highest bit of a timestamp is never set."""
    line = WITNESSES[0].sign(CHECKPOINT.text(), at=(1 << 63) - 1)
    assert verify_note(Note(CHECKPOINT.text(), (line,)), [WITNESSES[0].verifier])[0].at == (1 << 63) - 1
    with pytest.raises(ValueError, match="no time"):
        verify_note(
            Note(CHECKPOINT.text(), (line._replace(signature=b"\xff" + line.signature[1:]),)), [WITNESSES[0].verifier]
        )
    assert Verifier("w", COSIGNATURE_MLDSA44, bytes(1312)).vkey().startswith("w+")
