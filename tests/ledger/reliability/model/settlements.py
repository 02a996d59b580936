"""Settlements, what takes them back, payouts, releases and disputes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.ledger.reliability.model import naive
from tests.ledger.reliability.model.holds import Hold
from tests.ledger.reliability.model.journal import CHART, LARGEST, Account, RefusedError, kind_of
from tests.ledger.reliability.model.registry import Registry, Run, Worth

TOLERANCE = 100  # the gap may be one of so many parts of the improvement
PURPOSES = {"holdback": "holdback", "vesting": "vesting", "stopped": "stop"}
REVERSIBLE = ("valuation", "conversion", "remittance", "stake False", "stake True", "hold", "release")
REMITTED = {"withheld": "bank", "fee": "bank", "surplus": "buyer"}
GIVEN = ("payable", "holdback", "vesting", "stopped", "accrued", "house")

Scope = tuple[tuple[str, ...], str | None]  # labels of runs, and the task where it is one


@dataclass
class Terms:
    """What is agreed; policies in their stated form."""

    mode: str
    amount: int
    asset: str
    negative: str
    fee_basis_points: int
    partial: bool
    policies: tuple[Mapping[str, Any], ...]

    def has(self, policy: str) -> bool:
        return any(one["policy"] == policy for one in self.policies)


@dataclass
class Settlement:
    """A settlement, and the entry that moved its money in or out."""

    scope: Scope
    terms: Terms
    entry: int
    moved: int | None


@dataclass
class Dispute:
    """A dispute, by whom against whom (None is the house), and how it ended."""

    claimant: str
    respondent: str | None
    settlement: int
    amount: int
    hold: int
    outcome: str | None = None


@dataclass
class Books(Registry):
    """The whole ledger."""

    settlements: list[Settlement] = field(default_factory=list)
    disputes: dict[int, Dispute] = field(default_factory=dict)

    # Settling

    def settle(self, runs: Sequence[str], task: str | None, terms: Terms) -> tuple[int, bool]:
        """Settle runs together; whether that had been done before."""
        runs = sorted(runs, key=lambda label: self.runs[label].identity)
        scope: Scope = (tuple(runs), task)
        attempts = [made for made in self.settlements if made.scope == scope]
        if attempts and self._stands(attempts[-1]):
            if attempts[-1].terms != terms:
                raise RefusedError("SettledAlreadyError")
            return attempts[-1].entry, True
        chosen = [self.runs[label] for label in runs]
        if task is not None and any(task not in run.tasks for run in chosen):
            raise RefusedError("TermsError")
        worths = [run.whole if task is None else run.tasks[task] for run in chosen]
        if reasons := self._refusals(scope, chosen, worths, terms):
            raise RefusedError(*reasons)
        self.use_asset(terms.asset)
        values: dict[str, int] = {}
        for worth in worths:
            for name, value in worth.values.items():
                values[name] = values.get(name, 0) + value
        worked = naive.work_out(
            values,
            sum(worth.house for worth in worths),
            sum(worth.gap for worth in worths),
            mode=terms.mode,
            amount=terms.amount,
            negative=terms.negative,
            fee_basis_points=terms.fee_basis_points,
            policies=terms.policies,
            standing=self._standing(chosen, terms),
        )
        credits = {account: amount for account, amount in worked.credits.items() if amount}
        if any(abs(amount) > LARGEST for amount in [*credits.values(), worked.funded]):
            raise RefusedError("AmountError")
        funding = self._fund(scope, len(attempts), worked.funded, terms) if worked.funded > 0 else None
        lines = {(account, terms.asset): -amount for account, amount in credits.items()}
        lines["escrow", terms.asset] = worked.funded
        entry = self.post("settlement", f"settlement {scope} {len(attempts)}", None, lines, pending=True)
        order = list(values)
        held = [home for home in worked.homes if home.kind in PURPOSES]
        self._hold(entry, sorted(held, key=lambda home: order.index(home.contributor)), terms.asset)
        refund = self._fund(scope, len(attempts), worked.funded, terms) if worked.funded < 0 else None
        self.settlements.append(Settlement(scope, terms, entry, funding or refund))
        return entry, False

    def _fund(self, scope: Scope, attempt: int, funded: int, terms: Terms) -> int:
        lines = {("buyer", terms.asset): funded, ("escrow", terms.asset): -funded}
        return self.post("funding", f"funding {scope} {attempt}", None, lines)

    def _hold(self, entry: int, homes: Sequence[naive.Home], asset: str) -> None:
        for home in homes:
            account, payable = f"{home.kind}:{home.contributor}", f"payable:{home.contributor}"
            hold = Hold(account, "surplus", payable, asset, home.amount, home.release_at, purpose=PURPOSES[home.kind])
            self.holds[len(self.holds) + 1] = hold
            self.entries[entry - 1].made.append(len(self.holds))

    def _stands(self, settlement: Settlement) -> bool:
        return self.entries[settlement.entry - 1].reversed_by is None

    def _refusals(self, scope: Scope, runs: Sequence[Run], worths: Sequence[Worth], terms: Terms) -> list[str]:
        reasons = []
        for made in self.settlements:
            shares = set(made.scope[0]) & set(scope[0])
            alike = scope[1] is None or made.scope[1] in (None, scope[1])
            if self._stands(made) and made.scope != scope and shares and alike:
                reasons.append("SettledElsewhereError")
        for run, worth in zip(runs, worths, strict=True):
            if self.entries[run.entry - 1].reversed_by is not None:
                reasons.append("RunReversedError")
            if not run.complete and not terms.partial:
                reasons.append("PartialRunError")
            if abs(worth.gap) * TOLERANCE > abs(worth.improvement):
                reasons.append("GapToleranceError")
            if self.without_consent(run, run.began_at):
                reasons.append("NoConsentError")
        positive: dict[str, int] = {}
        for worth in worths:
            for name, value in worth.values.items():
                positive[name] = positive.get(name, 0) + value
        improvement = sum(worth.improvement for worth in worths)
        if terms.mode == "pool" and (improvement <= 0 or not any(value > 0 for value in positive.values())):
            reasons.append("NoImprovementError")
        return reasons

    def _standing(self, runs: Sequence[Run], terms: Terms) -> naive.Standing:
        names = {name for run in runs for name in run.whole.values}
        held = {
            kind: {name: self.held.get((f"{kind}:{name}", terms.asset), 0) for name in names}
            for kind in ("receivable", "stake", "accrued")
        }
        return naive.Standing(
            owed=held["receivable"],
            staked=held["stake"],
            accrued=held["accrued"],
            stopped=self._stopped(runs),
            estates=self.estates,
        )

    def _stopped(self, runs: Sequence[Run]) -> set[str]:
        stopped = {name for run in runs for name in self.without_consent(run, self.recorded_now)}
        for dispute in self.disputes.values():
            if dispute.outcome is None:
                stopped |= {dispute.claimant, dispute.respondent or ""}
        return stopped

    # Correcting

    def correct(self, sequence: int, reason: str) -> int:
        """Reverse one entry of a kind that anybody may reverse by itself."""
        if not 1 <= sequence <= len(self.entries):
            raise RefusedError("UnknownEntryError")
        entry = self.entries[sequence - 1]
        used = {label for made in self.settlements if self._stands(made) for label in made.scope[0]}
        if (
            entry.kind not in REVERSIBLE
            or any(self.runs[label].entry == sequence for label in used)
            or any(self.holds[number].purpose == "dispute" for number in entry.made)
        ):
            raise RefusedError("ReversalError")
        return self.reverse(sequence, reason)

    def remit(self, key: str, name: str, asset: str, amount: int) -> int:
        """Money leaves the books."""
        if name not in REMITTED:
            raise RefusedError("AccountError")
        if not amount:
            raise RefusedError("AmountError")
        self.use_asset(asset)
        return self.post("remittance", key, name, {(name, asset): amount, (REMITTED[name], asset): -amount})

    # Taking a settlement back

    def take_back(self, runs: Sequence[str], task: str | None, reason: str) -> int:
        """Reverse a settlement; what has moved on meanwhile is owed. Returns the last entry."""
        scope = (tuple(sorted(runs, key=lambda label: self.runs[label].identity)), task)
        made = [one for one in self.settlements if one.scope == scope]
        if not made or not self._stands(made[-1]):
            raise RefusedError("NotSettledError")
        settlement = made[-1]
        if any(dispute.settlement == settlement.entry and not dispute.outcome for dispute in self.disputes.values()):
            raise RefusedError("ReversalError")
        if settlement.moved is not None and settlement.moved > settlement.entry:
            self.reverse(settlement.moved, reason)
        instead = self._make_good(settlement)
        self.reverse(settlement.entry, reason, besides=instead)
        if settlement.moved is not None and settlement.moved < settlement.entry:
            self.reverse(settlement.moved, reason)
        return len(self.entries)

    def _make_good(self, settlement: Settlement) -> list[int]:
        """Put back what the reversal is going to take, at its owner's expense; returns the holds that stand for it."""
        asset, entry = settlement.terms.asset, self.entries[settlement.entry - 1]
        takes = {
            name: amount
            for (name, _), amount in ((key, self._change(key, amount)) for key, amount in entry.lines.items())
            if amount > 0 and CHART[kind_of(name)][2] is not None
        }
        lines: dict[str, int] = {}  # on the normal side
        there = {name: self.held.get((name, asset), 0) for name in takes}
        there |= dict.fromkeys([name for name in takes if kind_of(name) in PURPOSES], 0)

        def put(name: str, amount: int) -> None:
            lines[name] = lines.get(name, 0) + amount

        surplus_wanted = takes.get("surplus", 0)
        for number in entry.made:
            hold, back = self.holds[number], self.given_back.get(number, 0)
            there[hold.account] += hold.left + back
            put(hold.account, back)
            put("surplus", -back)
            surplus_wanted += back
        short = {name: max(takes[name] - there[name], 0) for name in takes}
        for name in {name.partition(":")[2] for name in takes} - {""}:
            payable = f"payable:{name}"
            debt = short.get(f"receivable:{name}", 0)  # netted meanwhile: it comes back as payable
            put(f"receivable:{name}", debt)
            put(payable, debt)
            spare = self.held.get((payable, asset), 0) + debt - takes.get(payable, 0)
            others = [f"{kind}:{name}" for kind in ("accrued", *PURPOSES)]
            missing = sum(short.get(other, 0) for other in others)
            for other in others:
                put(other, short.get(other, 0))
            used = min(max(spare, 0), missing)
            put(payable, -used)
            put(f"receivable:{name}", missing - used)
            put(payable, max(-spare, 0))
            put(f"receivable:{name}", max(-spare, 0))
        gone = max(surplus_wanted - self.held.get(("surplus", asset), 0), 0)
        put("surplus", gone)
        put("buyer", gone)
        put("withheld", short.get("withheld", 0))
        put("bank", short.get("withheld", 0))
        moved: dict[Account, int] = {}
        for name, amount in lines.items():
            moved[name, asset] = amount * self._change((name, asset), 1)
        if not any(moved.values()):
            return []
        made = self.post("shortfall", f"shortfall {settlement.entry}", None, moved, pending=True)
        homes = [
            naive.Home(name.partition(":")[2], kind_of(name), amount)
            for name, amount in lines.items()
            if kind_of(name) in PURPOSES and amount
        ]
        self._hold(made, homes, asset)
        return self.entries[made - 1].made

    # Paying and releasing

    def pay(self, key: str, name: str, asset: str, amount: int | None) -> int:
        """Send what is payable."""
        whole = self.held.get((f"payable:{name}", asset), 0) if amount is None else amount
        if amount is None and key in self.keys:
            kind, content, *_ = self.entries[self.keys[key] - 1].content
            if kind != "hold" or content[:4] != (f"in_flight:{name}", f"payable:{name}", f"paid:{name}", asset):
                raise RefusedError("IdempotencyConflictError", "HoldError")
            return self.keys[key]
        if not whole:
            raise RefusedError("HoldError")
        return self.open_hold(key, Hold(f"in_flight:{name}", f"payable:{name}", f"paid:{name}", asset, whole))

    def end_payout(self, key: str, number: int, outcome: str, amount: int | None) -> int:
        """A payout arrived or failed."""
        if number not in self.holds or self.holds[number].purpose != "payout":
            raise RefusedError("HoldError")
        return self.change_holds(key, [(number, outcome, amount)], kind=f"payout {outcome}")

    def release(self) -> int | None:
        """Make payable whatever is due, to whoever is paid by now."""
        due, to = [], {}
        for number, hold in self.holds.items():
            if not hold.left or hold.purpose not in PURPOSES.values():
                continue
            if hold.release_at is not None and hold.release_at > self.recorded_now:
                continue
            owner = hold.destination.partition(":")[2]
            if owner in self._waiting(number):
                continue
            payees = self.estates.get(owner) or {owner: 1}
            shared = naive.proportional(hold.left, payees)
            sent = {f"payable:{payee}": part for payee, part in shared.items() if part}
            if any((name, hold.commodity) in self.shut for name in (hold.account, *sent)):
                continue
            to[number] = sent
            due.append((number, "posted", hold.left))
        return self.change_holds(f"release {len(self.entries)}", due, kind="release", to=to) if due else None

    def _waiting(self, number: int) -> set[str]:
        for settlement in self.settlements:
            if number in self.entries[settlement.entry - 1].made and settlement.terms.has("stop payment"):
                return self._stopped([self.runs[label] for label in settlement.scope[0]])
        return set()

    # Disputes

    def open_dispute(self, claimant: str, respondent: str | None, settlement: int, asset: str, amount: int) -> int:
        """Claim what a settlement gave to another. Returns the dispute's entry."""
        key = f"dispute {claimant} {respondent} {settlement} {asset} {amount}"
        if key in self.keys:
            return self.keys[key]
        made = [one for one in self.settlements if one.entry == settlement]
        if claimant == respondent or not made or not self._stands(made[0]) or made[0].terms.asset != asset:
            raise RefusedError("DisputeError")
        given = -sum(
            moved
            for (name, _), moved in self.entries[settlement - 1].lines.items()
            if kind_of(name) in GIVEN and name.partition(":")[2] == (respondent or "")
        )
        same = [one for one in self.disputes.values() if (one.settlement, one.respondent) == (settlement, respondent)]
        claimed = sum(one.amount for one in same if one.outcome != "respondent")
        there = self.held.get((f"payable:{respondent}", asset), 0) if respondent else given
        if not amount:
            raise RefusedError("DisputeError")
        if amount > min(given - claimed, there):
            raise RefusedError("DisputedAmountError")
        entry = self.post("dispute", key, None, {})
        account, origin = (
            (f"disputed:{respondent}", f"payable:{respondent}") if respondent else ("house_disputed", "house")
        )
        hold = Hold(account, origin, f"payable:{claimant}", asset, amount, purpose="dispute")
        self.open_hold(f"{key}: hold", hold)
        self.disputes[entry] = Dispute(claimant, respondent, settlement, amount, len(self.holds))
        return entry

    def resolve(self, entry: int, outcome: str) -> int:
        """Decide a dispute. Returns the resolution's entry."""
        if entry not in self.disputes:
            raise RefusedError("UnknownDisputeError")
        dispute = self.disputes[entry]
        if dispute.outcome is not None:
            if dispute.outcome != outcome:
                raise RefusedError("DisputeError")
            return self.keys[f"resolution {entry}"]
        dispute.outcome = outcome
        made = self.post("resolution", f"resolution {entry}", None, {})
        hold = self.holds[dispute.hold]
        if outcome == "claimant":
            payees = self.estates.get(dispute.claimant) or {dispute.claimant: 1}
            shared = naive.proportional(dispute.amount, payees)
            to = {dispute.hold: {f"payable:{payee}": part for payee, part in shared.items() if part}}
            self.change_holds(f"end {entry}", [(dispute.hold, "posted", hold.left)], kind="end", to=to)
        else:
            self.change_holds(f"end {entry}", [(dispute.hold, "voided", hold.left)], kind="end")
        return made
