"""What pages may load: from here alone."""

from __future__ import annotations

# scripts, styles and requests from here alone; nothing inline, no frames of others
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
FOREIGN = ("cross-site", "same-site")  # Sec-Fetch-Site of another site's page
