"""README as a newcomer reads it: its commands, one after another, in a fresh clone.

    python -m benchmarks.readme [--home FOLDER] [--only SECTION,…] [--tests] [--whole] [--own-torch]

What differs from the page is printed at the start. Commands that never end run beside those
after them. ``--tests`` runs `make test` too; ``--whole`` trains without a limit of time.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# what stands for a reader's own data; all else is as printed
FILES = """
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pi10_classifier.simulate import simulate_cruise
from pi10_classifier.simulate.particles import KINDS
from pi10_classifier.simulate.scene import Studio

home = Path(sys.argv[1])
cruise = simulate_cruise(home / "cruise", bins=2, images=60)
for name in ("2024-06-24/1450.tar", "1450.tar", "incoming/1450.tar"):
    (home / name).parent.mkdir(exist_ok=True, parents=True)
    (home / name).write_bytes(cruise[0].read_bytes())
for folder, count in (("crops", 60), ("handful", 10)):
    for number, label in enumerate(("copepod", "detritus", "noncopepod")):
        studio, place = Studio(number, {label: 1.0}), home / folder / label
        place.mkdir(parents=True)
        for n in range(count):
            image = studio.image(n, np.random.default_rng((number, n))).rgb
            Image.fromarray(image).save(place / f"{n:03}.png")
"""
# "then put a file under s3://pi10/in/"
PUT = """python - <<'PY'
import os, time
from minio import Minio

s3 = Minio(os.environ["AWS_ENDPOINT_URL"].removeprefix("http://"),
           os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], secure=False)
s3.fput_object("pi10", "in/1450.tar", "1450.tar")
for _ in range(600):  # its record comes last
    names = [x.object_name for x in s3.list_objects("pi10", "out/", recursive=True)]
    if any(name.endswith("json") for name in names):
        break
    time.sleep(0.2)
PY"""
# what a person does on the page: here each particle is what the model says
LABELS = """(echo particle_id,label
 python -c 'import csv; [print(row["particle_id"], row["predicted"], sep=",")
 for row in csv.DictReader(open("results/validation/sample.csv"))]') > by-a-person.csv
pi10 validate import results by-a-person.csv
"""
WORDS = {
    "/data/": "",
    "https://shore.example/lines": "http://127.0.0.1:9/",  # nobody answers: lines are kept
}
ENDLESS = ("pi10 serve", "pi10 validate label", "pi10 watch", "pi10 oscar local up", "mlflow ui")
READY = {"pi10 serve": "http://127.0.0.1:5000/health/ready"}
LEFT_OUT = {
    r"s3://pi10/cruise": "no such bucket here",
    r"^docker ": "images are built elsewhere",
    r"^make test": "give --tests",
}
_BLOCK = re.compile(r"^## ([^\n]+)$|^```(sh|bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(section, command): a line each, a block of Python whole."""
    section = ""
    for heading, language, block in _BLOCK.findall(text):
        if heading:
            section = heading
        elif language == "python":
            yield section, f"python - <<'PY'\n{block}PY"
        else:
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip():
                    yield section, line.strip()


class Reader:
    """Runs what stands on the page in one clone; ends what it started."""

    def __init__(self, home: Path, *, whole: bool) -> None:
        self.clone, self.log, self.whole = home / "clone", home / "log", whole
        self.before = "set -e"  # what a shell of the reader has been told
        self.beside: list[subprocess.Popen[bytes]] = []
        self.failed: list[str] = []

    def run(self, command: str) -> None:
        for word, instead in WORDS.items():
            command = command.replace(word, instead)
        if command.startswith("pi10 train") and not self.whole:
            command = command.partition(" #")[0] + " --set minutes=0.2"
        if re.match(r"(\.|source) ", command):
            self.before += f"\n{command}"
            if "local/environment" in command:
                self.wait((self.clone / "pi10-local/environment").exists)
                command = PUT
        labels = LABELS if command.startswith("pi10 validate estimate") else ""
        began = time.monotonic()
        words = ["bash", "-c", f"{self.before}\n{labels}{command}"]
        with self.log.open("ab") as log:
            log.write(f"\n+ {command}\n".encode())
            log.flush()
            if command.startswith(ENDLESS):
                process = subprocess.Popen(words, cwd=self.clone, stdout=log, stderr=log,
                                           start_new_session=True)  # fmt: skip
                self.beside.append(process)
                code = self.settle(process, command)
            else:
                code = subprocess.run(words, cwd=self.clone, stdout=log, stderr=log).returncode
        state = "ok" if code == 0 else f"FAILED with {code}"
        print(
            f"{state:>8} {time.monotonic() - began:6.1f} s  {command.splitlines()[0]}", flush=True
        )
        if code:
            self.failed.append(command)

    def settle(self, process: subprocess.Popen[bytes], command: str) -> int:
        """0 where it runs on, and answers where it serves."""
        address = next((url for name, url in READY.items() if command.startswith(name)), "")
        if not address:
            time.sleep(5)
            return process.poll() or 0
        asked = ["curl", "--silent", "--fail", "--output", os.devnull, address]
        answers = self.wait(lambda: process.poll() is not None or not subprocess.call(asked))
        return 0 if answers and process.poll() is None else 1

    def wait(self, true: Callable[[], object], seconds: float = 120) -> bool:
        until = time.monotonic() + seconds
        while not true():
            if time.monotonic() > until:
                return False
            time.sleep(0.2)
        return True

    def close(self) -> None:
        for process in self.beside:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.beside:
            process.wait(60)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__)
    parser.add_argument("--home", type=Path, help="folder for the clone; else a temporary one")
    parser.add_argument("--only", default="", help="sections to read, with commas between")
    parser.add_argument("--tests", action="store_true", help="make test too")
    parser.add_argument("--whole", action="store_true", help="train as long as the recipe says")
    parser.add_argument("--own-torch", action="store_true", help="torch from pip's own index")
    given = parser.parse_args()
    if given.own_torch:
        WORDS[" --extra-index-url https://download.pytorch.org/whl/cpu"] = ""
    home = given.home or Path(tempfile.mkdtemp(prefix="pi10-readme-"))
    home.mkdir(parents=True, exist_ok=True)
    reader = Reader(home, whole=given.whole)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(reader.clone)], check=True)
    subprocess.run([sys.executable, "-c", FILES, str(reader.clone)], cwd=ROOT, check=True)
    print(f"in {reader.clone}; what is printed there goes to {reader.log}")
    print("drawn: cruise, incoming, 1450.tar, crops (60 a class), handful (10 a class)")
    print("changed:", *(f"{a} is {b or '(left out)'};" for a, b in WORDS.items()),
          "before validate estimate, the sample gets the model's labels;",
          "" if given.whole else "each training ends after 0.2 minutes")  # fmt: skip
    sections = {name.strip() for name in given.only.split(",") if name.strip()}
    try:
        for section, command in commands((reader.clone / "README.md").read_text("utf-8")):
            setup = section == "Install" and not command.startswith("make")
            if sections and section not in sections and not setup:
                continue
            why = next((y for x, y in LEFT_OUT.items() if re.search(x, command)), "")
            if why and not (given.tests and command.startswith("make test")):
                print(f"left out  {command.splitlines()[0]}: {why}")
            else:
                reader.run(command)
    finally:
        reader.close()
    print(f"{len(reader.failed)} commands failed" if reader.failed else "every command ran")
    if not given.home and not reader.failed:
        shutil.rmtree(home)
    return 1 if reader.failed else 0


if __name__ == "__main__":
    sys.exit(main())
