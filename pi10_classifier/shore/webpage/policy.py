"""HTTP headers that let the pages load content from this server only."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

# scripts from this server only, nothing inline. The chart library writes styles and draws to data:
# images; it gets no right to run text as a script
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@web.middleware
async def with_policy(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every answer has the policy's headers."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(_HEADERS)
        raise
    response.headers.update(_HEADERS)
    return response
