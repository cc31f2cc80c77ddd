"""`darkroom projection`: the read model, rebuilt from the events."""

import asyncio

import click

from services.cli.console import by_option, database_url, run_command
from shared.operations.context import OperatorContext
from shared.read_model.rebuild import RebuildReport, rebuild
from shared.settings import Settings


@click.group()
def projection() -> None:
    """Look after the read model."""


@projection.command("rebuild")
@click.option("--reason", default="not given", help="Why.")
@by_option
def rebuild_projection(reason: str, by: str) -> None:
    """Rebuild `uploads` from the events, beside live traffic, and say how the two differed."""

    async def work(context: OperatorContext, settings: Settings) -> RebuildReport:
        noted = await context.audit_log.record(who=by, what="projection.rebuild", why=reason, details={})
        report = await asyncio.to_thread(rebuild, database_url(settings))
        outcome = {"uploads": report.uploads, "events": report.events, "different": report.different}
        await context.audit_log.complete(noted, outcome)
        return report

    report = run_command(work)
    click.echo(f"{report.uploads} uploads from {report.events} events; {report.different} rows differed")
