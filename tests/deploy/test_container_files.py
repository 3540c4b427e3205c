"""Dockerfile and compose.yaml, as far as they can be checked without an engine: what they name exists, and no more."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.core.management import get_commands

from crons.management.verbs import VERBS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
IGNORED = (DEPLOY / "Dockerfile.dockerignore").read_text()
COMPOSE = (DEPLOY / "compose.yaml").read_text()
REQUIRED = re.findall(r"^[\w-]+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
OURS = ["beat", "scheduler", "set-up", "web", "worker"]


def services() -> dict[str, str]:
    """Return the text of each service of compose.yaml."""
    body = COMPOSE.partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
    parts = re.split(r"^  ([\w-]+):\n", body, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def stages() -> list[str]:
    """Return the text of each stage of the Dockerfile."""
    return re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]


def commands() -> list[list[str]]:
    """Return all command lines: those of services, of health checks, and of the image."""
    told = re.findall(r"^ +(?:command|test): (\[.+\])$", COMPOSE, re.MULTILINE)
    told += re.findall(r"CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
    return [[word for word in json.loads(each) if word != "CMD"] for each in told]


def test_every_command_that_is_named_exists() -> None:
    """The first start on the server is too late to find a word that is wrong."""
    lines = [" ".join(words) for words in commands()]
    managed = [found.split() for line in lines for found in re.findall(r"manage\.py ([\w -]+)", line)]
    modules = [found for line in lines for found in re.findall(r"python -m (\w+)", line)]

    assert [words[0] for words in managed if words[0] not in get_commands()] == []
    assert [words[1] for words in managed if words[0] == "crons" and words[1] not in VERBS] == []
    assert sorted(set(modules)) == ["celery", "uvicorn"]
    assert set(modules) <= set(REQUIRED)
    paths = {found for line in lines for found in re.findall(r"\bcrm\.\w+", line)}
    assert paths == {"crm.asgi", "crm.celery"}
    assert all(find_spec(path) for path in paths)


def test_every_part_is_there() -> None:
    """The same parts as under supervisord, and the servers that they need."""
    assert sorted(services()) == sorted([*OURS, "broker", "database"])
    for name in OURS:
        assert "<<: *crm\n" in services()[name], name
    for name in ("scheduler", "worker", "beat"):
        assert "replicas: 2" in services()[name], name


def test_what_the_image_copies_is_there_and_let_in() -> None:
    """A COPY of what .dockerignore keeps out fails on the build machine only."""
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]
    ]

    assert copied == ["requirements.lock", "requirements.txt", "manage.py", "crons", "crm"]
    for path in copied:
        assert (ROOT / path).exists(), path
        assert f"\n!{path}\n" in IGNORED, path
    assert "\n*\n" in IGNORED, "everything else stays out: var/, .git, the secrets"


def test_the_image_runs_as_nobody_special_and_asks_the_ledger() -> None:
    """Who takes over a process must not own the machine's user id 0, nor the code."""
    *_, last = stages()

    assert re.findall(r"^USER (.+)$", last, re.MULTILINE) == ["crm"]
    assert last.index("USER crm") < last.index("\nCMD ")
    assert last.index("COPY --from=build") < last.index("USER crm")
    assert "--chown" not in DOCKERFILE
    health = re.search(r"^HEALTHCHECK .*CMD (\[.+\])$", last, re.MULTILINE)
    assert health is not None
    assert json.loads(health[1]) == ["python", "manage.py", "crons", "health"]


def test_parts_are_closed() -> None:
    """What a part does not need is not there to be misused."""
    common = COMPOSE.partition("x-crm: &crm\n")[2].partition("\nservices:\n")[0]

    for line in ("read_only: true", "cap_drop: [ALL]", 'security_opt: ["no-new-privileges:true"]', "init: true"):
        assert f"  {line}\n" in common
    assert re.findall(r"^ +ports: (.+)$", COMPOSE, re.MULTILINE) == ['["127.0.0.1:8000:8000"]']
    assert "privileged: true" not in COMPOSE
    assert "docker.sock" not in COMPOSE


@pytest.mark.parametrize("text", [DOCKERFILE, COMPOSE], ids=["Dockerfile", "compose.yaml"])
def test_no_secret_is_baked_in(text: str) -> None:
    """Images are pushed, and their history is read; secrets come as files at run time."""
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    given = re.findall(r"(?i)\b(\w*(?:password|secret_key|token|database_url|broker_url)\w*)[=:] *(\S+)", code)

    assert [(name, value.rstrip(",}")) for name, value in given] in (
        [
            ("CRM_SECRET_KEY", "only-to-build-the-image-and-unused-at-run-time-0123456789"),
            ("CRM_TOKEN_FILE", "/var/lib/crm/jobs_token"),
        ],
        [("POSTGRES_PASSWORD_FILE", "/run/secrets/db_password"), ("db_password", "{"), ("broker_password", "{")],
    )
    assert "unused-at-run-time" not in stages()[-1]


def test_secrets_are_kept_out_of_git() -> None:
    """The files lie beside compose.yaml, one `git add .` away."""
    files = re.findall(r"file: \./(\w+)/", COMPOSE)

    assert set(files) == {"secrets"}
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_variables_of_the_image_are_read_by_the_settings() -> None:
    """A variable that nothing reads would be a setting that does nothing."""
    settings = (ROOT / "crm" / "settings.py").read_text()

    given = set(re.findall(r"(CRM_\w+)=", DOCKERFILE))

    assert given == {"CRM_SECRET_KEY", "CRM_LOG_DIR", "CRM_TOKEN_FILE", "CRM_ARCHIVE_DIR", "CRM_ENV_FILE"}
    assert [name for name in given if f'"{name}"' not in settings] == []


def test_the_broker_asks_for_a_password_and_is_bounded() -> None:
    """Whoever writes to it has workers do things, and a full one must not take the machine's memory."""
    broker = services()["broker"]

    for line in ("requirepass $$(cat /run/secrets/broker_password)", "maxmemory 200mb", "noeviction"):
        assert line in broker
    assert "    mem_limit: 256m\n" in broker
    assert "--requirepass" not in broker, "a command line is for everybody to read"


def test_images_can_be_pinned_by_their_digest() -> None:
    """Which digest is right depends on registry and platform: no file of ours can know it."""
    images = re.findall(r"^    image: (.+)$", COMPOSE, re.MULTILINE)

    assert images == ['"${POSTGRES_IMAGE:-postgres:17-bookworm}"', '"${REDIS_IMAGE:-redis:7-bookworm}"']
    assert [each.split()[0] for each in stages()] == ["${PYTHON_IMAGE}"] * 2
    assert 'PYTHON_IMAGE: "${PYTHON_IMAGE:-python:3.13-slim-bookworm}"' in COMPOSE


@pytest.mark.parametrize("name", ["compose.yaml", "supervisord.conf", "systemd/crm-web.service", "run_demo.py"])
def test_no_web_server_believes_what_visitors_say_of_themselves(name: str) -> None:
    """uvicorn believes X-Forwarded-For of its own machine unless told not to; the settings decide here."""
    starts = [line for line in (DEPLOY / name).read_text().splitlines() if "--lifespan" in line]

    assert len(starts) == 1
    assert "--no-proxy-headers" in starts[0]
