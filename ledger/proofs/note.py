"""Signed notes (c2sp.org/signed-note) with Ed25519 keys: text, a blank line, and signature lines. Pure.

Keys are written as Go's sumdb/note writes them. Signatures by keys that are not known, such as witnesses', are kept
and otherwise ignored.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.errors import KeyFormatError, NoteFormatError, SignatureError

MOST_SIGNATURES = 100
_ED25519 = b"\x01"
_KEY_BYTES = 32
_PRIVATE = "PRIVATE+KEY+"
_KEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")
_SIGNATURE_LINE = re.compile(r"— ([^ ]+) ([A-Za-z0-9+/=]+)")
_ID_BYTES = 4


@dataclass(frozen=True)
class Signature:
    """One signature line: who signed, by which key, and what the key made of the text."""

    name: str
    key_id: bytes  # 4 bytes
    made: bytes

    def __str__(self) -> str:
        return f"— {self.name} {base64.b64encode(self.key_id + self.made).decode()}"


@dataclass(frozen=True)
class Note:
    """A note that was opened: its text, and whose signatures were checked and whose were not."""

    text: str
    signatures: tuple[Signature, ...]
    unknown: tuple[Signature, ...] = ()

    def __str__(self) -> str:
        return self.text + "\n" + "".join(f"{signature}\n" for signature in (*self.signatures, *self.unknown))


@dataclass(frozen=True)
class VerifierKey:
    """A public key and its name: what says who signed a note."""

    name: str
    public: bytes  # 32 bytes

    def __post_init__(self) -> None:
        _check_name(self.name)

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """From ``name+hash+base64``. Raises `KeyFormatError`."""
        name, public = _parse_key(text)
        key = cls(name, public)
        if str(key) != text:
            raise KeyFormatError("its hash is not that of its name and key; it was changed or copied in part")
        return key

    @property
    def id(self) -> bytes:
        """The first 4 bytes of the SHA-256 of name, newline, algorithm and key."""
        return _key_id(self.name, self.public)

    def verify(self, text: str, made: bytes) -> bool:
        """Whether this key made this signature of the text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(made, text.encode())
        except InvalidSignature:
            return False
        return True

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"


@dataclass(frozen=True)
class SignerKey:
    """A private key and its name. Shown without its secret; `secret_text` is the whole."""

    name: str
    seed: bytes = field(repr=False)  # 32 bytes

    def __post_init__(self) -> None:
        _check_name(self.name)

    @classmethod
    def generate(cls, name: str) -> SignerKey:
        """A new key of this name. Raises `KeyFormatError`."""
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> SignerKey:
        """From ``PRIVATE+KEY+name+hash+base64``. Raises `KeyFormatError`."""
        if not text.startswith(_PRIVATE):
            raise KeyFormatError(f"a private key begins with {_PRIVATE}")
        key = cls(*_parse_key(text.removeprefix(_PRIVATE)))
        if key.secret_text != text:
            raise KeyFormatError("its hash is not that of its name and key; it was changed or copied in part")
        return key

    @property
    def verifier(self) -> VerifierKey:
        """The public key to this one."""
        return VerifierKey(self.name, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    @property
    def secret_text(self) -> str:
        """The key as its owner keeps it."""
        return f"{_PRIVATE}{self.name}+{self.verifier.id.hex()}+{base64.b64encode(_ED25519 + self.seed).decode()}"

    def sign(self, text: str) -> Signature:
        """A text's signature by the key."""
        made = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        return Signature(self.name, self.verifier.id, made)


def sign(text: str, *keys: SignerKey, beside: Iterable[Signature] = ()) -> str:
    """The text as a note signed by these keys; signatures `beside` stay, unless one of the keys signs anew.

    Raises `NoteFormatError` for a text that cannot be a note's.
    """
    _check_text(text)
    made = [key.sign(text) for key in keys]
    again = {(signature.name, signature.key_id) for signature in made}
    kept = [signature for signature in beside if (signature.name, signature.key_id) not in again]
    return str(Note(text, (*kept, *made)))


def open_note(message: str | bytes, *keys: VerifierKey) -> Note:
    """Check a note's signatures. Raises `NoteFormatError`, and `SignatureError` unless one of the keys signed it and
    every signature by one of the keys holds.
    """
    text, signatures = _parse(message)
    known = {(key.name, key.id): key for key in keys}
    held: dict[Signature, None] = {}
    unknown: dict[Signature, None] = {}
    for signature in signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            unknown[signature] = None
        elif key.verify(text, signature.made):
            held[signature] = None
        else:
            raise SignatureError(f"the signature by {signature.name} does not fit the text: one of them was changed")
    if not held:
        names = ", ".join(dict.fromkeys(f"{signature.name}+{signature.key_id.hex()}" for signature in signatures))
        wanted = ", ".join(f"{key.name}+{key.id.hex()}" for key in keys) or "no key"
        raise SignatureError(f"it is signed by {names}, not by {wanted}")
    return Note(text, tuple(held), tuple(unknown))


def unverified_text(message: str | bytes) -> str:
    """A note's text, whoever signed it: to be trusted for other reasons only. Raises `NoteFormatError`."""
    return _parse(message)[0]


def is_key_name(name: str) -> bool:
    """Whether a key can be called so: not empty, no white space, no plus, no control characters."""
    return bool(name) and "+" not in name and all(char > " " and not char.isspace() for char in name)


def _parse(message: str | bytes) -> tuple[str, list[Signature]]:
    try:
        message = message.decode() if isinstance(message, bytes) else message.encode().decode()
    except UnicodeError as error:
        raise NoteFormatError("it is not UTF-8") from error
    text, blank, lines = message.rpartition("\n\n")
    text += "\n"
    if not blank or not lines.endswith("\n"):
        raise NoteFormatError("a text, a blank line and signature lines are expected, each ending with a newline")
    _check_text(text)
    signatures = [_parse_signature(line) for line in lines.removesuffix("\n").split("\n")]
    if len(signatures) > MOST_SIGNATURES:
        raise NoteFormatError(f"it has {len(signatures)} signatures; {MOST_SIGNATURES} are read at most")
    return text, signatures


def _parse_signature(line: str) -> Signature:
    match = _SIGNATURE_LINE.fullmatch(line)
    decoded = _decode(match[2]) if match else None
    if match is None or decoded is None or len(decoded) <= _ID_BYTES or not is_key_name(match[1]):
        raise NoteFormatError(f"{line[:80]!r} is no signature line")
    return Signature(match[1], decoded[:_ID_BYTES], decoded[_ID_BYTES:])


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise NoteFormatError("its text does not end with a newline")
    if any(char < " " and char != "\n" for char in text):
        raise NoteFormatError("its text holds a control character")


def _parse_key(text: str) -> tuple[str, bytes]:
    match = _KEY.fullmatch(text)
    decoded = _decode(match[3]) if match else None
    if match is None or not decoded:
        raise KeyFormatError("a key is written name+hash+base64, the hash in 8 hexadecimal digits")
    if decoded[:1] != _ED25519 or len(decoded) != 1 + _KEY_BYTES:
        raise KeyFormatError(
            f"its algorithm is {decoded[0]}, with {len(decoded) - 1} bytes; only Ed25519 keys (1, 32 bytes) are read"
        )
    return match[1], decoded[1:]


def _check_name(name: str) -> None:
    if not is_key_name(name):
        raise KeyFormatError(f"the name {name!r} cannot be one: it is empty, or has white space or a '+'")


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_ID_BYTES]


def _decode(text: str) -> bytes | None:
    """The bytes of base64 text in its one proper form, or None."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return decoded if base64.b64encode(decoded).decode() == text else None
