"""Settings: strict, without a secret in the code, and clean under Django's own deployment check."""

import os
import socket
import ssl
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from django.core.exceptions import ImproperlyConfigured

from crm import environment
from crm.database import from_url
from crm.settings import _secret_key

PROJECT = Path(__file__).parents[2]
BASE = Path("/srv/crm")


def manage(*arguments, **variables):
    bare = {
        "PATH": os.defpath,
        "CRM_ENV_FILE": os.devnull,
        "DATABASE_URL": "sqlite:////tmp/never-opened.sqlite3",
    }
    command = [sys.executable, PROJECT / "manage.py", *arguments]
    return subprocess.run(command, env=bare | variables, capture_output=True, text=True, timeout=60)


def test_deployment_check_is_clean_in_production():
    result = manage(
        "check",
        "--deploy",
        "--fail-level=WARNING",
        CRM_SECRET_KEY="".join(map(chr, range(48, 110))),
        CRM_ALLOWED_HOSTS="crm.example.com",
        CRM_HSTS_SUBDOMAINS="1",
        CRM_HSTS_PRELOAD="1",
        CRM_EMAIL_HOST="mail.example.com",
        CRM_ADMINS="ops@example.com",
    )

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CRM_DEBUG", "maybe", "CRM_DEBUG='maybe' is neither yes nor no. Set it to 1 or 0."),
        (
            "CRM_TIME_ZONE",
            "Mars/Base",
            "CRM_TIME_ZONE='Mars/Base' is no known zone. Set a name such as Europe/Paris.",
        ),
        (
            "CRM_COST_PER_MINUTE",
            "100",
            "CRM_COST_PER_MINUTE=100 would refuse for ever what one document may cost. Set it to 5000 or more, or to 0 "
            "for no limit.",
        ),
        ("CRM_LOG_KEEP", "-1", "CRM_LOG_KEEP='-1' is not a whole number. Set it to one, such as 5."),
        (
            "CRM_CLEANUP_MAX_SHARE",
            "50%",
            "CRM_CLEANUP_MAX_SHARE='50%' is not a share. Set it from 0 to 1; 0.5 is one half.",
        ),
        (
            "CRM_GRAPHQL_URL",
            "file:///etc/passwd",
            "CRM_GRAPHQL_URL='file:///etc/passwd' must start with http:// or https://, such as http://127.0.0.1:8000/graphql.",
        ),
    ],
)
def test_wrong_value_stops_the_start_and_names_its_variable(name, value, message):
    result = manage("check", CRM_SECRET_KEY="only-for-tests-" * 5, **{name: value})

    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith(message)


def test_production_without_a_key_does_not_start(tmp_path):
    with pytest.raises(
        ImproperlyConfigured, match=r"^No secret key: CRM_SECRET_KEY is not set and .*/key does not exist\."
    ):
        keyless(tmp_path / "key", generate=False)


def test_key_is_made_once_for_its_owner_only(tmp_path):
    made = keyless(tmp_path / "key", generate=True)

    assert keyless(tmp_path / "key", generate=True) == made
    assert keyless(tmp_path / "key", generate=False) == made
    assert len(made) >= 50
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def keyless(path, *, generate):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CRM_SECRET_KEY", raising=False)
        return _secret_key(path, generate=generate)


def test_file_of_variables_fills_what_the_environment_lacks(tmp_path, monkeypatch):
    """Cron starts jobs with next to nothing in the environment."""
    file = tmp_path / "crm.env"
    file.touch(mode=0o600)
    file.write_text('# comment\n\nCRM_T1=from file\nexport CRM_T2="quo=ted"\nCRM_T3=from file\n')
    for name in ("CRM_T1", "CRM_T2"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CRM_T3", "from environment")

    environment.load(file)

    found = [os.environ.pop(name) for name in ("CRM_T1", "CRM_T2")] + [os.environ["CRM_T3"]]
    assert found == ["from file", "quo=ted", "from environment"]


@pytest.mark.parametrize("value", ["pa#ss #word", "x${HOME}y", r"a\nb", "a=b"])
def test_value_in_the_file_is_taken_as_it_stands(value, tmp_path, monkeypatch):
    """A password may look like a comment, a variable or an escape."""
    file = tmp_path / "crm.env"
    file.touch(mode=0o600)
    file.write_text(f'CRM_T1={value}\nCRM_T2="{value}"\n')
    for name in ("CRM_T1", "CRM_T2"):
        monkeypatch.delenv(name, raising=False)

    environment.load(file)

    assert [os.environ.pop(name) for name in ("CRM_T1", "CRM_T2")] == [value, value]


@pytest.mark.parametrize("value", ["1_0", "٣", "-1", "+1", "1.0", "²"])
def test_number_is_digits_and_nothing_else(value, monkeypatch):
    """Python's own int() takes most of these."""
    monkeypatch.setenv("CRM_T1", value)

    with pytest.raises(ImproperlyConfigured, match=r"is not a whole number\. Set it to one, such as 5\.$"):
        environment.whole("CRM_T1", 5)


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "inf", "50%"])
def test_share_is_from_nothing_to_all(value, monkeypatch):
    monkeypatch.setenv("CRM_T1", value)

    with pytest.raises(ImproperlyConfigured, match=r"is not a share\. Set it from 0 to 1; 0\.5 is one half\.$"):
        environment.share("CRM_T1", 0.5)


def test_variable_that_is_empty_is_not_set(monkeypatch):
    """docker compose sets what it has no value for to nothing."""
    monkeypatch.setenv("CRM_T1", " ")

    found = [environment.flag("CRM_T1", default=True), environment.whole("CRM_T1", 5), environment.share("CRM_T1", 0.5)]
    assert found == [True, 5, 0.5]
    assert environment.names("CRM_T1", "a, b,") == ["a", "b"]


def test_line_that_is_no_variable_is_refused_without_being_shown(tmp_path):
    """It may hold a password with a typing mistake before it."""
    file = tmp_path / "crm.env"
    file.touch(mode=0o600)
    file.write_text("A=1\nPASSWORD hunter2\n")

    with pytest.raises(ImproperlyConfigured, match=r"crm\.env, line 2: expected NAME=value") as refusal:
        environment.load(file)

    assert "hunter2" not in str(refusal.value)
    os.environ.pop("A", None)


# ── DATABASE_URL ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:///var/crm.sqlite3", BASE / "var/crm.sqlite3"),
        ("sqlite:////data/crm%20two.sqlite3", Path("/data/crm two.sqlite3")),
    ],
)
def test_sqlite_url(url, name):
    entry = from_url(url, base=BASE)

    assert (entry["ENGINE"], entry["NAME"]) == ("django.db.backends.sqlite3", name)
    assert entry["OPTIONS"] == {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=20000;",
    }


@pytest.mark.parametrize(
    ("url", "values"),
    [
        ("postgres://u:p%40ss@db.example.com:6543/crm", ("u", "p@ss", "db.example.com", "6543", "crm", {})),
        ("postgresql://u@[::1]/crm?sslmode=require", ("u", "", "::1", "", "crm", {"sslmode": "require"})),
        ("postgres://u@/crm?host=/var/run/postgresql", ("u", "", "/var/run/postgresql", "", "crm", {})),
        ("postgres:///crm?host=/run/pg", ("", "", "/run/pg", "", "crm", {})),
    ],
)
def test_postgres_url(url, values):
    entry = from_url(url, base=BASE)

    assert entry["ENGINE"] == "django.db.backends.postgresql"
    assert tuple(entry[key] for key in ("USER", "PASSWORD", "HOST", "PORT", "NAME", "OPTIONS")) == values


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://u:hunter2@h/crm", "DATABASE_URL starts with 'mysql'."),
        ("crm.sqlite3", "DATABASE_URL starts with ''."),
        ("sqlite://crm.sqlite3", "DATABASE_URL for SQLite takes a path only"),
        ("sqlite:///", "DATABASE_URL for SQLite takes a path only"),
        ("sqlite:///a?mode=ro", "DATABASE_URL for SQLite takes a path only"),
        ("postgres://u:hunter2@h", "DATABASE_URL names no database after the host."),
        ("postgres://u:hunter2@h/a/b", "DATABASE_URL names no database after the host."),
        ("postgres://u:hunter2@h:port/crm", "DATABASE_URL has no readable host and port."),
        ("postgres://u:hunter2/x@h/crm", "DATABASE_URL has no readable host and port."),
        ("postgres://u:hunter2@h/crm#x", "DATABASE_URL has a '#': write it as %23 in a password."),
        (
            "postgres://u:hunter2@h/crm?host=/run/pg",
            "DATABASE_URL: ?host= takes the directory of a unix socket",
        ),
        (
            "postgres://u:hunter2@/crm?host=run/pg",
            "DATABASE_URL: ?host= takes the directory of a unix socket",
        ),
        ("postgres://u:hunter2@h/crm?sslmod=require", "DATABASE_URL: unknown option 'sslmod'. Known: host, "),
    ],
)
def test_url_that_cannot_be_understood_is_refused_without_its_password(url, message):
    with pytest.raises(ImproperlyConfigured) as refusal:
        from_url(url, base=BASE)

    assert str(refusal.value).startswith(message)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("scheme", ["rediss", "amqps"])
@pytest.mark.parametrize(
    ("trusted", "host", "refusal"),
    [
        (False, "localhost", "CERTIFICATE_VERIFY_FAILED"),
        (True, "127.0.0.1", "not valid for '127.0.0.1'"),
        (True, "localhost", ""),
    ],
    ids=["authority unknown", "certificate of another host", "right"],
)
def test_broker_over_tls_must_show_who_it_is(scheme, trusted, host, refusal, certificate):
    """Else whoever stands on the way reads all messages, and the password of the broker with them."""
    pytest.importorskip("celery", reason="Celery's packages are not there")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def answer(listener):
        with suppress(OSError):  # until the listener is shut
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    context.wrap_socket(connection, server_side=True).close()  # being no broker

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Thread(target=answer, args=(listener,))
        server.start()
        result = manage(
            "shell",
            "-c",
            "from crm.celery import app; app.connection_for_write(connect_timeout=5).ensure_connection(max_retries=1)",
            CRM_SECRET_KEY="only-for-tests-" * 5,
            CRM_BROKER_URL=f"{scheme}://:secret@{host}:{listener.getsockname()[1]}/0",
            **({"SSL_CERT_FILE": str(certificate)} if trusted else {}),
        )
        listener.shutdown(socket.SHUT_RDWR)
        server.join()

    assert result.returncode == 1  # it is no broker
    assert (refusal or "Connection") in result.stderr
    assert ("certificate" in result.stderr.lower()) is bool(refusal)


@pytest.fixture
def certificate(tmp_path):
    """Key and certificate of "localhost", in one file, vouched for by nobody but themselves."""
    path = tmp_path / "broker.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", path, "-out", f"{path}.crt"]
    naming = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    subprocess.run([*command, *naming], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def test_a_worker_unpacks_no_objects():
    """A message of pickle that anybody puts on the broker would run what it holds."""
    pytest.importorskip("celery", reason="Celery's packages are not there")
    from kombu.exceptions import ContentDisallowed
    from kombu.serialization import dumps, loads

    from crm.celery import app

    content_type, encoding, data = dumps(["run"], serializer="pickle")

    with pytest.raises(ContentDisallowed, match="untrusted content of type pickle"):
        loads(data, content_type, encoding, accept=app.conf.accept_content)


def test_tick_over_http_is_off_until_a_file_with_a_secret_is_named(tmp_path):
    """And asks the database nothing before it is signed."""
    secret = tmp_path / "tick"
    secret.touch(mode=0o600)
    secret.write_text("0123456789abcdef" * 4 + "\n")
    code = (
        "from django.test import Client; "
        "print(Client().post('/crons/tick', secure=True, headers={'host': 'localhost'}).status_code)"
    )

    off = manage("shell", "-c", code, CRM_SECRET_KEY="only-for-tests-" * 5)
    on = manage("shell", "-c", code, CRM_SECRET_KEY="only-for-tests-" * 5, CRM_TICK_SECRET_FILE=str(secret))

    assert (off.stdout.splitlines()[-1:], on.stdout.splitlines()[-1:]) == (["404"], ["401"]), on.stderr


@pytest.mark.parametrize(("flag", "address"), [("0", "127.0.0.1"), ("1", "203.0.113.7")])
def test_an_address_that_a_visitor_names_counts_behind_a_proxy_only(flag, address):
    """Who could name any address would be locked out, or counted, under that of another."""
    code = """
import asyncio, crm.body_limit
async def seen(scope, receive, send): print(scope["client"][0])
crm.body_limit.limited = lambda application: seen
from crm.asgi import application
headers = [(b"x-forwarded-for", b"203.0.113.7")]
asyncio.run(application({"type": "http", "headers": headers, "client": ("127.0.0.1", 1)}, None, None))
"""

    done = manage("shell", "--verbosity", "0", "-c", code, CRM_SECRET_KEY="only-for-tests-" * 5, CRM_BEHIND_PROXY=flag)

    assert (done.stdout, done.stderr) == (f"{address}\n", "")
