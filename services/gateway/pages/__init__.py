"""The two pages a person sees, `/` and `/processing/{jobId}`, and the files they are made of. No build step."""

from services.gateway.pages.missing import nothing_here
from services.gateway.pages.routes import page_routes

__all__ = ["nothing_here", "page_routes"]
