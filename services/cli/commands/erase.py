"""`darkroom erase`: a person asked to be forgotten."""

from uuid import UUID

import click

from services.cli.console import by_option, confirm_or_exit, reason_option, reason_or_ask, run_command
from services.cli.processes.serve import public_url
from shared.operations.context import OperatorContext
from shared.operations.erase import Erased, erase_upload
from shared.settings import Settings
from shared.storage.open import open_configured_store
from shared.storage.port import ObjectStoreError
from shared.upload.errors import RunUnderWayError, UploadNotFoundError


@click.command()
@click.argument("upload_id", type=click.UUID, metavar="UPLOAD")
@click.option("--yes", is_flag=True, help="Do not ask.")
@reason_option
@by_option
def erase(upload_id: UUID, yes: bool, reason: str | None, by: str) -> None:  # noqa: FBT001 — click's way
    """Erase an upload: its pictures, and the e-mail wherever it is kept. Its run's events stay, naming nobody."""
    why = reason_or_ask(reason)
    confirm_or_exit(f"Erase upload {upload_id} for good?", yes=yes)

    async def work(context: OperatorContext, settings: Settings) -> Erased:
        objects = open_configured_store(settings.objects, public_base_url=public_url(settings))
        try:
            return await erase_upload(context, objects, upload_id, by=by, reason=why)
        finally:
            await objects.close()

    try:
        erased = run_command(work)
    except (UploadNotFoundError, RunUnderWayError) as refused:
        raise click.ClickException(str(refused)) from refused
    except ObjectStoreError as error:
        raise click.ClickException(f"the upload is forgotten, but its pictures are still there: {error}") from error
    click.echo(f"upload {upload_id} is erased: {erased.pictures} pictures deleted")
    if erased.again_at is not None:
        click.echo(f"its run has just ended; erase it again after {erased.again_at:%H:%M} UTC for what comes late")
