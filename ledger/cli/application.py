"""The commands, in the order in which a newcomer needs them."""

from __future__ import annotations

import typer

from ledger.cli import (
    audit,
    balance,
    checkpoint,
    curate,
    demonstration,
    duplicates,
    erase,
    explain,
    export,
    import_run,
    init,
    key,
    moves,
    poison,
    predict,
    release,
    reverse,
    royalty,
    select,
    settle,
    statement,
    timeline,
    trace,
    train,
    unlearn,
    verify,
)
from ledger.cli.account import account
from ledger.cli.chain import chain
from ledger.cli.contributor import contributor
from ledger.cli.dataset import dataset
from ledger.cli.dispute import dispute
from ledger.cli.entry import entry
from ledger.cli.estate import estate
from ledger.cli.group import group
from ledger.cli.objective import objective
from ledger.cli.pay import pay
from ledger.cli.period import period
from ledger.cli.stake import stake
from ledger.cli.valuation import valuation

application = typer.Typer(
    help="Pay data contributors for what their data did to a model, and let anyone check it.",
    epilog="Every command explains itself: ghostledger COMMAND --help. The whole story at once: ghostledger demo",
    add_completion=False,
    rich_markup_mode="markdown",
)

application.command("init", epilog=init.EXAMPLE)(init.init)
contributor.command("erase", epilog=erase.EXAMPLE)(erase.erase)
application.add_typer(contributor, name="contributor")
dataset.command("duplicates", epilog=duplicates.EXAMPLE)(duplicates.duplicates)
application.add_typer(dataset, name="dataset")
application.add_typer(estate, name="estate")
application.add_typer(group, name="group")
application.add_typer(objective, name="objective")
application.command("train", epilog=train.EXAMPLE)(train.train)
application.command("import-run", epilog=import_run.EXAMPLE)(import_run.import_run)
application.command("curate", epilog=curate.EXAMPLE)(curate.curate)
application.command("select", epilog=select.EXAMPLE)(select.select)
application.command("timeline", epilog=timeline.EXAMPLE)(timeline.timeline)
application.command("trace", epilog=trace.EXAMPLE)(trace.trace)
application.command("explain", epilog=explain.EXAMPLE)(explain.explain)
application.command("predict", epilog=predict.EXAMPLE)(predict.predict)
application.command("poison", epilog=poison.EXAMPLE)(poison.poison)
application.command("royalty", epilog=royalty.EXAMPLE)(royalty.royalty)
application.command("unlearn", epilog=unlearn.EXAMPLE)(unlearn.unlearn)
application.add_typer(valuation, name="valuation")
application.add_typer(stake, name="stake")
application.command("settle", epilog=settle.EXAMPLE)(settle.settle)
application.command("reverse", epilog=reverse.EXAMPLE)(reverse.reverse)
application.command("release", epilog=release.EXAMPLE)(release.release)
application.add_typer(pay, name="pay")
application.add_typer(dispute, name="dispute")
application.command("convert", epilog=moves.CONVERT_EXAMPLE)(moves.convert)
application.command("remit", epilog=moves.REMIT_EXAMPLE)(moves.remit)
application.add_typer(account, name="account")
application.command("balance", epilog=balance.BALANCE_EXAMPLE)(balance.balance)
application.command("trial-balance", epilog=balance.TRIAL_EXAMPLE)(balance.trial_balance)
application.add_typer(period, name="period")
application.add_typer(entry, name="entry")
application.command("audit", epilog=audit.EXAMPLE)(audit.audit)
application.command("statement", epilog=statement.EXAMPLE)(statement.statement)
application.command("key", epilog=key.EXAMPLE)(key.key)
application.command("checkpoint", epilog=checkpoint.EXAMPLE)(checkpoint.checkpoint)
application.command("verify", epilog=verify.EXAMPLE)(verify.verify)
application.command("export", epilog=export.EXAMPLE)(export.export)
application.add_typer(chain, name="chain")
application.command("demo", epilog=demonstration.EXAMPLE)(demonstration.demo)
