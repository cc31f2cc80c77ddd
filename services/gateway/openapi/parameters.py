"""Path parameters that several routes have, as the OpenAPI document describes them."""

from typing import Annotated

from litestar.openapi.spec import Example
from litestar.params import PathParameter

from services.gateway.openapi.examples import UPLOAD_ID

_ID = [Example(value=str(UPLOAD_ID))]
JobId = Annotated[
    str, PathParameter(name="jobId", description="The upload's id, which is the job's too.", examples=_ID)
]
UploadId = Annotated[str, PathParameter(name="uploadId", description="The upload's id.", examples=_ID)]
