"""What is taken for a secret, what is not, and in which forms it is found."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from django.test import override_settings

from crons import redaction
from crons.redaction import (
    MASK,
    Redaction,
    _in_environment,
    _within,
    of_project,
    without_secrets_in,
    without_secrets_of,
)
from crons.redaction.shapes import Secrecy, is_secret, secrecy_of

SECRET = "correct-horse-battery"
TOKEN = "x0XoQ7zB1pT9kV4mN8sLrW2d"
LINES = ["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7", "VJTUt9Us8cKjMzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDu"]
PEM = "\n".join(["-----BEGIN PRIVATE KEY-----", *LINES, "-----END PRIVATE KEY-----", ""])


def hidden(name: str, value: str) -> Redaction:
    """Give what hides the secrets of one variable of the environment."""
    return Redaction(_in_environment({name: value}))


NAMES = """
    SECRET_KEY DB_PASSWORD PGPASSWORD MYSQL_PWD FTP_PWD db.pwd REDIS_PASS RABBITMQ_DEFAULT_PASS PGPASS SSH_PASSPHRASE
    AWS_CREDENTIALS credentials GCP_CREDENTIALS_JSON SMTP_CREDS GITHUB_PAT AZURE_DEVOPS_EXT_PAT BEARER HTTP_BEARER
    bearerToken accessToken client-secret x-api-key apikey STRIPE_KEYS privateKey private_key MASTERKEY id_token JWT
    X_CSRFTOKEN csrf PHPSESSID sessionid set_cookie HTTP_COOKIE Authorization proxy-authorization HASH_SALT BLOB_SAS
    SLACK_WEBHOOK APPRISE_URLS_SECRET TOTP_SECRET mysql_pwd passwd
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_a_secrets_name_hides_whatever_stands_under_it(name: str) -> None:
    """Django's list, Sentry's list, and what people call theirs."""
    assert secrecy_of(name) is Secrecy.CERTAIN
    assert hidden(name, SECRET).hide(f"a {SECRET} b") == f"a {MASK} b"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PASSENGER_APP_ENV", "production"),
        ("COMPASS_DIRECTION", "north-by-northwest"),
        ("BYPASS_RULES", "everything-in-order"),
        ("AUTHOR", "Ada Lovelace <ada@example.com>"),
        ("GIT_AUTHOR_NAME", "Ada Lovelace"),
        ("XAUTHORITY", "/run/user/1000/.Xauthority"),
        ("KEYBOARD_LAYOUT", "de-latin1-nodeadkeys"),
        ("TOKENIZERS_PARALLELISM", "disabled-by-us"),
        ("MONKEY_PATCHES", "gevent-and-others"),
        ("RAPID_RELEASE", "channel-number-1"),
        ("CACHE_KEY_PREFIX", "production"),
        ("SSH_AUTH_SOCK", "/tmp/ssh-0123456789/agent.12"),
        ("AUTHENTICATION_BACKENDS", "django.contrib.auth.backends.ModelBackend"),
        ("SMTP_AUTH", "required"),
        ("API_URL", "https://api.example.com/v1/orders"),
        ("TOKEN_URL", "https://login.example.com/oauth2/token"),
        ("DESKTOP_SESSION", "enlightenment"),
        ("PWD", "/srv/production/crm"),
        ("COOKIE_CONSENT_MODE", "opt-in-2"),
        ("cookieBannerVersion", "2026-11-30"),
        ("OLDPWD", "/srv/production"),
        ("PATH", "/usr/local/bin:/usr/bin"),
        ("DATABASE_URL", "postgres://db.example.com:5432/production"),
        ("GREETING", "host=db.example.com dbname=production user=shop_owner"),
        ("HOMEPAGE", "https://example.com/hooksaw/catalogue"),
        ("STRIPE_API_VERSION", "2023-10-16"),
        ("API_PAGE_SIZE", "100000000"),
        ("MAX_TOKENS", "1234567890"),
        ("TOKENS_PER_MINUTE", "100000000"),
        ("SECRETS_MANAGER_REGION", "eu-central-1"),
        ("CACHE_KEY_PREFIX", "shop-prod"),
        ("SESSION_COOKIE_DOMAIN", ".example.com"),
        ("PASS_THROUGH_HEADERS", "x-request-id"),
        ("WEBHOOK_TIMEOUT", "30 seconds max"),
        ("TOKEN_EXPIRY", "2 weeks and a day"),
        ("SESSION_WARNING_TEXT", "You will be logged out soon!"),
        ("API_DOCS_TITLE", "Shop API, version 2"),
        ("CELERY_TASK_DEFAULT_ROUTING_KEY", "shop.orders.created.#"),
        ("FOREIGN_KEY_CHECKS", "disabled-in-tests"),
        ("PARTITION_KEY", "customer-id"),
        ("RSA_PUBLIC_KEY", "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"),
        ("COOKIE_LAW_BANNER", "Accept all of them"),
        ("PASSWORDLESS_LOGIN_TEXT", "Log in without one"),
        ("SECRETARY_NAME", "Grace Hopper, London"),
        ("PASSPORT_COUNTRIES", "DE,AT,CH,FR,IT"),
        ("HOTKEYS", "ctrl+shift+p"),
        ("DESKTOP_SESSION", "gnome-classic"),
    ],
)
def test_what_only_sounds_like_a_secret_is_shown(name: str, value: str) -> None:
    """Each false alarm makes output unreadable: "deployed to ********"."""
    assert hidden(name, value).hide(f"a {value} b") == f"a {value} b"


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("redis://:correct-horse@cache:6379/0", "correct-horse"),
        ("postgres://shop:correct%40horse@db/shop", "correct%40horse"),
        ("postgres://shop:correct%40horse@db/shop", "correct@horse"),
        ("amqp://shop:correct@horse@broker//", "correct@horse"),
        (f"https://{TOKEN}@git.example.com/shop.git", TOKEN),
        ("postgres://db/shop?user=shop&password=correct-horse&sslmode=require", "correct-horse"),
        ("host=db user=shop password=correct-horse dbname=shop", "correct-horse"),
        ("host=db password='correct horse' dbname=shop", "correct horse"),
        ("Server=db;User Id=shop;Password=correct horse;Encrypt=yes", "correct horse"),
        ("Driver={ODBC Driver 18};Uid=shop;Pwd={correct;horse};", "correct;horse"),
        ("DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=Zm9vYmFyYmF6cXV4==;EndpointSuffix=x",
         "Zm9vYmFyYmF6cXV4=="),
        ("Endpoint=sb://shop.example.net/;SharedAccessKeyName=all;SharedAccessKey=Zm9vYmFyYmF6=", "Zm9vYmFyYmF6="),
        (f"https://hooks.slack.com/services/T000/B000/{TOKEN}", TOKEN),
        (f"https://discord.com/api/webhooks/123456789012345678/{TOKEN}", TOKEN),
        (f"https://ptb.discord.com/api/v10/webhooks/123456789012345678/{TOKEN}", TOKEN),
        (f"https://shop.webhook.office.com/webhookb2/0-1@2-3/IncomingWebhook/{TOKEN}/4-5", TOKEN),
        (f"https://prod-1.logic.azure.com/workflows/1/triggers/manual/paths/invoke?sp=x&sig={TOKEN}", TOKEN),
        (f"https://chat.googleapis.com/v1/spaces/AAA/messages?key=public-one&token={TOKEN}", TOKEN),
        (f"https://chat.example.com/hooks/{TOKEN}", TOKEN),
        (f"https://hooks.zapier.com/hooks/catch/1/{TOKEN}/", TOKEN),
        ("https://api.telegram.org/bot123456:AAF-correct-horse/sendMessage", "123456:AAF-correct-horse"),
        (f"slack://TokenA/TokenB/{TOKEN}", TOKEN),
        *((token, token) for token in (f"ghp_{TOKEN}", f"npm_{TOKEN}", f"hf_{TOKEN}", f"SG.{TOKEN}.{TOKEN}-_{TOKEN}")),
        *((token, token) for token in (f"AIza{TOKEN}", f"sk_test_{TOKEN}", f"sk_live_{TOKEN}", f"rk_test_{TOKEN}")),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4", "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4"),
        (json.dumps({"shop": {"password": SECRET}}), SECRET),
    ],
)  # fmt: skip
def test_a_secrets_form_gives_it_away_under_any_name(value: str, secret: str) -> None:
    """Most secrets stand inside an address, under a name that says nothing."""
    assert hidden("SHOP", value).hide(f"a {secret} b") == f"a {MASK} b"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_AUTH", "correct-horse-battery"),
        ("BASIC_AUTH", "shop:battery"),
        ("WEATHER_API", "correct-horse"),
        ("STRIPE_API_ID", TOKEN),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("TOKEN_NAME", "Correct-Horse-2024!"),
        ("SIGNING_KEY_MAX_AGE", "aGVsbG8gd29ybGQ"),
        ("JWT_PUBLIC_KEY", "correct-horse"),
        ("SSH_PUBLIC_KEY_PASSPHRASE", "correct horse"),
        ("DOCKER_CONFIG", '{"auths": {"shop": {"auth": "dXNlcjpwYXNz"}}}'),
        ("HEADERS", "Cookie: sessionid=dXNlcjpwYXNz; theme=dark"),
    ],
)
def test_what_may_be_a_secret_is_hidden_under_a_name_that_may_be_ones(name: str, value: str) -> None:
    """What people write with a hyphen is shown under API_REGION, and not under HTTP_AUTH."""
    secret = "dXNlcjpwYXNz" if "dXNl" in value else value

    assert hidden(name, value).hide(f"a {secret} b") == f"a {MASK} b"


@pytest.mark.parametrize(
    "value", ["a" * 50_000, "aB" * 20_000, "a_" * 20_000, "a-1" * 20_000, "a, " * 20_000, "1" * 50_000]
)
def test_looking_at_a_long_value_takes_no_time_of_note(value: str) -> None:
    """A pattern that goes back over what it has read would take hours for these."""
    assert isinstance(is_secret(f"{value}\N{SNOWMAN}", Secrecy.SLIGHT), bool)


def test_a_password_is_hidden_as_a_url_carries_it_too() -> None:
    with override_settings(SHOP_PASSWORD="correct@horse/battery"):
        told = of_project().hide("postgres://shop:correct%40horse%2Fbattery@db and correct@horse/battery")

    assert told == f"postgres://shop:{MASK}@db and {MASK}"


@pytest.mark.parametrize("value", [PEM, PEM.replace("\n", "\\n"), PEM.replace("\n", "\r\n")])
@pytest.mark.parametrize("name", ["SHOP_SIGNING_KEY", "SHOP"])
def test_each_line_of_a_private_key_is_hidden(name: str, value: str) -> None:
    """Programs print a key line by line, with the indent of a traceback or a log record."""
    redaction = hidden(name, value)

    assert [redaction.hide(f"  {line}") for line in LINES] == [f"  {MASK}"] * 2
    assert redaction.hide("".join(LINES)) == MASK
    assert redaction.hide("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


def test_a_certificate_is_shown() -> None:
    certificate = PEM.replace("PRIVATE KEY", "CERTIFICATE")

    assert hidden("SHOP_CERTIFICATE", certificate).hide(LINES[0]) == LINES[0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"USER": "shop", "PASSWORD": "pass-word"}, ["pass-word"]),
        ({"LOCATION": "redis://:correct-horse@cache:6379/0"}, ["correct-horse"]),
        ({"OPTIONS": {"secret_key": "s3-secret", "bucket": "public-bucket"}}, ["s3-secret"]),
        ({"SIGNING_KEYS": ["first-key", "second-key"]}, ["first-key", "second-key"]),
        ({"API_KEYS": {"stripe": "s3-secret", "backend": "shop.keys.Store"}}, ["s3-secret"]),
        ({"key": b"bytes-of-a-key"}, ["bytes-of-a-key"]),
        (["just", "texts"], []),
    ],
)
def test_secrets_are_found_in_nested_settings(value: object, expected: list[str]) -> None:
    assert list(_within(value, Secrecy.NONE)) == expected


def test_the_secret_of_the_http_tick_is_hidden_and_its_files_path_is_not(tmp_path: Path) -> None:
    """It stands inside CRONS: looked at like a setting of its own, or the tick's secret is stored in clear."""
    path = tmp_path / "tick_secrets"
    path.write_text(f"{TOKEN}{TOKEN}\n{SECRET}-{SECRET}\n")

    with override_settings(CRONS={"HTTP_TICK": {"SECRET": path}}):
        told = of_project().hide(f"{TOKEN}{TOKEN} {SECRET}-{SECRET} from {path}")

    assert told == f"{MASK} {MASK} from {path}"


def test_of_a_secret_in_a_file_the_lines_are_hidden_and_the_path_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path is what whoever reads an error needs; the token is what nobody may read."""
    (tmp_path / "token").write_text("crm_first_0123456789\n\ncrm_second_0123456789\n")
    monkeypatch.setenv("SHOP_PASSWORD_FILE", str(tmp_path / "other"))
    (tmp_path / "other").write_text("correct-horse")

    with override_settings(SHOP_TOKEN_FILE=tmp_path / "token"):
        told = of_project().hide(f"crm_second_0123456789 of {tmp_path}/token, correct-horse of {tmp_path}/other")

    assert told == f"{MASK} of {tmp_path}/token, {MASK} of {tmp_path}/other"


def test_an_account_of_a_cloud_in_a_file_is_hidden(tmp_path: Path) -> None:
    """GOOGLE_APPLICATION_CREDENTIALS names no file by its ending, and its file holds one line of JSON."""
    path = tmp_path / "account.json"
    path.write_text(json.dumps({"client_email": "shop@example.com", "private_key": PEM}))

    redaction = hidden("GOOGLE_APPLICATION_CREDENTIALS", str(path))

    assert redaction.hide(f"{path} {LINES[1]} shop@example.com") == f"{path} {MASK} shop@example.com"


def test_a_setting_that_refuses_to_be_read_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django does without a SECRET_KEY until something asks for it; no job of such a project could begin."""
    monkeypatch.setenv("SHOP_PASSWORD", SECRET)

    with override_settings(SECRET_KEY=""):
        assert of_project().hide(f"all well, {SECRET}") == "all well, ********"


@pytest.mark.parametrize("kind", ["missing", "pipe", "directory", "bytes", "forbidden name", "long name"])
def test_a_file_that_cannot_be_read_hides_nothing_and_stops_nothing(kind: str, tmp_path: Path) -> None:
    """A pipe that nobody writes to would have the scheduler wait for ever."""
    path = tmp_path / "token"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "bytes":
        path.write_bytes(b"\xff\xfe0123456789")
    given = {"forbidden name": "a\0b", "long name": "/" + "a" * 5_000}.get(kind, str(path))

    with override_settings(SHOP_TOKEN_FILE=given):
        assert of_project().hide("all well") == "all well"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("MYSQL_PWD=abc mysqldump shop", f"MYSQL_PWD={MASK} mysqldump shop"),
        ("mysqldump -u shop -pabc shop", f"mysqldump -u shop -p{MASK} shop"),
        ("backup --password abc --verbose", f"backup --password {MASK} --verbose"),
        ("backup --password=abc --key-file=/etc/key", f"backup --password={MASK} --key-file=/etc/key"),
        ("curl -u shop:abc https://example.com", f"curl -u shop:{MASK} https://example.com"),
        ("curl -H 'Authorization: Bearer abc.def' https://example.com",
         f"curl -H 'Authorization: Bearer {MASK}' https://example.com"),
        ("curl -H 'X-Api-Key: abc'", f"curl -H 'X-Api-Key: {MASK}'"),
        ("curl https://hooks.slack.com/services/T/B/abc", f"curl https://hooks.slack.com/services/{MASK}"),
        ("{'password': 'abc', 'user': 'ada'}", f"{{'password': '{MASK}', 'user': 'ada'}}"),
        ("pg_dump postgres://shop:a@b@db/shop", f"pg_dump postgres://shop:{MASK}@db/shop"),
        ("python manage.py rotate_keys --all", "python manage.py rotate_keys --all"),
        ("cd /srv/keys && ./token refresh", "cd /srv/keys && ./token refresh"),
        ("backup --pwd correcthorse", f"backup --pwd {MASK}"),
        ("Driver=x;Server=h;UID=u;PWD=correcthorse;", f"Driver=x;Server=h;UID=u;PWD={MASK};"),
        ("dump mysql://h/db?pwd=correcthorse", f"dump mysql://h/db?pwd={MASK}"),
        ("{'PWD': 'correcthorse'}", f"{{'PWD': '{MASK}'}}"),
        ("PWD=/srv/shop OLDPWD=/srv ./run", "PWD=/srv/shop OLDPWD=/srv ./run"),
        ("curl -uuser:abc https://example.com", f"curl -uuser:{MASK} https://example.com"),
        ("curl -fsSu user:abc https://example.com", f"curl -fsSu user:{MASK} https://example.com"),
        ("curl --url https://example.com:8000/", "curl --url https://example.com:8000/"),
        ("redis-cli -h cache -a secretpw ping", f"redis-cli -h cache -a {MASK} ping"),
        ("redis-cli -a 'secretpw' ping", f"redis-cli -a '{MASK}' ping"),
        ("smbclient //host/share -U user%abc -c ls", f"smbclient //host/share -U user%{MASK} -c ls"),
        ("smbclient -Uuser%abc //host/share", f"smbclient -Uuser%{MASK} //host/share"),
        ("smbclient --user='SHOP\\user%abc' //host/share", f"smbclient --user='SHOP\\user%{MASK}' //host/share"),
        (f"./publish npm_{TOKEN}", f"./publish {MASK}"),
        ("curl -H 'Authorization: token abc'", f"curl -H 'Authorization: token {MASK}'"),
        ('run \'{"apiKey":"abc","city":"Oslo"}\'', f'run \'{{"apiKey":"{MASK}","city":"Oslo"}}\''),
        ("{'passwd':'abc','user':'ada'}", f"{{'passwd':'{MASK}','user':'ada'}}"),
        ("['password' => 'abc', 'user' => 'ada']", f"['password' => '{MASK}', 'user' => 'ada']"),
        ("<user>ada</user><dbPassword>abc</dbPassword>", f"<user>ada</user><dbPassword>{MASK}</dbPassword>"),
        ("npm config set //npm.example.com/:_authToken=abc", f"npm config set //npm.example.com/:_authToken={MASK}"),
        ("docker login -u ada -p abc registry", f"docker login -u ada -p {MASK} registry"),
        ("docker run -p 80:80 -v /a:/b image", "docker run -p 80:80 -v /a:/b image"),
        ("mongodump --username ada -p abc --db shop", f"mongodump --username ada -p {MASK} --db shop"),
        ("ldapsearch -D cn=shop -w abc -b dc=x", f"ldapsearch -D cn=shop -w {MASK} -b dc=x"),
        ("zip -r -P abc out.zip /srv", f"zip -r -P {MASK} out.zip /srv"),
        ("unzip -P abc in.zip", f"unzip -P {MASK} in.zip"),
        ("7z a -pabc out.7z /srv", f"7z a -p{MASK} out.7z /srv"),
        ("lftp -u ada,abc ftp://host", f"lftp -u ada,{MASK} ftp://host"),
        ("htpasswd -b /etc/htpasswd ada abc", f"htpasswd -b /etc/htpasswd ada {MASK}"),
        ("htpasswd -c /etc/htpasswd ada", "htpasswd -c /etc/htpasswd ada"),
        ("openssl rsa -passin pass:abc -in key.pem", f"openssl rsa -passin pass:{MASK} -in key.pem"),
        ("vault login -no-store abc", f"vault login -no-store {MASK}"),
        ("aws configure set aws_secret_access_key abc", f"aws configure set aws_secret_access_key {MASK}"),
        ("aws configure set region eu-central-1", "aws configure set region eu-central-1"),
        ("mkdir -p /srv/shop && cp -p a b", "mkdir -p /srv/shop && cp -p a b"),
        ("env npm_config_useragentstring_x npm_command", "env npm_config_useragentstring_x npm_command"),
    ],
)  # fmt: skip
def test_a_command_line_is_shown_without_its_secrets(line: str, shown: str) -> None:
    """What was never a setting is known by its form alone, however short it is."""
    assert without_secrets_in(line) == shown


def test_arguments_are_shown_without_their_secrets() -> None:
    given = {"user": "ada", "password": "abc", "auth": {"token": "t"}, "to": ["redis://:x@cache"], "count": 3}

    shown = without_secrets_of(given)

    assert shown == {
        "user": "ada",
        "password": MASK,
        "auth": {"token": MASK},
        "to": [f"redis://:{MASK}@cache"],
        "count": 3,
    }


@pytest.mark.parametrize("name", ["pwd", "Pwd", "PWD"])
def test_a_password_called_like_the_working_directory_is_masked(name: str) -> None:
    """ODBC and MySQL call it so; only shells keep a path there."""
    assert without_secrets_of({name: "correcthorse"}) == {name: MASK}
    assert hidden(name, "correcthorse").hide("a correcthorse b") == f"a {MASK} b"


@pytest.mark.parametrize("levels", [101, 940, 50_000])
def test_what_is_nested_without_end_is_shown_as_far_as_a_hundred_levels(levels: int) -> None:
    """A row that was written otherwise must not end a page."""
    value: object = "text"
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]

    shown = str(redaction.for_people(value))

    assert shown.count("[") + shown.count("{") == 100
    assert shown.count(MASK) == 1


def test_a_list_of_rows_reads_the_projects_secrets_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand rows with arguments would take half a minute; other settings are read at once."""
    reads: list[Redaction] = []
    monkeypatch.setattr(redaction, "_kept", None)
    monkeypatch.setattr(redaction, "RECENT_SECONDS", 3600.0)
    monkeypatch.setattr(redaction, "of_project", lambda: reads.append(of_project()) or reads[-1])

    with override_settings(SHOP_TOKEN="correct horse battery"):
        shown = [redaction.for_people({"note": f"{row} correct horse battery"}) for row in range(3)]
        once = len(reads)
    with override_settings(SHOP_TOKEN="another secret of the shop"):
        anew = redaction.for_people("another secret of the shop")

    assert shown == [{"note": f"{row} {MASK}"} for row in range(3)]
    assert (once, anew) == (1, MASK)
