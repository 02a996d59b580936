"""A statement as plain values: money and nats as exact decimal text, shares as rounded decimals."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ledger import statement_chain
from ledger.money import format_nats, format_units

if TYPE_CHECKING:
    from ledger.statement import Balance, Claim, Movement, Statement, SuppliedDataset
    from ledger.statement_runs import SettledRun, ValuedRun

_PAYOUT = ("share", "forgiven", "carried", "slashed", "netted", "drawn", "redistributed", "paid")


def as_json(made: Statement) -> dict[str, Any]:
    """The whole statement."""
    return {
        "contributor": made.contributor,
        "name": made.name.name if made.name else None,
        "name_salt": made.name.salt if made.name else None,
        "made_at": made.made_at,
        "entries": made.entries,
        "head": made.head,
        "datasets": [_dataset(supplied) for supplied in made.datasets],
        "payees": made.payees,
        "runs": [_run(run) for run in made.runs],
        "disputes": [_dispute(claim) for claim in made.disputes],
        **statement_chain.as_json(made.on_chains),
        "balances": [_balance(balance) for balance in made.balances],
        "movements": [_movement(movement) for movement in made.movements],
    }


def _dataset(supplied: SuppliedDataset) -> dict[str, Any]:
    dataset = supplied.dataset
    return {
        "fingerprint": dataset.fingerprint,
        "name": dataset.name,
        "licence": dataset.licence,
        "records": dataset.record_count,
        "bytes": dataset.byte_count,
        "paths": dataset.paths,
        "registered_at": supplied.registered_at,
        "consents": [{"change": change, "effective_at": at} for change, at in supplied.consents],
        "consent_now": supplied.consent_now,
    }


def _run(run: ValuedRun) -> dict[str, Any]:
    return {
        "run": run.run,
        "entry": run.entry,
        "began_at": run.began_at,
        "complete": run.complete,
        "reversed_by": run.reversed_by,
        "rows": run.rows,
        "rows_of_all": run.rows_of_all,
        "datasets": run.datasets,
        "value_nats": format_nats(run.value),
        "standard_error_nats": None if run.standard_error is None else format_nats(run.standard_error),
        "improvement_nats": format_nats(run.improvement),
        "share": _rounded(run.share),
        "tasks": [
            {
                "task": task.task,
                "weight": task.weight,
                "value_nats": format_nats(task.value),
                "improvement_nats": format_nats(task.improvement),
                "share": _rounded(task.share),
            }
            for task in run.tasks
        ],
        "settlements": [_settlement(made) for made in run.settlements],
        **({"valuations": _valuations(run)} if run.disagreeing else {}),
    }


def _valuations(run: ValuedRun) -> list[dict[str, Any]]:
    """All valuations of the run side by side, its own first."""
    return [
        {
            "name": one.name,
            "entry": one.entry,
            "value_nats": format_nats(one.value),
            "standard_error_nats": None if one.standard_error is None else format_nats(one.standard_error),
            "improvement_nats": format_nats(one.improvement),
            "share": _rounded(one.share),
            "paid_by": one.name in run.paid_by,
        }
        for one in run.valuations
    ]


def _settlement(made: SettledRun) -> dict[str, Any]:
    asset, payout = made.terms.asset, made.payout
    return {
        "entry": made.entry,
        "settled_at": made.settled_at,
        "reversed_by": made.reversed_by,
        "runs": made.runs,
        "terms": str(made.terms),
        "asset": asset.code,
        "value_nats": format_nats(payout.value),
        **{figure: asset.format(getattr(payout, figure)) for figure in _PAYOUT},
        "parts": [
            {
                "home": part.home,
                "amount": asset.format(part.amount),
                "release_at": part.release_at,
                "reason": part.reason,
            }
            for part in payout.parts
        ],
        "payees": {payee: asset.format(amount) for payee, amount in payout.payees.items()},
    }


def _dispute(claim: Claim) -> dict[str, Any]:
    return {
        "entry": claim.entry,
        "claimant": claim.claimant,
        "respondent": claim.respondent,
        "settlement": claim.settlement,
        "asset": claim.asset,
        "amount": format_units(claim.amount, claim.exponent),
        "evidence": claim.evidence,
        "resolved_by": claim.resolved_by,
        "outcome": claim.outcome,
        **({} if claim.calls_for is None else _called_for(claim)),
    }


def _called_for(claim: Claim) -> dict[str, Any]:
    payout = None if claim.payout is None else format_units(claim.payout, claim.exponent)
    return {"calls_for": claim.calls_for, "payout_by_it": payout}


def _balance(balance: Balance) -> dict[str, Any]:
    """Payable and receivable always; what other accounts hold where they hold something."""
    shown = {"payable": balance.payable, "receivable": balance.receivable}
    shown |= {kind: amount for kind, amount in sorted(balance.accounts.items()) if amount}
    return {
        "asset": balance.asset,
        **{kind: format_units(amount, balance.exponent) for kind, amount in shown.items()},
    }


def _movement(movement: Movement) -> dict[str, Any]:
    return {
        "entry": movement.entry,
        "kind": movement.kind,
        "event_at": movement.event_at,
        "recorded_at": movement.recorded_at,
        "account": movement.account,
        "asset": movement.asset,
        "amount": format_units(movement.amount, movement.exponent),
        "reason": movement.reason,
        "reference": movement.reference,
    }


def _rounded(share: Fraction | None) -> float | None:
    return None if share is None else round(float(share), 6)
