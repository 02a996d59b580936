"""The contracts as they were built: ABI, code, and where in the code its immutable values are filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ledger.chain.abi import Abi


@dataclass(frozen=True)
class Artifact:
    """A built contract: `creation` makes it, `runtime` is what is then on the chain, its immutable values zero."""

    name: str
    abi: Abi
    creation: bytes
    runtime: bytes
    immutables: Mapping[str, tuple[tuple[int, int], ...]]  # of each: (start, length) in `runtime`

    def masked(self, code: bytes) -> bytes:
        """Code with zeros where this contract's immutable values are; it may be another contract's."""
        masked = bytearray(code)
        for places in self.immutables.values():
            for start, length in places:
                masked[start : start + length] = bytes(len(masked[start : start + length]))
        return bytes(masked)

    def values(self, code: bytes) -> dict[str, set[bytes]]:
        """The immutable values in code of this contract: a name has one, unless somebody tampered with the code."""
        return {
            name: {code[start : start + length] for start, length in places} for name, places in self.immutables.items()
        }


@cache
def artifact(name: str) -> Artifact:
    """The contract of this name, as it is shipped with the package."""
    content = json.loads((files("ledger.chain") / f"{name}.json").read_text(encoding="utf-8"))
    return Artifact(
        name=name,
        abi=Abi(content["abi"]),
        creation=bytes.fromhex(content["bytecode"].removeprefix("0x")),
        runtime=bytes.fromhex(content["deployedBytecode"].removeprefix("0x")),
        immutables={
            immutable: tuple((place["start"], place["length"]) for place in places)
            for immutable, places in content["immutableReferences"].items()
        },
    )
