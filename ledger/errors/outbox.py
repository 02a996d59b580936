"""Errors of what is sent to a chain and of what comes back: submissions, cancellations, claims."""

from __future__ import annotations

from ledger.errors.chain import ChainError


class PublisherError(ChainError):
    """Something that must hold before a root is submitted does not."""


class UnlikeDistributorError(PublisherError):
    """A contract differs from what was registered of it."""

    def __init__(self, address: str, what: str, registered: str, found: str) -> None:
        self.address, self.what, self.registered, self.found = address, what, registered, found
        super().__init__(
            f"{address} has another {what} than was registered ({found}, not {registered}): check the node"
        )


class NotThePublisherError(PublisherError):
    """The key that is to sign is not the contract's publisher."""

    def __init__(self, sender: str, publisher: str) -> None:
        self.sender, self.publisher = sender, publisher
        super().__init__(
            f"{sender} may not submit roots: sign with the key of {publisher}, or let the owner appoint it"
        )


class RootsPausedError(PublisherError):
    """The guardian has paused the submission of roots."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(f"the guardian of {address} has paused roots: publish again when they go on")


class UnderfundedError(PublisherError):
    """The distributor holds less than a root promises; both in the token's smallest units."""

    def __init__(self, address: str, total: int, covered: int) -> None:
        self.address, self.total, self.covered = address, total, covered
        super().__init__(
            f"{address} has and has paid {covered} of the {total} smallest units that are promised: "
            f"send it {total - covered} more of the token, and publish again"
        )


class GasMoneyError(PublisherError):
    """The sender has too little of the chain's own coin to pay for a transaction; both in wei."""

    def __init__(self, sender: str, needed: int, found: int) -> None:
        self.sender, self.needed, self.found = sender, needed, found
        super().__init__(f"{sender} has {found} wei and may need {needed} for gas: send it some, and publish again")


class NotActiveError(PublisherError):
    """The root before is not active yet, or not for good; `activates_at` in seconds since 1970."""

    def __init__(self, root_id: int, activates_at: int) -> None:
        self.root_id, self.activates_at = root_id, activates_at
        super().__init__(
            f"root {root_id} is not active for good before {activates_at} (Unix time): publish after it is"
        )


class UnknownRootError(PublisherError):
    """The chain has a root that the ledger did not publish: by a stolen key, or by a ledger that was put back."""

    def __init__(self, address: str, root_id: int) -> None:
        self.address, self.root_id = address, root_id
        super().__init__(
            f"{address} has a root {root_id} that this ledger did not publish: use the ledger that did, or let the "
            "guardian revoke it and the owner appoint another publisher"
        )


class SubmissionRevertedError(PublisherError):
    """A submission was mined and reverted. Nothing moved, in the ledger or on the chain."""

    def __init__(self, transaction: str, why: str) -> None:
        self.transaction, self.why = transaction, why
        super().__init__(f"submission {transaction} reverted ({why}): mend that and publish again, or abandon it")


class PublicationPendingError(PublisherError):
    """A publication did not get as far as was asked in the time that was given."""

    def __init__(self, root_id: int, stage: str, detail: str) -> None:
        self.root_id, self.stage, self.detail = root_id, stage, detail
        said = f" ({detail})" if detail else ""
        super().__init__(f"root {root_id} is {stage} so far{said}: ask again, and it goes on from there")


class CancellationError(PublisherError):
    """A publication cannot be cancelled."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ClaimError(ChainError):
    """A claim cannot be made as asked."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
