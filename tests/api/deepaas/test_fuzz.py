"""Whatever is thrown at it, the server answers, and still predicts."""

from __future__ import annotations

import time

import broken_files
import numpy as np
import pytest
import requests
import schemathesis
import support
from deepaas_server import Server

IMAGE = support.particle(1)
BROKEN = 500


def sound(server: Server) -> None:
    told = server.predict(("a.tif", IMAGE)).json()
    assert told["totals"]["results"] == 1
    end = time.monotonic() + 240
    while server.leftovers() and time.monotonic() < end:  # of clients that left: at work yet
        time.sleep(0.2)
    assert server.leftovers() == []


@pytest.mark.slow
def test_broken_uploads(server: Server) -> None:
    """Each is answered with an account of it: one by one, and many in a request."""
    rng = np.random.default_rng(5)
    broken = list(broken_files.broken_files(rng).items())
    good = broken_files.good_tiff(rng)
    while len(broken) < BROKEN:
        broken.append((f"mutated-{len(broken)}", broken_files.mutate(good, rng)))
    codes = set()
    for name, data in broken:
        answer = server.predict((f"{name}.tif", data))
        totals = answer.json()["totals"]
        assert answer.status_code == (200 if totals["results"] else 422), name
        assert totals["inputs"] == totals["results"] + totals["failures"] + totals["skipped"], name
        codes.update(failure["code"] for failure in answer.json()["failures"])
    assert {
        "corrupt_image",
        "unsupported_format",
        "unsupported_mode",
        "decompression_bomb",
    } <= codes
    assert "internal" not in codes
    together = server.predict(*((f"{name}.tif", data) for name, data in broken[:200]))
    assert together.json()["totals"]["inputs"] >= 200
    sound(server)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"rubbish", "multipart/form-data; boundary=x"),
        (b"rubbish", "multipart/form-data"),
        (b"--x\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a\"\r\n\r\nabc",
         "multipart/form-data; boundary=x"),
        (b"data=%ff%00", "application/x-www-form-urlencoded"),
        (b"{", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"[1]", "application/json"),
        (b"\xff\xfe", "application/json; charset=nonsense"),
        (b"x", "application/x-www-form-urlencoded; charset=nonsense"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["predict", "train"])
def test_broken_bodies(body: bytes, kind: str, verb: str, server: Server) -> None:
    answer = requests.post(
        f"{server.url}/{verb}/", data=body, headers={"Content-Type": kind}, timeout=60
    )
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()


def test_a_client_that_leaves(server: Server) -> None:
    many = [("data", (f"{n}.tif", IMAGE)) for n in range(300)]
    for _ in range(3):
        with pytest.raises(requests.RequestException):
            requests.post(f"{server.url}/predict/", files=many, timeout=(5, 0.001))
    sound(server)


def fuzz(server_root: str, examples: int, seed: int) -> int:
    """Requests made of the server's own description; returns how many. None may be a 5xx."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import seed as seeded

    schema = schemathesis.openapi.from_url(f"{server_root}/swagger.json")
    made = 0
    for operation in schema.get_all_operations():
        case_of = operation.ok()

        @seeded(seed)
        @settings(max_examples=examples, deadline=None, database=None,
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(case=case_of.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            nonlocal made
            made += 1
            answer = case.call(base_url=server_root, timeout=120)
            # a made-up zip of a text keeps the one place for a moment; without torch there is none
            busy = case.path.endswith("/train/") and answer.status_code in (501, 503)
            assert answer.status_code < 500 or busy, (case.as_curl_command(), answer.text[:500])

        ask()
    return made


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fuzzed_from_its_own_description(server: Server) -> None:
    assert fuzz(server.root, 25, 3) > 60
    sound(server)
