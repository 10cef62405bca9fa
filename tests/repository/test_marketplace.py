"""The marketplace's files: valid by the hub's own schemas, and one in what they say."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pi10_classifier

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
HOME = "https://github.com/ai4os-hub/pi10-classifier"


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


@pytest.fixture(scope="module")
def old() -> dict[str, Any]:
    return json.loads(read("metadata.json"))


@pytest.fixture(scope="module")
def new() -> dict[str, Any]:
    return yaml.safe_load(read("ai4-metadata.yml"))


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string(read("setup.cfg"))
    return parser


@pytest.fixture(scope="module")
def citation() -> dict[str, Any]:
    return yaml.safe_load(read("CITATION.cff"))


@pytest.fixture(scope="module")
def codemeta() -> dict[str, Any]:
    return json.loads(read("codemeta.json"))


def validate(path: Path, version: str) -> subprocess.CompletedProcess[str]:
    """Runs the hub's own command."""
    pytest.importorskip("ai4_metadata")
    command = "import sys; from ai4_metadata.cli import app; sys.exit(app())"
    return subprocess.run(
        [sys.executable, "-c", command, "validate", "--metadata-version", version, str(path)],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("name", "version"), [("ai4-metadata.yml", "2.3.0"), ("metadata.json", "1.0.0")]
)
def test_the_hub_takes_the_metadata(name: str, version: str) -> None:
    done = validate(ROOT / name, version)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hubs_command_refuses_what_is_wrong(tmp_path: Path, new: dict[str, Any]) -> None:
    broken = tmp_path / "ai4-metadata.yml"
    broken.write_text(yaml.safe_dump({**new, "libraries": ["Fortran"]}), "utf-8")
    assert validate(broken, "2.3.0").returncode != 0


def test_both_metadata_say_the_same(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert old["title"] == new["title"]
    assert old["summary"] == new["summary"]
    assert "\n".join(old["description"]) == new["description"]
    assert old["keywords"] == new["tags"]
    assert old["date_creation"] == str(new["dates"]["created"])
    assert old["dataset_url"] == new["links"]["dataset"]
    assert old["cite_url"] == new["links"]["citation"]
    image = old["sources"]["docker_registry_repo"]
    assert new["links"]["docker_image"] == f"https://hub.docker.com/r/{image}"


def test_every_file_names_the_same_home(
    old: dict[str, Any], new: dict[str, Any], setup: configparser.ConfigParser,
    citation: dict[str, Any], codemeta: dict[str, Any],
) -> None:  # fmt: skip
    told = {
        "metadata.json code": old["sources"]["code"],
        "metadata.json dockerfile": old["sources"]["dockerfile_repo"],
        "ai4-metadata.yml": new["links"]["source_code"],
        "setup.cfg": setup["metadata"]["url"],
        "CITATION.cff": citation["repository-code"],
        "codemeta.json": codemeta["codeRepository"],
        "mkdocs.yml": re.search(r"^repo_url: (.*)$", read("mkdocs.yml"), re.MULTILINE)[1],
    }
    assert told == dict.fromkeys(told, HOME)
    for link in ("documentation", "citation"):
        assert "/ai4os-hub/pi10-classifier/" in new["links"][link]
    # what the documentation's address leads to is there
    assert (ROOT / new["links"]["documentation"].split("/blob/main/")[1]).is_file()


def test_one_version(citation: dict[str, Any], codemeta: dict[str, Any]) -> None:
    label = re.findall(r'image\.version="([^"]+)"', read("docker/Dockerfile"))
    told = [read("VERSION").strip(), str(citation["version"]), codemeta["version"],
            codemeta["softwareVersion"], *label]  # fmt: skip
    assert len(label) == 2  # the images serve, and train with gpu
    assert set(told) == {pi10_classifier.__version__}


def test_one_release_date(
    new: dict[str, Any], citation: dict[str, Any], codemeta: dict[str, Any]
) -> None:
    told = {str(new["dates"]["updated"]), str(citation["date-released"]),
            codemeta["datePublished"]}  # fmt: skip
    assert len(told) == 1, told
    version = re.escape(pi10_classifier.__version__)
    released = re.search(rf"^## \[{version}\] - ([\d-]+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert released and {released[1]} == told


def test_one_licence(
    old: dict[str, Any], setup: configparser.ConfigParser, citation: dict[str, Any],
    codemeta: dict[str, Any],
) -> None:  # fmt: skip
    label = set(re.findall(r'image\.licenses="([^"]+)"', read("docker/Dockerfile")))
    told = {old["license"], setup["metadata"]["license"], citation["license"],
            codemeta["license"].removeprefix("https://spdx.org/licenses/"), *label}  # fmt: skip
    assert told == {"Apache-2.0"}
    assert "Apache License" in read("LICENSE")


def test_the_same_authors_and_words(
    setup: configparser.ConfigParser, citation: dict[str, Any], codemeta: dict[str, Any],
    new: dict[str, Any],
) -> None:  # fmt: skip
    assert [one["name"] for one in codemeta["author"]] == [setup["metadata"]["author"]]
    assert [one["name"] for one in citation["authors"]] == [setup["metadata"]["author"]]
    assert codemeta["description"] == setup["metadata"]["description"]
    assert codemeta["keywords"] == citation["keywords"] == new["tags"][: len(citation["keywords"])]
    assert "vo.imagine-ai.eu" in new["tags"]


def test_every_check_of_the_pipeline_is_an_environment_of_tox() -> None:
    config = yaml.safe_load(read(".sqa/config.yml"))
    services = yaml.safe_load(read(".sqa/docker-compose.yml"))["services"]
    tox = configparser.ConfigParser()
    tox.read_string(read("tox.ini"))
    asked = []
    for criterion in config["sqa_criteria"].values():
        for repository in criterion["repos"].values():
            assert repository["container"] in services
            assert (ROOT / repository["tox"]["tox_file"]).is_file()
            asked += repository["tox"]["testenv"]
    assert asked == ["qc.sty", "qc.cov", "qc.sec"]
    for name in asked:
        assert tox[f"testenv:{name}"]["commands"].strip()
    assert [part.strip() for part in tox["tox"]["env_list"].split(",")] == asked


def test_bandit_finds_nothing_that_is_not_justified() -> None:
    pytest.importorskip("bandit")
    done = subprocess.run(
        [sys.executable, "-m", "bandit", "--configfile", "pyproject.toml", "--quiet",
         "--recursive", "pi10_classifier", "api", "oscar"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_pipeline_builds_the_file_that_is_there_from_its_own_base() -> None:
    constants = read("JenkinsConstants.groovy")
    dockerfile = re.search(r"dockerfile = '([^']+)'", constants)[1]
    base = re.search(r"base_cpu_tag = '([^']+)'", constants)[1]
    assert f"ARG tag={base}" in read(dockerfile)
    assert "pipelineConfig()" in read("Jenkinsfile") and "buildStages(" in read("Jenkinsfile")
