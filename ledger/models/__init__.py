"""The tables, a subject a module. Rows are only ever added; each registry row names the entry that committed to it.

The journal (`entries`, `parts`, `postings`) is the truth. The other tables hold what its payloads say in a form that
can be queried and constrained; the audit compares the two. Instants are text (`ledger/instants.py`), amounts
`ExactInteger`.
"""

from sqlalchemy import String
from sqlmodel import AutoString

from ledger.models.base import RegistryRow, Row
from ledger.models.chain import (
    Attempt,
    ChainClaim,
    Distributor,
    Leaf,
    Operator,
    PayoutAddress,
    Publication,
    PublicationEnd,
    Receipt,
)
from ledger.models.holds import Hold, HoldChange
from ledger.models.journal import Account, AccountChange, Entry, Head, Part, Period, Posting
from ledger.models.registry import (
    Commodity,
    Consent,
    Contributor,
    Dataset,
    DatasetRecord,
    Estate,
    Group,
    Objective,
    ObjectiveTask,
    PersonalData,
    Setting,
)
from ledger.models.settlements import Dispute, Resolution, Run, SettledRun, Settlement
from ledger.text import Text

for _table in Row.metadata.tables.values():
    for _column in _table.columns:
        if isinstance(_column.type, String | AutoString):
            _column.type = Text()

REGISTRY: tuple[type[RegistryRow], ...] = (
    Setting,
    Commodity,
    Contributor,
    Estate,
    Group,
    Dataset,
    Consent,
    Objective,
    ObjectiveTask,
    AccountChange,
    Period,
    Dispute,
    Resolution,
    Distributor,
    Operator,
    PayoutAddress,
)

__all__ = [
    "REGISTRY",
    "Account",
    "AccountChange",
    "Attempt",
    "ChainClaim",
    "Commodity",
    "Consent",
    "Contributor",
    "Dataset",
    "DatasetRecord",
    "Dispute",
    "Distributor",
    "Entry",
    "Estate",
    "Group",
    "Head",
    "Hold",
    "HoldChange",
    "Leaf",
    "Objective",
    "ObjectiveTask",
    "Operator",
    "Part",
    "PayoutAddress",
    "Period",
    "PersonalData",
    "Posting",
    "Publication",
    "PublicationEnd",
    "Receipt",
    "RegistryRow",
    "Resolution",
    "Row",
    "Run",
    "Setting",
    "SettledRun",
    "Settlement",
]
