"""Settlement on a chain: contributors claim what the ledger owes them. Needs the extra `chain`; nothing else does."""

import sys
from importlib import import_module
from importlib.util import find_spec

from ledger.errors.duplicates import MissingLibraryError

for _library in ("web3", "eth_account", "eth_abi", "eth_utils"):
    if find_spec(_library) is None:
        raise MissingLibraryError("settlement on a chain", _library.replace("_", "-"), "chain")

# One of these libraries lets Python recurse far deeper than its stack reaches: JSON that is nested deeply, in a proof
# or a statement, would end the program instead of being refused.
_limit = sys.getrecursionlimit()
import_module("eth_account")
sys.setrecursionlimit(_limit)
