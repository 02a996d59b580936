"""Settlement on a chain: contributors claim what the ledger owes them. Needs the extra `chain`; nothing else does."""

from importlib.util import find_spec

from ledger.errors.duplicates import MissingLibraryError

for _library in ("web3", "eth_account", "eth_abi", "eth_utils"):
    if find_spec(_library) is None:
        raise MissingLibraryError("settlement on a chain", _library.replace("_", "-"), "chain")
