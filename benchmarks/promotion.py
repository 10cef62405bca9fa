"""What follows a registered champion, asked before and after a promotion and a rollback.

For `python -m benchmarks.retraining --loop`: a `pi10 serve --model models:/NAME@champion` and the
OSCAR service pi10-events, both real and left running all the time, answer for the same image.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.serve import PREDICT
from pi10_classifier.oscar.bucket import Bucket

WAIT_S = 600.0


def waited(what: str, ready: Callable[[], Any], seconds: float = WAIT_S) -> Any:
    """The first answer of ``ready`` that is not None; ends the program if there is none."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if (answer := ready()) is not None:
                return answer
        except OSError:
            pass  # not there yet
        time.sleep(0.2)
    sys.exit(f"{what}: not there after {seconds:g} s")


def pi10(home: Path, environ: dict[str, str], *words: str) -> str:
    """Standard output of ``pi10 words`` in the folder ``home``; its failure ends the program."""
    done = subprocess.run(
        [sys.executable, "-m", "pi10_classifier", *words], cwd=home, env=environ,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(f"$ pi10 {' '.join(words)}", flush=True)
    if done.returncode:
        sys.exit(f"exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


@dataclass
class Followers:
    """The running services, and the image that they are asked for.

    address: of `pi10 serve`. image: its file name and bytes. source, out: folders of pi10-events.
    """

    address: str
    image: tuple[str, bytes]
    source: Bucket
    out: Bucket
    _asked: int = 0

    def served(self) -> dict[str, Any]:
        """What `pi10 serve` answers: model (SHA-256), label, score."""
        return asyncio.run(self._served())

    async def _served(self) -> dict[str, Any]:
        form = aiohttp.FormData()
        form.add_field("data", self.image[1], filename=self.image[0])
        timeout = aiohttp.ClientTimeout(total=WAIT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(self.address + PREDICT, data=form) as answer,
        ):
            told = await answer.json()
        if answer.status != 200:
            sys.exit(f"pi10 serve answers {answer.status}: {told}")
        return _said(told["model"]["sha256"], told["predictions"][0])

    def invoked(self) -> dict[str, Any]:
        """What a job of pi10-events records of the image, uploaded under a new name."""
        self._asked += 1
        key = f"{self._asked}-{self.image[0]}"
        self.source.put(key, self.image[1])

        def record() -> dict[str, Any] | None:
            for entry in self.out.outputs(f"in/{key}"):
                told: dict[str, Any] = json.loads(self.out.get(entry.name))
                return told
            return None

        told = waited(f"the record of {key}", record)
        if "prediction" not in told:
            sys.exit(f"pi10-events: {told}")
        return _said(told["model"]["sha256"], told["prediction"])

    def show(self, when: str, graphs: set[str]) -> None:
        """Print what both answer, once `pi10 serve` has the package of these graphs (SHA-256).

        Ends the program where one of them answers with another model.
        """
        began = time.monotonic()
        served = waited(
            f"{min(graphs)[:12]} in service",
            lambda: told if (told := self.served())["model"] in graphs else None,
        )
        seconds = time.monotonic() - began
        invoked = self.invoked()
        for who, told in (("pi10 serve", served), ("pi10-events", invoked)):
            print(f"{when}: {who} answers {told['label']} {told['score']:.3f} with the model"
                  f" {told['model'][:12]}", flush=True)  # fmt: skip
        print(f"{when}: pi10 serve had it after {seconds:.1f} s", flush=True)
        if invoked["model"] not in graphs:
            sys.exit(f"pi10-events answers with {invoked['model']}, not {sorted(graphs)}")


def _said(model: str, prediction: dict[str, Any]) -> dict[str, Any]:
    return {"model": model, "label": prediction["label"], "score": float(prediction["score"])}


def promote_and_roll_back(
    home: Path,
    environ: dict[str, str],
    name: str,
    followers: Followers,
    hashes: tuple[set[str], set[str]],
) -> None:
    """What a person does: compare and promote the candidate, and take it back.

    home: with frozen-test.tar. hashes: SHA-256 of the graphs of the champion and of the candidate.
    """
    champion, candidate = hashes
    followers.show("before", champion)
    print(pi10(home, environ, "models", "promote", name, "--data", "frozen-test.tar", "--out",
               "compared", "--new-test", "--why", "its report of the round"))  # fmt: skip
    followers.show("after the promotion", candidate)
    print(pi10(home, environ, "models", "rollback", name, "--why", "only to show it"))
    followers.show("after the rollback", champion)
