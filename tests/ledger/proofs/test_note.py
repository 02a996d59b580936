"""Signed notes against the vectors of Go's sumdb/note and of C2SP, and against everything that is almost a note."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import KeyFormatError, NoteFormatError, SignatureError
from ledger.proofs.note import Signature, SignerKey, VerifierKey, open_note, sign, unverified_text

# Of Go's sumdb/note.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
# Of c2sp.org/signed-note.
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

peter, enoch = VerifierKey.parse(PETER), VerifierKey.parse(ENOCH)


# Keys


@pytest.mark.parametrize("text", [PETER, ENOCH, FOO])
def test_a_published_verifier_key_is_read_and_written_as_it_was(text: str) -> None:
    key = VerifierKey.parse(text)
    assert str(key) == text
    assert key.id.hex() == text.split("+")[1]


def test_a_published_signer_key_has_its_published_verifier_key() -> None:
    key = SignerKey.parse(PETER_PRIVATE)
    assert key.secret_text == PETER_PRIVATE
    assert key.verifier == peter


def test_a_key_that_was_cut_or_changed_anywhere_is_refused() -> None:
    for text, read in ((PETER, VerifierKey.parse), (PETER_PRIVATE, SignerKey.parse)):
        cut = {text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)} - {text}
        raised = {text[:i] + chr(ord(text[i]) + 1) + text[i + 1 :] for i in range(len(text))}
        for wrong in cut | raised:
            with pytest.raises(KeyFormatError):
                read(wrong)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==", "written"),  # of another length
        ("PeterNeumann+c74f20a3+" + base64.b64encode(b"\x01" + bytes(33)).decode(), "Ed25519"),
        ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "algorithm is 101"),
        (PETER.replace("c74f20a3", "C74F20A3"), "hexadecimal"),
        (PETER + "\n", "written"),
        (f"{PETER} ", "written"),
        (PETER.removeprefix("PeterNeumann"), "written"),
        ("a b+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "white space"),
        ("", "written"),
    ],
)
def test_what_is_almost_a_key_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(KeyFormatError, match=reason):
        VerifierKey.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\nb", "a\x7f\x00"])
def test_a_key_is_not_made_for_what_cannot_be_a_name(name: str) -> None:
    with pytest.raises(KeyFormatError):
        SignerKey.generate(name)


def test_a_new_key_is_another_each_time_and_does_not_show_its_secret() -> None:
    one, other = SignerKey.generate("ledger.example"), SignerKey.generate("ledger.example")
    assert one.verifier != other.verifier
    assert SignerKey.parse(one.secret_text) == one
    secret = base64.b64encode(b"\x01" + one.seed).decode()
    for shown in (repr(one), str(one)):
        assert secret not in shown
        assert repr(one.seed) not in shown
        assert one.seed.hex() not in shown


# Notes


def test_the_published_note_is_signed_to_the_letter() -> None:
    assert sign(TEXT, SignerKey.parse(PETER_PRIVATE)) == TEXT + "\n" + PETER_LINE


def test_published_notes_are_opened_and_signatures_by_others_are_ignored() -> None:
    assert open_note(FOO_NOTE, VerifierKey.parse(FOO)).text == "This is an example message.\n"
    for message in (TEXT + "\n" + PETER_LINE + ENOCH_LINE, (TEXT + "\n" + ENOCH_LINE + PETER_LINE).encode()):
        note = open_note(message, peter)
        assert note.text == TEXT
        assert [str(signature) + "\n" for signature in note.signatures] == [PETER_LINE]
        assert [str(signature) + "\n" for signature in note.unknown] == [ENOCH_LINE]
        assert len(open_note(message, peter, enoch).signatures) == 2


def test_the_same_signature_twice_counts_once() -> None:
    note = open_note(TEXT + "\n" + PETER_LINE * 2 + ENOCH_LINE * 3, peter)
    assert (len(note.signatures), len(note.unknown)) == (1, 1)


def test_a_signature_beside_is_kept_and_an_older_one_by_the_same_key_is_replaced() -> None:
    key = SignerKey.parse(PETER_PRIVATE)
    witness = open_note(TEXT + "\n" + ENOCH_LINE, enoch).signatures[0]
    stale = Signature("PeterNeumann", peter.id, b"stale")
    signed = sign(TEXT, key, beside=[witness, stale])
    assert signed == TEXT + "\n" + ENOCH_LINE + PETER_LINE


def test_nobody_known_signed_it() -> None:
    for keys in ((), (enoch,), (VerifierKey("PeterNeumann", enoch.public),), (VerifierKey("Peter", peter.public),)):
        with pytest.raises(SignatureError, match="signed by PeterNeumann"):
            open_note(TEXT + "\n" + PETER_LINE, *keys)


def test_one_bad_signature_by_a_known_key_spoils_the_note() -> None:
    bad = PETER_LINE.replace("x08go/ZJ", "x08go/ZK")
    for lines in (bad, bad + PETER_LINE, PETER_LINE + bad):
        with pytest.raises(SignatureError, match="changed"):
            open_note(TEXT + "\n" + lines, peter)
    assert open_note(TEXT + "\n" + ENOCH_LINE + bad, enoch).text == TEXT  # not known, so not looked at


def test_a_note_with_any_bit_flipped_is_refused() -> None:
    message = (TEXT + "\n" + PETER_LINE).encode()
    for bit in range(8 * len(message)):
        changed = bytearray(message)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((NoteFormatError, SignatureError)):
            open_note(bytes(changed), peter)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        TEXT + "\n",
        TEXT + PETER_LINE,  # no blank line
        TEXT + "\n" + PETER_LINE.removesuffix("\n"),
        TEXT + "\n" + PETER_LINE + "\n",
        TEXT + "\n" + PETER_LINE + "Unexpected line.\n",
        TEXT + "\n" + PETER_LINE.replace("— ", "- "),
        TEXT + "\n" + PETER_LINE.replace("— ", "—"),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Bad Name"),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Bad+Name"),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Bad\u2003Name"),
        TEXT + "\n" + PETER_LINE.replace("\n", "\r\n"),
        TEXT + "\n" + PETER_LINE.replace("AM=", "AN="),  # not how base64 is written: bits that mean nothing are set
        TEXT + "\n" + PETER_LINE.replace("AM=", "AM"),
        TEXT + "\n— PeterNeumann x08gow==\n",  # a key's hash alone
        "\x01" + TEXT + "\n" + PETER_LINE,
        TEXT.replace(" ", "\t") + "\n" + PETER_LINE,
        (TEXT + "\n" + PETER_LINE).encode() + b"\xff",
        b"\xff" + (TEXT + "\n" + PETER_LINE).encode(),
        "\ud800" + TEXT + "\n" + PETER_LINE,
        TEXT + "\n" + PETER_LINE * 101,
    ],
    ids=range(24),
)
def test_what_is_almost_a_note_is_refused(message: str | bytes) -> None:
    with pytest.raises(NoteFormatError):
        open_note(message, peter)
    with pytest.raises(NoteFormatError):
        unverified_text(message)


def test_a_text_that_cannot_be_a_notes_is_not_signed() -> None:
    for text in ("abc", "", "a\rb\n", "a\0\n"):
        with pytest.raises(NoteFormatError):
            sign(text, SignerKey.parse(PETER_PRIVATE))


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.integers(1, 16))
def test_whatever_is_signed_can_be_opened(line: str, signers: int) -> None:
    text = f"{line}\n\n{line}\n"
    keys = [SignerKey(f"signer/{number}", bytes([number]) * 32) for number in range(signers)]
    note = open_note(sign(text, *keys), *(key.verifier for key in keys))
    assert note.text == text
    assert len(note.signatures) == signers
    assert str(note) == sign(text, *keys)
