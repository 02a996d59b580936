"""Checkpoints and continuations: C2SP's own example, what is almost one, and what does not continue."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import (
    CheckpointError,
    CheckpointFormatError,
    ConsistencyProofError,
    NoteFormatError,
    OriginError,
    SignatureError,
)
from ledger.proofs import note, tree
from ledger.proofs.checkpoint import (
    Checkpoint,
    Continuation,
    open_checkpoint,
    sign,
    unverified_checkpoint,
)
from ledger.proofs.note import SignerKey

# Of c2sp.org/tlog-checkpoint.
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
ROOT = base64.b64encode(bytes(range(32))).decode()
KEY = SignerKey("ledger.example", bytes(range(32)))
LEAVES = [tree.leaf_hash(str(number).encode()) for number in range(20)]


def at(size: int, origin: str = "ledger.example") -> Checkpoint:
    return Checkpoint(origin, size, tree.root(LEAVES[:size]))


def continuation(older: int, newer: int) -> Continuation:
    return Continuation(older, tree.prove(LEAVES[:newer], older=[older]).consistency[older], sign(at(newer), KEY))


def test_the_published_checkpoint_is_read_and_written_as_it_was() -> None:
    found = unverified_checkpoint(SOFA)
    assert (found.origin, found.size, found.extensions) == ("example.com/behind-the-sofa", 20_852_163, ())
    assert found.root == base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    assert SOFA.startswith(found.text + "\n— ")


def test_a_checkpoint_signed_today_is_the_same_for_ever() -> None:
    """A golden vector of this program's own: another value here would break every checkpoint that is kept."""
    assert sign(at(11), KEY) == (
        "ledger.example\n11\nZbBxmcgZLJooegYyewP9eZxpS5lTquT8GclooXAM8NU=\n\n"
        "— ledger.example "
        "057NwrJSJeEIftWBV91QEzqY2EZgNDQUIxz9CcxJKznKPfD5aj3Bi93bFQ1E/aQS4Ag/4BsDdnNMo48px19b6znfRgU=\n"
    )


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32), st.lists(st.sampled_from(["a", "time 1"])))
def test_whatever_is_signed_can_be_opened(size: int, root: bytes, extensions: list[str]) -> None:
    made = Checkpoint("ledger.example", size, root if size else tree.EMPTY, tuple(extensions))
    assert open_checkpoint(sign(made, KEY), KEY.verifier) == made


def test_extension_lines_are_kept() -> None:
    found = Checkpoint.parse(f"ledger.example\n3\n{ROOT}\nextended\nagain\n")
    assert found.extensions == ("extended", "again")
    assert found.text == f"ledger.example\n3\n{ROOT}\nextended\nagain\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"a\n3\n{ROOT}",
        "a\n3\n",
        f"\n3\n{ROOT}\n",
        f"a\n03\n{ROOT}\n",
        f"a\n-3\n{ROOT}\n",
        f"a\n+3\n{ROOT}\n",
        f"a\n3 \n{ROOT}\n",
        f"a\n٣\n{ROOT}\n",
        f"a\n3.0\n{ROOT}\n",
        f"a\n{'9' * 5000}\n{ROOT}\n",
        f"a\n3\n{ROOT[:-4]}\n",
        f"a\n3\n{ROOT[:-1]}\n",
        f"a\n3\n{ROOT} \n",
        f"a\n3\n{ROOT[:-2]}9=\n",  # bits that mean nothing are set
        "a\n3\n000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
        f"a\n3\n{ROOT}\n\n",
        f"a\n3\n{ROOT}\n\nmore\n",
        f"a\n0\n{ROOT}\n",  # nothing has the root of the empty tree
    ],
    ids=range(20),
)
def test_what_is_almost_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(CheckpointFormatError):
        Checkpoint.parse(text)


def test_a_key_speaks_for_its_own_log_only() -> None:
    with pytest.raises(OriginError, match=r"other\.example"):
        sign(at(3, "other.example"), KEY)
    stranger = SignerKey("ledger.example", bytes(32))
    with pytest.raises(SignatureError):
        open_checkpoint(sign(at(3), stranger), KEY.verifier)
    with pytest.raises(OriginError):
        open_checkpoint(note.sign(at(3, "other.example").text, KEY), KEY.verifier)


def test_a_checkpoint_with_any_bit_flipped_is_refused() -> None:
    message = sign(at(11), KEY).encode()
    for bit in range(8 * len(message)):
        changed = bytearray(message)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((NoteFormatError, SignatureError)):
            open_checkpoint(bytes(changed), KEY.verifier)


# Continuations


@pytest.mark.parametrize(("older", "newer"), [(0, 5), (1, 20), (7, 11), (8, 16), (11, 11)])
def test_a_continuation_is_read_as_it_was_written_and_holds(older: int, newer: int) -> None:
    made = continuation(older, newer)
    read = Continuation.parse(str(made))
    assert read == made
    read.verify(at(older), open_checkpoint(read.checkpoint, KEY.verifier))


def test_a_continuation_reads_as_a_request_to_a_witness() -> None:
    first, *hashes, blank, origin, size = str(continuation(7, 8)).split("\n")[:8]
    assert (first, blank, origin, size) == ("old 7", "", "ledger.example", "8")
    assert [len(base64.b64decode(line)) for line in hashes] == [32] * 4


def test_what_was_rewritten_before_the_older_checkpoint_does_not_continue_it() -> None:
    rewritten = [tree.leaf_hash(b"another story"), *LEAVES[1:]]
    proved = tree.prove(rewritten[:11], older=[7])
    newer = Checkpoint("ledger.example", 11, proved.root)
    made = Continuation(7, proved.consistency[7], sign(newer, KEY))
    with pytest.raises(ConsistencyProofError, match="changed"):
        made.verify(at(7), newer)


def test_a_continuation_of_other_checkpoints_is_refused() -> None:
    made = continuation(7, 11)
    with pytest.raises(CheckpointError, match="begins at 7"):
        made.verify(at(6), at(11))
    with pytest.raises(CheckpointError, match="another checkpoint"):
        made.verify(at(7), at(12))
    with pytest.raises(OriginError):
        made.verify(at(7, "other.example"), at(11))
    shrunk = Continuation(11, (), sign(at(7), KEY))
    with pytest.raises(ConsistencyProofError, match="smaller"):
        shrunk.verify(at(11), at(7))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("old 7", "old 07"),
        lambda text: text.replace("old 7", "old -7"),
        lambda text: text.replace("old 7", "new 7"),
        lambda text: text.replace("old 7\n", "old 7\n!\n"),
        lambda text: text.replace("old 7\n", "old 7\n\n"),
        lambda text: text.split("\n\n")[0],
        lambda text: text.replace("old 7\n", "old 7\n" + f"{ROOT}\n" * 64),
        lambda text: "",
    ],
    ids=range(8),
)
def test_what_is_almost_a_continuation_is_refused(damage) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((CheckpointFormatError, NoteFormatError)):
        unverified_checkpoint(Continuation.parse(damage(str(continuation(7, 11)))).checkpoint)
