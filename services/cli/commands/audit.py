"""`darkroom audit`: what operators did."""

import click
import msgspec
from rich.table import Table

from services.cli.console import out, run_command
from shared.database.audit_log import AuditEntry
from shared.operations.context import OperatorContext
from shared.settings import Settings


@click.group()
def audit() -> None:
    """Look at what operators did."""


@audit.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def list_actions(limit: int) -> None:
    """List actions, the latest first: who, what, why."""

    async def work(context: OperatorContext, _: Settings) -> list[AuditEntry]:
        return await context.audit_log.latest(limit)

    table = Table("when", "who", "what", "why", "details")
    for action in run_command(work):
        details = msgspec.json.encode(action.details).decode()
        table.add_row(action.at.isoformat(timespec="seconds"), action.who, action.what, action.why, details)
    out().print(table)
