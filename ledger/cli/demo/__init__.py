"""The demo: contributors' real text in, payouts and an audit out."""

from ledger.cli.demo.run import run_demo

__all__ = ["run_demo"]
