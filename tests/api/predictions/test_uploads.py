"""Uploads as items: archives streamed, single files judged by their content."""

from __future__ import annotations

import asyncio
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import support
import tars
from aiohttp import BodyPartReader, web
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDict, CIMultiDictProxy

from pi10_classifier.api.deepaas.request_parsing import Received, filename_of
from pi10_classifier.api.predictions.uploads import (
    MAX_NAME,
    Spooled,
    UploadedFiles,
    clean_name,
    given_name,
)
from pi10_classifier.api.webpage.runs import part_name
from pi10_classifier.errors import Code
from pi10_classifier.instrument.names import Particle
from pi10_classifier.sources.base import Item, Limits

Spool = Callable[..., Spooled]


def items(spooled: Spooled, **limits: int) -> list[Item]:
    return list(UploadedFiles(spooled.files, Limits(**limits)).items())


def test_an_image_is_its_own_member(spooled: Spool) -> None:
    image = support.particle(1)
    assert items(spooled(a__tif=image)) == [Item("a.tif", "a.tif", image)]


def test_an_archive_is_known_by_its_content(spooled: Spool) -> None:
    tar = tars.tar_of(("x/a.tif", b"a"), ("x/b.tif", b"b"))
    found = items(spooled(nameless=tar))
    assert [(i.source, i.member, i.data) for i in found] == [
        ("nameless", "x/a.tif", b"a"), ("nameless", "x/b.tif", b"b"),
    ]  # fmt: skip


def test_several_files_share_a_source(spooled: Spool) -> None:
    """So that a bin's HitsMisses.txt belongs to the images sent with it."""
    found = items(spooled(a__tif=support.particle(1), HitsMisses__txt=b"1,2\n"))
    assert [(i.source, i.member) for i in found] == [
        ("upload", "a.tif"), ("upload", "HitsMisses.txt"),
    ]  # fmt: skip
    assert found[1].data == b"1,2\n"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", Code.EMPTY_OBJECT),
        (b"hello", Code.UNSUPPORTED_FORMAT),
        (b"PK\x03\x04 cut", Code.ARCHIVE_CORRUPT),
        (b"\x1f\x8b cut", Code.ARCHIVE_CORRUPT),
        (b"II*\0" + bytes(5000), Code.TOO_LARGE),
    ],
    ids=["empty", "text", "cut-zip", "cut-gzip", "too-large"],
)
def test_what_cannot_be_used_is_an_item_with_a_code(
    data: bytes, code: Code, spooled: Spool
) -> None:
    (found,) = items(spooled(a__tif=data), member_bytes=4000)
    assert found.data is None
    assert found.error
    assert found.error.code is code


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/etc/passwd", "passwd"),
        ("../../x.tif", "x.tif"),
        ("RawImages\\pia7.2024-06-24.1450+N00000001.tif",
         "RawImages\\pia7.2024-06-24.1450+N00000001.tif"),
        ("a\nb\x00\u202e.tif", "a_b__.tif"),
        ("", "upload"),
        ("x/", "x"),
        ("1450/HitsMisses.txt", "1450/HitsMisses.txt"),
        ("./a//../b.tif", "a/b.tif"),
        ("../", "upload"),
        ("\udce9.tif", "_.tif"),
    ],
)  # fmt: skip
def test_names_may_be_recorded(given: str, kept: str) -> None:
    assert clean_name(given) == kept


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (r'form-data; name="data"; filename="RawImages\pia7.tif"', r"RawImages\pia7.tif"),
        (r'form-data; name="data"; filename="RawImages\\pia7.tif"', r"RawImages\pia7.tif"),
        (r'form-data; name="a;b"; filename="say \"hi\".tif"', 'say "hi".tif'),
        ('form-data; name="data"; filename="a b;c.tif"', "a b;c.tif"),
        ("form-data; name=data; filename=a.tif", "parsed"),
        ("form-data; name=data; filename=\"x\"; filename*=UTF-8''a.tif", "parsed"),
        ("", "parsed"),
    ],
)
def test_a_backslash_in_a_name_is_no_escape(header: str, name: str) -> None:
    assert given_name(header, "parsed") == name


def test_both_ways_of_sending_keep_the_backslash() -> None:
    """aiohttp itself eats it, of the API's forms and of the page's."""
    name = "RawImages\\pia7.2024-06-24.1450+N00000000.tif"
    body = (
        f'--x\r\nContent-Disposition: form-data; name="data"; filename="{name}"\r\n'
        "Content-Type: image/tiff\r\n\r\nabc\r\n--x--\r\n"
    ).encode()

    async def of_form(request: web.Request) -> web.Response:
        part = (await request.post())["data"]
        assert isinstance(part, web.FileField)
        return web.Response(text=filename_of(part))

    async def of_page(request: web.Request) -> web.Response:
        part = await (await request.multipart()).next()
        assert isinstance(part, BodyPartReader)
        return web.Response(text=part_name(part))

    async def ask() -> list[str]:
        app = web.Application()
        app.router.add_post("/form", of_form)
        app.router.add_post("/page", of_page)
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        async with TestClient(TestServer(app)) as client:
            answers = [await client.post(to, data=body, headers=kind) for to in ("/form", "/page")]
            return [await answer.text() for answer in answers]

    assert asyncio.run(ask()) == [name, name]
    particle = Particle.parse(name)
    assert particle
    assert particle.bin.instrument == "pia7"


def test_litter_among_several_files_is_skipped(spooled: Spool) -> None:
    image = support.particle(1)
    found = items(spooled(a__tif=image, **{"._a__tif": image, "b__tif__part": image}))
    assert [item.data is None for item in found] == [False, True, True]
    [alone] = items(spooled(**{"__a__tif": image}))
    assert alone.data == image


def test_long_names_are_cut() -> None:
    assert len(clean_name("x" * 10_000)) == MAX_NAME


def test_received_files_go_with_their_request() -> None:
    """Pickled they are paths; forgotten, nothing is left of them."""
    headers = CIMultiDictProxy(CIMultiDict[str]())
    part = web.FileField("data", "a.tif", io.BufferedReader(io.BytesIO(b"abc")), "", headers)
    received = Received(["a.tif"])
    received.copy_from([part])
    assert received.size == 3
    spooled = pickle.loads(pickle.dumps(received))
    assert isinstance(spooled, Spooled)
    assert spooled.files[0].path.read_bytes() == b"abc"
    folder: Path = received.folder
    del received
    assert not folder.exists()
