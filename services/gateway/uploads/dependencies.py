"""What the handlers of uploads ask for by name."""

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from services.gateway.http.spools import Spools
from services.gateway.uploads.direct_uploads import DirectUploads

Direct = NamedDependency[SkipValidation[DirectUploads]]
SpoolsPart = NamedDependency[SkipValidation[Spools]]
