"""HTTP headers that let the pages load content from this server only."""

from __future__ import annotations

# scripts, styles and requests from this server only; nothing inline, no foreign frames
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
FOREIGN = ("cross-site", "same-site")  # values of Sec-Fetch-Site for pages of other sites
