"""`darkroom projection`: the read model, rebuilt from the events."""

import asyncio

import click

from services.cli.console import at_desk, by_option, database_url
from shared.operations.context import Desk
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

    async def work(desk: Desk, settings: Settings) -> RebuildReport:
        noted = await desk.actions.record(who=by, what="projection.rebuild", why=reason, details={})
        report = await asyncio.to_thread(rebuild, database_url(settings))
        outcome = {"uploads": report.uploads, "events": report.events, "different": report.different}
        await desk.actions.complete(noted, outcome)
        return report

    report = at_desk(work)
    click.echo(f"{report.uploads} uploads from {report.events} events; {report.different} rows differed")
