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
    """Erase an upload: its pictures, and the e-mail wherever it is kept. Its run's events stay, naming nobody.

    An upload that is announced and not registered yet is erased likewise, and cannot be registered any more.
    """
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
        left = f"the upload is forgotten; its pictures go once the object store answers a gateway again: {error}"
        raise click.ClickException(left) from error
    click.echo(f"upload {upload_id} is erased: {erased.pictures} pictures deleted")
    if erased.looked_at_again:
        click.echo("what its client or a stage may still write within minutes, a gateway removes")
