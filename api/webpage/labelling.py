"""The labelling page's routes: its files, the sample, the pictures, labels and densities."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from string import ascii_lowercase, digits
from typing import Any, Protocol

from aiohttp import web

import pi10_classifier
from pi10_classifier.api.webpage.policy import FOREIGN, PAGE_HEADERS
from pi10_classifier.errors import Pi10Error, SettingError
from pi10_classifier.instrument.names import UM_PER_PX
from pi10_classifier.labelling.estimation.estimate import CorrectedRow
from pi10_classifier.labelling.labels import MEANINGS
from pi10_classifier.labelling.session import ChangedMeanwhileError, Choice, Session

FILES = {
    "": ("label.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "label.css": ("label.css", "text/css"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
    **{name: (name, "text/javascript") for name in ("naming.js", "label.js", "label-density.js")},
}
MOST_AT_ONCE = 1000  # labels in one request
LARGEST_REQUEST = 2**20  # bytes
MOST_TAXA = 20
_LETTERS = {"unknown": "u", "artefact": "a", "several": "s", "no_particle": "n"}
_TAKEN = "fgptxz"  # keys that the page itself uses
_NO_STORE = {"Cache-Control": "no-store"}


class Taxa(Protocol):
    """A list of taxa that can be searched."""

    def search(self, text: str, limit: int = MOST_TAXA) -> Sequence[Any]: ...


def keys_of(labels: Sequence[str]) -> dict[str, str]:
    """Label -> its key. If there are more labels than keys, the last ones get none."""
    keys = {label: _LETTERS[label] for label in labels if label in _LETTERS}
    used = {*keys.values(), *_TAKEN}
    free = iter([key for key in (*digits[1:], *ascii_lowercase) if key not in used])
    return {label: keys.get(label) or next(free, "") for label in labels}


Rows = Sequence[CorrectedRow]


class Sessions(Protocol):
    """Whom the page labels for: one run, or the runs of a service."""

    def session(self, request: web.Request) -> Session:
        """The session that a request is of. Raises HTTPException where there is none any more."""

    def about(self, request: web.Request) -> dict[str, Any]:
        """``run``, its name; ``served``, addresses from the page, None where it stands alone."""

    async def density(self, session: Session, labeller: str, stratum: str) -> Rows: ...

    async def history(self, session: Session, labeller: str, stratum: str) -> Sequence[Rows]: ...


class OneSession:
    """One run, computed for in this process."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._estimating = asyncio.Lock()  # one at a time: a label must not wait for several

    def session(self, request: web.Request) -> Session:
        return self._session

    def about(self, request: web.Request) -> dict[str, Any]:
        return {"run": str(self._session.run), "served": None}

    async def density(self, session: Session, labeller: str, stratum: str) -> Rows:
        async with self._estimating:
            return await asyncio.to_thread(session.density, labeller, stratum)

    async def history(self, session: Session, labeller: str, stratum: str) -> list[Rows]:
        past, steps = session.history(labeller, stratum), list[Rows]()
        while True:
            async with self._estimating:  # let go between two steps
                rows = await asyncio.to_thread(next, past, None)
            if rows is None:
                return steps
            steps.append(rows)


class LabelPage:
    """The routes of labelling. labeller: whose name the page proposes."""

    def __init__(self, sessions: Sessions, labeller: str = "", taxa: Taxa | None = None) -> None:
        self._sessions = sessions
        self._labeller = labeller
        self._taxa = taxa

    def add_to(self, app: web.Application, base: str) -> None:
        router = app.router
        for name in FILES:
            router.add_get(f"{base}/{name}", self._file)
        router.add_get(f"{base}/about", self._about)
        router.add_get(f"{base}/sample", self._sample)
        router.add_get(f"{base}/predicted", self._predicted)
        router.add_get(f"{base}/pictures/{{order:[0-9]{{1,9}}}}", self._picture)
        router.add_get(f"{base}/next", self._next)
        router.add_post(f"{base}/labels", self._label)
        router.add_get(f"{base}/density", self._density)
        router.add_get(f"{base}/history", self._history)
        router.add_get(f"{base}/agreement", self._agreement)
        router.add_get(f"{base}/taxa", self._search)

    async def _file(self, request: web.Request) -> web.Response:
        name, kind = FILES[request.path.rpartition("/")[2]]
        text = (resources.files("pi10_classifier.api.webpage") / "static" / name).read_text("utf-8")
        return web.Response(text=text, content_type=kind, headers=PAGE_HEADERS)

    async def _about(self, request: web.Request) -> web.Response:
        session = self._sessions.session(request)
        allowed = session.store.allowed
        keys = keys_of(allowed)
        return as_json({
            "version": pi10_classifier.__version__,
            **self._sessions.about(request),
            "labeller": self._labeller,
            "labellers": await asyncio.to_thread(session.labellers),
            "labels": [
                {"name": name, "key": keys[name],
                 "meaning": MEANINGS.get(name, "")}
                for name in allowed
            ],
            "strata": list(session.design.strata),
            "um_per_px": UM_PER_PX,
            "taxa": self._taxa is not None,
        })  # fmt: skip

    async def _sample(self, request: web.Request) -> web.Response:
        """The particles without the model's predictions, and the labels of one labeller."""
        labeller = _labeller_of(request)
        session = self._sessions.session(request)
        known = await asyncio.to_thread(session.labels_of, labeller)
        stratum = request.query.get("stratum", "")
        particles = [
            {
                "id": particle.particle_id, "stratum": particle.stratum, "bin": particle.bin,
                "time": particle.datetime, "problem": session.problems.get(particle.particle_id),
                **size,
            }
            for particle, size in zip(session.sample, session.sizes, strict=True)
        ]  # fmt: skip
        return as_json({
            "particles": particles,
            "labels": {name: [label.label, label.taxon] for name, label in known.items()},
            **await asyncio.to_thread(_state, session, labeller, -1, stratum),
        })  # fmt: skip

    async def _predicted(self, request: web.Request) -> web.Response:
        return as_json([particle.predicted for particle in self._sessions.session(request).sample])

    async def _picture(self, request: web.Request) -> web.Response:
        session, order = self._sessions.session(request), int(request.match_info["order"])
        data = None
        if order < len(session.sample):
            data = await asyncio.to_thread(session.pictures.read, session.sample[order])
        if data is None:
            return failure(404, "no_picture", "this particle has no picture")
        return web.Response(body=data, content_type="image/png", headers={
            "Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff",
        })  # fmt: skip

    async def _next(self, request: web.Request) -> web.Response:
        session, labeller = self._sessions.session(request), _labeller_of(request)
        after = _order(request.query.get("after", "-1"), len(session.sample), least=-1)
        stratum = request.query.get("stratum", "")
        return as_json(await asyncio.to_thread(_state, session, labeller, after, stratum))

    async def _label(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":  # a form on another site cannot send JSON
            return failure(
                415, "bad_setting", f"{request.content_type!r} is not accepted; send JSON"
            )
        session = self._sessions.session(request)
        try:
            given = await request.clone(client_max_size=LARGEST_REQUEST).json()
            labeller, stratum = given["labeller"], given.get("stratum", "")
            choices = _choices(session, given["choices"])
            expected = _choices(session, given["expected"]) if given.get("expected") else None
            if not isinstance(labeller, str) or not isinstance(stratum, str) or not choices:
                raise TypeError("labeller or choices")
        # a LookupError: a field that is not there, or a charset that Python does not know
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise SettingError(f"the request cannot be read ({error}); reload the page") from error
        try:
            former = await asyncio.to_thread(session.put, labeller, choices, expected)
        except ChangedMeanwhileError as error:
            return failure(409, "changed_meanwhile", error.message)
        # from here on the labels are on the disk
        after = int(given["choices"][-1]["order"])
        state = await asyncio.to_thread(_state, session, labeller, after, stratum)
        return as_json({
            "former": [[choice.label, choice.taxon] for choice in former], **state,
        })  # fmt: skip

    async def _density(self, request: web.Request) -> web.Response:
        stratum, labeller = request.query.get("stratum", ""), _labeller_of(request)
        session = self._sessions.session(request)
        rows = await self._sessions.density(session, labeller, stratum)
        return as_json([_density_row(row) for row in rows])

    async def _history(self, request: web.Request) -> web.Response:
        stratum, labeller = request.query.get("stratum", ""), _labeller_of(request)
        session = self._sessions.session(request)
        steps = await self._sessions.history(session, labeller, stratum)
        return as_json([[_density_row(row) for row in rows] for rows in steps])

    async def _agreement(self, request: web.Request) -> web.Response:
        labeller, session = _labeller_of(request), self._sessions.session(request)
        agreements = await asyncio.to_thread(session.agreements, labeller)
        differing = await asyncio.to_thread(session.disagreements, labeller)
        return as_json({
            "agreements": {name: asdict(agreement) for name, agreement in agreements.items()},
            "disagreements": {
                name: {other: [label.label, label.taxon] for other, label in others.items()}
                for name, others in differing.items()
            },
        })  # fmt: skip

    async def _search(self, request: web.Request) -> web.Response:
        return await taxa_named(self._taxa, request)


def guard(hosts: set[str]) -> Any:
    """Refuse requests that another web page sends; answer errors as JSON.

    hosts: the addresses (host:port) of this server. A foreign host name that resolves to this
    machine is not among them. Fill the set once the port is known.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if (
            request.host not in hosts
            or (origin is not None and origin.removeprefix("http://") not in hosts)
            or (request.method != "GET" and request.headers.get("Sec-Fetch-Site") in FOREIGN)
        ):
            return failure(
                403, "foreign_page", "only the labelling page itself may send this request"
            )
        try:
            response: web.StreamResponse = await handler(request)
        except SettingError as error:
            return failure(422, error.code.value, error.message)
        except Pi10Error as error:
            return failure(507, error.code.value, error.message)
        except web.HTTPException as error:
            return failure(error.status, "http", error.reason)
        except (ConnectionError, web.RequestPayloadError) as error:
            return failure(400, "broken_body", f"the body is not whole: {error}"[:200])
        return response

    return middleware


def _state(session: Session, labeller: str, after: int, stratum: str) -> dict[str, Any]:
    return {
        "next": session.next_unlabelled(labeller, after, stratum),
        "reached": asdict(session.reached(labeller)),
    }


def _choices(session: Session, given: Any) -> list[Choice]:
    if not isinstance(given, list) or len(given) > MOST_AT_ONCE:
        raise TypeError(f"no list of at most {MOST_AT_ONCE:,} labels")
    choices = []
    for choice in given:
        label, taxon = choice["label"], choice.get("taxon", "")
        if not isinstance(label, str) or not isinstance(taxon, str):
            raise TypeError("a label that is no text")
        order = _order(choice["order"], len(session.sample))
        choices.append(Choice(session.sample[order].particle_id, label, taxon))
    return choices


def _density_row(row: CorrectedRow) -> dict[str, Any]:
    names = (
        "label", "per_litre", "per_litre_low", "per_litre_high", "plain_per_litre", "labelled",
        "labelled_class", "publishable", "note",
    )  # fmt: skip
    return {name: getattr(row, name) for name in names}


def _labeller_of(request: web.Request) -> str:
    name = request.query.get("labeller", "")
    if not name.strip():
        raise SettingError("the labeller has no name; give one")
    return name


def _order(value: Any, size: int, least: int = 0) -> int:
    try:
        order = int(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise SettingError(f"{str(value)[:40]!r} is no place in the sample") from error
    if not least <= order < size:
        raise SettingError(f"there is no particle {order}; the sample has {size:,}")
    return order


async def taxa_named(taxa: Taxa | None, request: web.Request) -> web.Response:
    """The taxa that the query's text names, for the search of both pages."""
    if taxa is None:
        return as_json([])
    rows = await asyncio.to_thread(taxa.search, request.query.get("text", "")[:100], MOST_TAXA)
    return as_json([
        {"name": taxon.name, "aphia_id": taxon.aphia_id, "rank": taxon.rank} for taxon in rows
    ])  # fmt: skip


def as_json(body: Any) -> web.Response:
    return web.json_response(body, headers=_NO_STORE)


def failure(status: int, code: str, message: str) -> web.Response:
    body = {"error": {"code": code, "message": message}}
    return web.json_response(body, status=status, headers=_NO_STORE)
