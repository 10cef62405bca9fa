"""The images' files: linted, pinned, one with setup.cfg; and built where there is an engine."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text("utf-8")
LOCKS = (
    "requirements-build.txt", "requirements-serve.txt", "requirements-train.txt",
    "requirements-gpu.txt",
)  # fmt: skip
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")


def program(name: str) -> str:
    """A program of this environment, or of the machine; the test is skipped without."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    """Name -> version; of a package pinned by version of Python, the first."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _PIN.match(line)
        if match:
            found.setdefault(plain(match[1]), match[2])
    return found


def stage(name: str) -> str:
    """The lines of a stage of the Dockerfile, after those of the stage that it begins with."""
    before, after = DOCKERFILE.split(f" AS {name}\n")
    lines = re.split(r"^FROM ", after, flags=re.MULTILINE)[0]
    parent = before.rpartition("FROM ")[2]
    return (stage(parent) if f" AS {parent}\n" in DOCKERFILE else "") + lines


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([program("hadolint"), str(DOCKER / "Dockerfile")],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text(DOCKERFILE + "RUN cd /tmp && apt-get install curl\n", "utf-8")
    assert subprocess.run([program("hadolint"), str(bad)], capture_output=True).returncode != 0


@pytest.mark.parametrize("name", ["lock.sh", "slim.sh", "check.sh"])
def test_scripts_are_sound_shell_and_executable(name: str) -> None:
    path = DOCKER / name
    done = subprocess.run([program("sh"), "-n", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize("target", ["serve", "train", "gpu"])
def test_what_the_marketplace_asks_of_an_image(target: str) -> None:
    lines = stage(target)
    assert "EXPOSE 5000 6006 8888" in lines
    assert 'CMD ["deepaas-run", "--listen-ip", "0.0.0.0", "--listen-port", "5000"]' in lines
    assert "BASE_PATH" not in lines
    assert re.search(r"^ARG branch=main$", lines, re.MULTILINE)
    assert "HEALTHCHECK" in lines
    told = set(re.findall(r"image\.(\w+(?:\.\w+)?)=", lines))
    assert told == {"title", "description", "version", "licenses", "source", "ref.name", "revision"}
    users = re.findall(r"^USER (.*)$", lines, re.MULTILINE)
    assert users == ["1000:1000"]


def test_a_build_without_a_target_can_train() -> None:
    """The marketplace builds without one, and its users call trainings."""
    assert DOCKERFILE.rstrip().splitlines()[-1] == "FROM train"


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_pinned_and_hashed(name: str) -> None:
    text = (DOCKER / name).read_text("utf-8")
    for block in re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^ *#.*\n?", "", text, flags=re.M).strip()):
        assert _PIN.match(block), block
        assert "--hash=sha256:" in block, block


@pytest.mark.parametrize("name", LOCKS)
def test_locks_follow_the_constraints(name: str) -> None:
    asked = pins((ROOT / "constraints.txt").read_text("utf-8"))
    locked = pins((DOCKER / name).read_text("utf-8"))
    both = asked.keys() & locked.keys()
    assert {key: locked[key] for key in both} == {key: asked[key] for key in both}


@pytest.mark.parametrize(
    ("name", "extras"),
    [("requirements-serve.txt", ["", "serve", "report"]),
     ("requirements-train.txt", ["", "serve", "report", "train"])],
)  # fmt: skip
def test_locks_hold_all_that_setup_cfg_asks_for(name: str, extras: list[str]) -> None:
    import configparser

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    asked = set()
    for extra in extras:
        lines = (setup["options.extras_require"][extra] if extra
                 else setup["options"]["install_requires"])  # fmt: skip
        for line in lines.splitlines():
            match = re.match(r"[A-Za-z0-9._-]+", line)
            if match:
                asked.add(plain(match[0]))
    # torch comes before the lock, from the index of its build
    asked -= {"torch", "pi10-classifier"}
    assert asked <= pins((DOCKER / name).read_text("utf-8")).keys()


def test_the_service_is_locked_without_what_trains() -> None:
    locked = pins((DOCKER / "requirements-serve.txt").read_text("utf-8")).keys()
    assert not locked & {"torch", "mlflow", "transformers", "opencv-python", "triton"}
    trained = pins((DOCKER / "requirements-train.txt").read_text("utf-8")).keys()
    assert {"mlflow", "transformers"} <= trained
    assert not [name for name in trained if name.startswith(("nvidia", "cuda", "triton"))]


def test_nothing_goes_to_the_engine_but_what_is_named() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
             if line and not line.startswith("#")]  # fmt: skip
    assert rules[0] == "*"

    def sent(path: str) -> bool:
        taken = False
        for rule in rules:
            pattern = rule.removeprefix("!").removeprefix("**/")
            parts = [path, *(str(parent) for parent in Path(path).parents), Path(path).name]
            if any(fnmatch.fnmatch(part, pattern) for part in parts):
                taken = rule.startswith("!")
        return taken

    assert sent("pi10_classifier/model/embedded/starter/model.onnx")
    assert sent("docker/requirements-serve.txt") and sent("setup.cfg")
    for private in (".env", "docker/.env", ".git/config", "mlflow.db", "data/crops.tar",
                    "tests/conftest.py", "api/__pycache__/settings.pyc"):  # fmt: skip
        assert not sent(private), private


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == self.server.answered else 404)
        self.end_headers()

    def log_message(self, *told: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("base", "path", "healthy"),
    [("", "/v2/models/", True), ("/a/b/", "/a/b/v2/models/", True), ("", "/other", False)],
)
def test_health_follows_the_service(
    server: ThreadingHTTPServer, base: str, path: str, healthy: bool
) -> None:
    server.answered = path
    done = subprocess.run(
        [sys.executable, str(DOCKER / "health.py")], capture_output=True,
        env={**os.environ, "PI10_PORT": str(server.server_port), "OS_DEFAULT__BASE_PATH": base},
    )  # fmt: skip
    assert (done.returncode == 0) is healthy


def test_no_service_is_not_healthy() -> None:
    done = subprocess.run([sys.executable, str(DOCKER / "health.py")], capture_output=True,
                          text=True, env={**os.environ, "PI10_PORT": "9"})  # fmt: skip
    assert done.returncode == 1 and "no answer from port 9" in done.stderr


@pytest.fixture(scope="module")
def compose() -> dict:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))


def test_compose_has_the_three_services_and_no_password(compose: dict) -> None:
    assert set(compose["services"]) == {"minio", "mlflow", "service"}
    text = json.dumps(compose)
    for name in ("MINIO_ROOT_PASSWORD", "MINIO_ROOT_USER"):
        assert not re.search(rf"\${{{name}:-", text), "a default password"
    assert "MINIO_ROOT_PASSWORD=\n" in (DOCKER / "example.env").read_text("utf-8")


def test_compose_listens_on_this_machine_alone(compose: dict) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_compose_builds_targets_that_there_are(compose: dict) -> None:
    builds = [one["build"] for one in compose["services"].values() if "build" in one]
    assert builds
    for build in builds:
        assert f" AS {build['target']}\n" in DOCKERFILE
        assert (DOCKER / build["context"] / build["dockerfile"]).exists()


@pytest.mark.parametrize(("password", "taken"), [("secret-of-test", True), ("", False)])
def test_the_engines_own_command_takes_compose_with_a_password_alone(
    password: str, taken: bool
) -> None:
    env = {**os.environ, "MINIO_ROOT_USER": "pi10", "MINIO_ROOT_PASSWORD": password}
    docker = shutil.which("docker")
    plugin = docker and subprocess.run([docker, "compose", "version"], capture_output=True)
    command = [docker, "compose"] if plugin and plugin.returncode == 0 else None
    command = command or [program("docker-compose")]
    done = subprocess.run(
        [*command, "-f", str(DOCKER / "compose.yaml"), "config", "--quiet"],
        capture_output=True, text=True, env=env,
    )  # fmt: skip
    assert (done.returncode == 0) is taken, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_image_is_built_and_answers() -> None:
    """Only where asked for: it takes minutes, an engine and a base image."""
    if os.environ.get("PI10_TEST_DOCKER") != "1":
        pytest.skip("PI10_TEST_DOCKER=1 asks for the build")
    docker = program("docker")
    if subprocess.run([docker, "info"], capture_output=True).returncode:
        pytest.skip("no Docker engine answers")
    done = subprocess.run([str(DOCKER / "check.sh")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "all is well" in done.stdout
