"""`darkroom audit`: what operators did."""

import click
import msgspec
from rich.table import Table

from services.cli.console import at_desk, out
from shared.operations.audit_log import OperatorAction
from shared.operations.context import Desk
from shared.settings import Settings


@click.group()
def audit() -> None:
    """Look at what operators did."""


@audit.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def list_actions(limit: int) -> None:
    """List actions, the latest first: who, what, why."""

    async def work(desk: Desk, _: Settings) -> list[OperatorAction]:
        return await desk.actions.latest(limit)

    table = Table("when", "who", "what", "why", "details")
    for action in at_desk(work):
        details = msgspec.json.encode(action.details).decode()
        table.add_row(action.at.isoformat(timespec="seconds"), action.who, action.what, action.why, details)
    out().print(table)
