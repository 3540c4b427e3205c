"""POST /crons/tick: who may have it look at the clock, what it answers, and what a web process never does."""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from standardwebhooks.webhooks import Webhook

from crons import api, ledger
from crons.conf import conf
from crons.conf.secrets import signing_key
from crons.dispatch import Dispatcher
from crons.exceptions import Disabled, LedgerUnavailable, NotAdopted
from crons.jobs import job
from crons.ledger import Agenda
from crons.models import Attempt, Entry, Run
from crons.schedules import cron
from crons.triggers import http, signature, started_tick
from tests.crons.conftest import NOON, minutes

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_registry")]
SECRET = "correct-horse-battery-staple-0123456789"
OTHER = "another-secret-of-the-right-length-98765"
NOTHING = {"recorded": 0, "written_off": 0, "sent": 0, "lost": 0, "parked": 0, "begins": "nothing to begin"}


@pytest.fixture(autouse=True)
def on(settings):
    """A secret is set, nothing is started, and it is five past noon."""
    settings.CRONS = {"HTTP_TICK": {"SECRET": SECRET, "STARTS": False}}


@pytest.fixture(autouse=True)
def at_five_past(monkeypatch):
    """The ledger's time."""
    monkeypatch.setattr("crons.ledger.transactions.now_in_tests", lambda: NOON + minutes(5))


@pytest.fixture(autouse=True)
def nothing_taken(monkeypatch):
    monkeypatch.setattr(http, "_taken", signature.Taken())


_ids = itertools.count()


def signed(body=b"", *, key=None, message_id=None, off=0):
    """The headers of a request that was signed *off* seconds from now."""
    stamp, message_id = str(int(time.time()) + off), message_id or f"msg_{next(_ids)}"
    return {
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": signature.sign(key or SECRET.encode(), message_id, stamp, body),
    }


def send(headers):
    """Send an empty body with *headers*."""
    return Client().post("/crons/tick", b"", content_type="text/plain", headers=headers)


def post(body=b"", *, secret=SECRET, off=0, client=None, content_type="application/json", **headers):
    given = signed(body, key=secret.encode(), off=off) | {
        key.replace("_", "-"): value for key, value in headers.items()
    }
    client = client or Client(enforce_csrf_checks=True)
    return client.post("/crons/tick", body, content_type=content_type, headers=given)


def told(answer):
    return {key: value for key, value in json.loads(answer.content).items() if key != "at"}


def test_a_request_vouches_for_what_this_code_declares(make_entry):
    """Where nothing else looks, another project's scheduler on this database must not call it undeclared."""
    make_entry("ours")
    make_entry("theirs")
    job(None, name="ours")(lambda: None)

    post()

    vouched = Entry.objects.filter(vouched_until=NOON + minutes(65))
    assert list(vouched.values_list("name", flat=True)) == ["ours"]
    assert vouched.get().declared_by.startswith("http on ")


# Whom it answers


@pytest.mark.parametrize("method", ["get", "post", "put"])
def test_without_a_secret_there_is_no_such_page(settings, method):
    """Off is as if it had never been installed."""
    settings.CRONS = {}

    answer = getattr(Client(), method)("/crons/tick")

    assert answer.status_code == 404
    assert "Allow" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_only_post_is_taken(method):
    """A crawler that follows a link fires nothing."""
    answer = Client().generic(method, "/crons/tick")

    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    if method != "HEAD":
        assert told(answer) == {"error": f"{method} was sent, and only POST is taken."}


MISSING = "The headers webhook-id, webhook-timestamp and webhook-signature are all needed."
NO_ID = "webhook-id is not 1 to 256 printable characters without a dot."
NO_NUMBER = "webhook-timestamp is no number of seconds since 1970."
WRONG = (
    "The signature does not match: expected v1, and in base64 the HMAC-SHA256 of the id, a dot, the timestamp, a dot "
    "and the body, keyed with this host's secret."
)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"webhook_id": ""}, MISSING),
        ({"webhook_timestamp": ""}, MISSING),
        ({"webhook_signature": ""}, MISSING),
        ({"webhook_id": "a.1766000000"}, NO_ID),
        ({"webhook_id": "x" * 257}, NO_ID),
        ({"webhook_id": "two words"}, NO_ID),
        ({"webhook_id": "\u202eid"}, NO_ID),
        ({"webhook_timestamp": "noon"}, NO_NUMBER),
        ({"webhook_timestamp": "-5"}, NO_NUMBER),
        ({"webhook_timestamp": "1e9"}, NO_NUMBER),
        ({"webhook_timestamp": "9" * 5000}, NO_NUMBER),
        ({"webhook_timestamp": "1766000000"}, WRONG),
        ({"webhook_id": "another"}, WRONG),
        ({"webhook_signature": "v1,"}, WRONG),
        ({"webhook_signature": "v1"}, WRONG),
        ({"webhook_signature": "v1," + "A" * 43 + "="}, WRONG),
        ({"webhook_signature": "v1,\xe9\xff v1a,\u202e  v2,x"}, WRONG),
    ],
)
def test_who_cannot_sign_is_refused_before_the_database_is_asked(headers, why, django_assert_num_queries):
    """Whatever stands in the headers; nothing is told but what is expected."""
    with django_assert_num_queries(0):
        answer = post(**headers)

    assert (answer.status_code, told(answer)) == (401, {"error": why})
    assert answer["WWW-Authenticate"] == "Standard-Webhooks"


def test_a_signature_of_another_secret_or_another_body_is_wrong():
    """Both are in it."""
    other = Client().post("/crons/tick", b"two", content_type="text/plain", headers=signed(b"one"))

    assert (other.status_code, told(other)) == (401, {"error": WRONG})
    assert post(secret=OTHER).status_code == 401


KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (f"whsec_{base64.b64encode(KEY).decode()}", f"whsec_{base64.b64encode(KEY).decode()}"),
        (f"whsec_{base64.b64encode(KEY).decode().rstrip('=')}", f"whsec_{base64.b64encode(KEY).decode()}"),
        (SECRET, SECRET.encode()),  # a text of no such form is a key as it stands
    ],
)
def test_the_library_of_standard_webhooks_signs_and_verifies_the_same(settings, secret, key):
    """Whoever calls from another language has one of the format's libraries."""
    settings.CRONS = {"HTTP_TICK": {"SECRET": [OTHER, secret], "STARTS": False}}
    library, body = Webhook(key), '{"at": "noon"}'
    now = datetime.now(UTC)
    theirs = {
        "webhook-id": "msg_of_theirs",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": library.sign("msg_of_theirs", now, body),
    }
    ours = signed(body.encode(), key=signing_key(secret, ""))

    answer = Client().post("/crons/tick", body, content_type="application/json", headers=theirs)

    assert answer.status_code == 200
    assert library.verify(body, ours) == {"at": "noon"}


def test_one_of_several_signatures_is_enough():
    """A sender that changes its key signs with both."""
    given = signed()
    given["webhook-signature"] = f"v1a,x v1,AAAA {given['webhook-signature']}"

    assert send(given).status_code == 200


def bearing(token, *, secure=True, scheme="Bearer"):
    """What a scheduler of a cloud sends, which can sign nothing."""
    headers = {"Authorization": f"{scheme} {token}"}
    return Client(enforce_csrf_checks=True).post("/crons/tick", secure=secure, headers=headers)


def accepts_the_cloud(token, request):
    """A hook as a project writes it; what it returns is taken for a yes only where it is True."""
    if token == "broken":
        raise LookupError("the keys of the issuer cannot be fetched")
    return {"a token of the cloud": True, "truthy": "yes"}.get(token, False)


NO_HTTPS = (
    "A token is taken over HTTPS only. Behind a proxy that ends HTTPS, Django's SECURE_PROXY_SSL_HEADER says that the "
    "request came so; without HTTPS, sign the request."
)


def test_who_cannot_sign_sends_the_secret_itself_over_https(make_entry, settings):
    settings.CRONS = {"HTTP_TICK": {"SECRET": [SECRET, OTHER], "STARTS": False}}
    make_entry()

    answers = [bearing(SECRET), bearing(OTHER, scheme="bearer")]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert told(answers[0])["recorded"] == 1


@pytest.mark.parametrize("token", ["", SECRET[:-1], SECRET + "x", "\xff\xfe"])
def test_another_token_is_refused_before_the_database_is_asked(token, django_assert_num_queries):
    with django_assert_num_queries(0):
        answer = bearing(token)

    assert (answer.status_code, told(answer)) == (401, {"error": "The token is none of this host's secrets."})
    assert answer["WWW-Authenticate"] == "Bearer"


def test_without_https_a_token_is_refused_unread(settings):
    settings.CRONS = {"HTTP_TICK": {"SECRET": SECRET, "VERIFY": f"{__name__}.accepts_the_cloud"}}

    for token in (SECRET, "a token of the cloud"):
        answer = bearing(token, secure=False)
        assert (answer.status_code, told(answer)) == (401, {"error": NO_HTTPS})


def test_another_scheme_is_no_token():
    assert told(bearing(SECRET, scheme="Basic")) == {"error": MISSING}


@pytest.mark.parametrize(
    ("token", "status", "error"),
    [
        ("a token of the cloud", 200, None),
        ("truthy", 401, "The token was refused by CRONS['HTTP_TICK']['VERIFY']."),
        ("of somebody else", 401, "The token was refused by CRONS['HTTP_TICK']['VERIFY']."),
        ("broken", 401, "The token could not be verified; this host's log says why."),
    ],
)
def test_a_hook_of_the_project_says_which_tokens_are_good(settings, token, status, error, caplog):
    """Without a secret, too: the page is open to those tokens alone."""
    settings.CRONS = {"HTTP_TICK": {"STARTS": False, "VERIFY": f"{__name__}.accepts_the_cloud"}}

    answer = bearing(token)

    assert answer.status_code == status
    assert told(answer).get("error") == error
    assert ("the keys of the issuer" in caplog.text) == (token == "broken")
    assert post().status_code == 401


@pytest.mark.parametrize("path", ["shop.no_such.hook", f"{__name__}.SECRET", "hook"])
def test_a_hook_that_cannot_be_called_opens_nothing(settings, path):
    settings.CRONS = {"HTTP_TICK": {"SECRET": SECRET, "VERIFY": path}}

    [problem] = conf.problems()

    assert problem.startswith(f"CRONS['HTTP_TICK']['VERIFY'] is {path!r}, expected the dotted path of a function")
    assert bearing(SECRET).status_code == post().status_code == 503


def test_every_secret_is_compared_to_its_end(settings, monkeypatch):
    """How long a refusal takes tells nothing."""
    settings.CRONS = {"HTTP_TICK": {"SECRET": [SECRET, OTHER]}}
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(signature.hmac, "compare_digest", lambda a, b: compared.append(len(a)) or real(a, b))

    assert post().status_code == 200

    assert compared == [47, 47]


@pytest.mark.parametrize(("off", "side"), [(-400, "behind"), (400, "ahead of")])
def test_a_wrong_clock_is_told_apart_from_a_wrong_secret(off, side):
    """Only to who has the secret."""
    answer = post(off=off)

    assert answer.status_code == 401
    why = told(answer)["error"]
    assert why.startswith("The timestamp is ")
    assert f" s {side} this host's clock (20" in why
    assert why.endswith("and 300 s are allowed: set the clock that is wrong, and sign each request anew.")
    assert post(off=off, secret=OTHER).json() == {"error": WRONG}


@pytest.mark.parametrize("off", [-280, 280])
def test_a_clock_that_is_a_little_wrong_is_good_enough(off):
    """Five minutes either way."""
    assert post(off=off).status_code == 200


def test_secrets_are_changed_without_a_gap(settings, tmp_path):
    """Add the new one, change the callers, take the old one away; the file is read at each request."""
    file = tmp_path / "secrets"
    file.touch(mode=0o600)
    file.write_text(f"{SECRET}\n{OTHER}\n")
    settings.CRONS = {"HTTP_TICK": {"SECRET": file}}
    assert [post().status_code, post(secret=OTHER).status_code] == [200, 200]

    file.write_text(f"{OTHER}\n")

    assert [post().status_code, post(secret=OTHER).status_code] == [401, 200]


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("short", "CRONS['HTTP_TICK']['SECRET'] has a secret of 5 characters, expected at least 32, as"),
        (SECRET + "\n", "CRONS['HTTP_TICK']['SECRET'] has a secret with a blank or a line break in it,"),
        (SECRET.encode(), "CRONS['HTTP_TICK']['SECRET'] is neither a text, nor a pathlib.Path, nor a list of them."),
        (__file__, "CRONS['HTTP_TICK']['SECRET'] has the path of a file as a text: make it a pathlib.Path."),
        ([SECRET, None], "CRONS['HTTP_TICK']['SECRET'] is neither a text, nor a pathlib.Path, nor a list of them."),
        ("whsec_" + SECRET, "CRONS['HTTP_TICK']['SECRET'] has a secret that begins with whsec_, and what follows is"),
        ("whsec_" + "Q" * 28, "CRONS['HTTP_TICK']['SECRET'] has a secret that begins with whsec_, and what follows is"),
    ],
)
def test_a_secret_that_cannot_work_is_refused_without_being_shown(settings, caplog, secret, said):
    """At start, and by the page, which is not open either."""
    settings.CRONS = {"HTTP_TICK": {"SECRET": secret}}

    [problem] = conf.problems()
    answer = post()

    assert problem.startswith(said)
    assert answer.status_code == 503
    assert told(answer) == {
        "error": "The settings of this page cannot be used; this host's log and manage.py check say why."
    }
    assert SECRET not in problem + answer.content.decode() + caplog.text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (SECRET, "CRONS['HTTP_TICK'] is no dict, expected {'SECRET': …, 'STARTS': …, 'VERIFY': …}."),
        ({SECRET}, "CRONS['HTTP_TICK'] is no dict, expected {'SECRET': …, 'STARTS': …, 'VERIFY': …}."),
        (
            {"SECRETS": SECRET},
            "CRONS['HTTP_TICK']['SECRETS'] is unknown. Did you mean 'SECRET'? Known: SECRET, STARTS, VERIFY.",
        ),
        ({SECRET: True}, "CRONS['HTTP_TICK'][…] is unknown. Known: SECRET, STARTS, VERIFY."),
        (
            {"SECRET": SECRET, "STARTS": SECRET},
            "CRONS['HTTP_TICK']['STARTS'] is a str, expected True or False.",
        ),
        (
            {"SECRET": SECRET, "VERIFY": [SECRET]},
            "CRONS['HTTP_TICK']['VERIFY'] is a list, expected the dotted path of a function as a text.",
        ),
    ],
)
def test_a_setting_of_another_form_is_refused_without_being_shown(settings, caplog, given, said):
    settings.CRONS = {"HTTP_TICK": given}

    problems, answer = conf.problems(), post()

    assert problems == [said]
    assert answer.status_code == 503
    assert SECRET not in answer.content.decode() + caplog.text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_read_does_not_open_the_page(settings, tmp_path, mode):
    """Whoever knows the secret may have this machine work as often as it likes."""
    file = tmp_path / "secrets"
    file.write_text(SECRET)
    file.chmod(mode)
    settings.CRONS = {"HTTP_TICK": {"SECRET": file}}

    [problem] = conf.problems()

    assert (
        f"{file} has mode {mode:04o}, so that other accounts can read or change it. Run: chmod 600 {file};" in problem
    )
    assert SECRET not in problem
    assert post().status_code == 503


def test_a_credential_of_systemd_is_taken(settings, tmp_path, monkeypatch):
    """It is lent by an access list, whose mask shows as the rights of a group."""
    file = tmp_path / "secrets"
    file.write_text(SECRET)
    file.chmod(0o440)
    settings.CRONS = {"HTTP_TICK": {"SECRET": file}}
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert post().status_code == 200


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read: [Errno 2]"), ("\n\n", "is empty, expected")])
def test_a_file_without_a_secret_does_not_open_the_page(settings, tmp_path, content, said):
    """Nor does it close it silently."""
    file = tmp_path / "secrets"
    if content is not None:
        file.touch(mode=0o600)
        file.write_text(content)
    settings.CRONS = {"HTTP_TICK": {"SECRET": file}}

    [problem] = conf.problems()

    assert problem.startswith(f"CRONS['HTTP_TICK']['SECRET']: the file {file} {said}")
    assert post().status_code == 503


# What it takes


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_the_body_is_signed_and_not_read(content_type):
    """Services send what they like; {not json} is as good as nothing."""
    assert post(b"a=1&b={not json}\xff", content_type=content_type).status_code == 200


def test_a_huge_body_is_refused_before_it_is_read(monkeypatch):
    """By what its length says, or else at the byte that is too many."""
    longest = b"x" * 4096
    assert post(longest).status_code == 200

    answer = post(longest + b"x")

    assert (answer.status_code, told(answer)) == (413, {"error": "The body is longer than 4096 bytes. None is needed."})
    lying = Client().post("/crons/tick", b"", content_type="text/plain", CONTENT_LENGTH=str(10**12))
    assert lying.status_code == 413


def test_no_session_no_cookie_no_login_and_no_cache(settings):
    """A machine asks; pages that demand a login for everything must not stand in its way."""
    settings.SESSION_SAVE_EVERY_REQUEST = True
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]

    answer = post()

    assert answer.status_code == 200
    assert answer.cookies == {}
    assert "no-store" in answer["Cache-Control"]
    assert answer["Content-Type"] == "application/json"


# What it does


def test_it_records_what_is_due_and_begins_nothing(make_entry):
    """A web process has threads, from which no job may be forked."""
    make_entry("one")
    make_entry("two")

    answer = post()

    assert answer.json() == {
        **NOTHING,
        "at": "2026-03-02T12:05:00+00:00",
        "recorded": 2,
        "begins": "nobody here: CRONS['HTTP_TICK']['STARTS'] is False",
    }
    assert sorted(Run.objects.values_list("entry__name", "state", "trigger")) == [
        ("one", "due", "http"),
        ("two", "due", "http"),
    ]
    assert not Attempt.objects.exists()


def test_it_waits_for_the_moment_that_its_own_clock_says_has_come(monkeypatch):
    """As crons tick does: who calls at the full minute means that minute."""
    order = []
    real = Dispatcher.turn
    monkeypatch.setattr(http, "wait_for_boundary", lambda agenda: order.append(agenda.now))
    monkeypatch.setattr(Dispatcher, "turn", lambda self: order.append("turn") or real(self))

    post()

    assert order == [NOON + minutes(5), "turn"]


REPEATED = "This very request was taken already: sign each with the time at which it is sent."


def test_the_same_request_again_is_refused(make_entry):
    """Whoever has overheard one gains nothing, not even work for this host."""
    make_entry()
    headers = signed()

    answers = [send(headers) for _ in range(3)]

    assert [each.status_code for each in answers] == [200, 409, 409]
    assert told(answers[1]) == {"error": REPEATED}
    assert Run.objects.count() == 1


def test_who_sends_an_id_again_with_a_new_time_is_answered():
    """As Standard Webhooks has a sender try again that got no answer."""
    answers = [send(signed(message_id="one", off=off)) for off in (-2, -1, 0)]

    assert [each.status_code for each in answers] == [200, 200, 200]


def test_a_request_that_came_to_nothing_may_be_repeated(monkeypatch):
    """curl --retry sends the same bytes again."""
    headers = signed()
    with monkeypatch.context() as patch:
        patch.setattr("crons.ledger.permit", raises(LedgerUnavailable("gone")))
        assert send(headers).status_code == 503

    assert send(headers).status_code == 200


def test_what_was_taken_is_forgotten_when_its_signature_is_too_old(monkeypatch):
    """The memory is as long as the tolerance, and bounded whoever has the secret."""
    monkeypatch.setattr(signature.Taken, "LONGEST", 3)
    taken = signature.Taken()
    old = signed(off=-signature.TOLERANCE_SECONDS - 1)

    assert [taken.claim(old), taken.claim(old)] == [True, True]
    several = [signed() for _ in range(4)]
    assert [taken.claim(each) for each in several] == [True] * 4
    assert len(taken._until) == 3
    assert [taken.claim(each) for each in several[1:]] == [False] * 3


def test_it_sends_what_others_run(make_entry, settings):
    """And waits a moment for that: the process may be put to sleep when it has answered."""
    job(cron("0 * * * *"), name="away", executor="post")(lambda: None)
    backend = {"BACKEND": "tests.crons.test_send.Post", "OPTIONS": {}}
    settings.CRONS = {**settings.CRONS, "EXECUTORS": {"post": backend}}
    make_entry("away", executor="post")

    assert told(post()) == {**NOTHING, "recorded": 1, "sent": 1}

    assert Run.objects.get().state == "sent"


def test_a_look_that_failed_sends_what_it_promised_and_leaves_no_thread(make_entry, led, settings, monkeypatch):
    """This process answers for months: a thread for each minute without a database would fill it."""
    job(cron("0 * * * *"), name="away", executor="post")(lambda: None)
    settings.CRONS = {**settings.CRONS, "EXECUTORS": {"post": {"BACKEND": "tests.crons.test_send.Post", "OPTIONS": {}}}}
    make_entry("away", executor="post")
    make_entry()
    led.record(NOON + minutes(5))
    led.begin(NOON + minutes(5))
    Attempt.objects.update(lease_until=NOON, boot_id="another")
    monkeypatch.setattr("crons.dispatch.watch.inspect", raises(LedgerUnavailable("gone")))

    assert post().status_code == 503

    assert Run.objects.get(entry__name="away").state == "sent"
    assert [each.name for each in threading.enumerate() if each.name == "crons-post"] == []


def test_it_finds_what_is_lost(make_entry, led, instance):
    """Where HTTP is the only trigger, nobody else would."""
    make_entry()
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))
    Attempt.objects.update(lease_until=NOON, boot_id="another")

    assert told(post())["lost"] == 1

    assert Attempt.objects.get(pk=begun.attempt).outcome == "lost"


@pytest.mark.django_db(transaction=True)
def test_atomic_requests_do_not_put_it_into_one_transaction(monkeypatch):
    """What was recorded must last even if the answer does not."""
    inside = []
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    real = Dispatcher.turn
    monkeypatch.setattr(Dispatcher, "turn", lambda self: inside.append(connection.in_atomic_block) or real(self))

    assert post().status_code == 200

    assert inside == [False]


def raises(error):
    def instead(*args, **kwargs):
        raise error

    return instead


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (LedgerUnavailable("the database did not answer: gone"), "30"),
        (Disabled("it is off"), None),
        (NotAdopted("this database was adopted by another deployment"), None),
    ],
)
def test_what_keeps_it_from_looking_is_said(monkeypatch, error, again):
    """503, so that whoever calls tells somebody."""
    monkeypatch.setattr("crons.ledger.permit", raises(error))

    answer = post()

    assert (answer.status_code, told(answer)) == (503, {"error": str(error)})
    assert answer.headers.get("Retry-After") == again


def test_in_a_test_suite_it_is_refused_as_every_scheduler(monkeypatch):
    """A project's own tests may post to it."""
    monkeypatch.setenv("CRONS_IN_TESTS", "1")

    answer = post()

    assert answer.status_code == 503
    assert "belongs to a test suite" in told(answer)["error"]


# One at a time


def test_one_request_looks_at_a_time(monkeypatch):
    """The next waits a little, and is told to come back."""
    monkeypatch.setattr(http, "PATIENCE_SECONDS", 0.01)
    with http._looking:
        answer = post()

    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert told(answer) == {"error": "Another request is looking at the clock already."}
    assert post().status_code == 200


def test_requests_that_wait_do_not_take_all_threads():
    """Four at most, whoever replays what."""
    for _ in range(4):
        assert http._places.acquire(blocking=False)
    try:
        answer = post()
    finally:
        http._places.release(4)

    assert answer.status_code == 503
    assert told(answer) == {"error": "Several requests wait for one that looks at the clock already."}
    assert post().status_code == 200


def test_a_request_that_failed_leaves_the_place_free(monkeypatch):
    """Also where what failed was nobody's mistake of ours."""
    with monkeypatch.context() as patch:
        patch.setattr(Dispatcher, "turn", raises(ZeroDivisionError()))
        for _ in range(6):
            with pytest.raises(ZeroDivisionError):
                post()

    assert post().status_code == 200


# Who begins it


class Started:
    """A `crons tick` that runs until *is_over*."""

    pid = 4711

    def __init__(self, calls):
        self.calls, self.is_over = calls, False

    def __call__(self, command, **options):
        self.calls.append((command, options))
        self.is_over = False
        return self

    def poll(self):
        return 0 if self.is_over else None


@pytest.fixture
def started(monkeypatch, settings):
    """What is started instead of `crons tick`."""
    settings.CRONS = {"HTTP_TICK": {"SECRET": SECRET}}
    monkeypatch.setattr(started_tick, "_started", [])
    made = Started([])
    monkeypatch.setattr(subprocess, "Popen", made)
    return made


def test_what_runs_here_is_begun_by_a_process_of_its_own(make_entry, started):
    """One at a time, with this process's settings, detached from the web server."""
    make_entry()

    answers = [told(post())["begins"] for _ in range(2)]
    started.is_over = True
    answers.append(told(post())["begins"])

    assert answers == [
        "crons tick, started now (pid 4711)",
        "crons tick, running since an earlier request (pid 4711)",
        "crons tick, started now (pid 4711)",
    ]
    (command, options), _ = started.calls
    assert command == [sys.executable, "-m", "django", "crons", "tick", "--while-busy"]
    assert options["start_new_session"] is True
    assert options["env"]["DJANGO_SETTINGS_MODULE"] == os.environ["DJANGO_SETTINGS_MODULE"]
    assert SECRET not in str(options["env"])


def test_nothing_is_started_where_nothing_is_to_begin(started):
    """Most minutes are like that."""
    assert told(post()) == NOTHING

    assert started.calls == []


def test_a_scheduler_that_lives_begins_it(make_entry, started, monkeypatch):
    """Then HTTP is one more pair of eyes."""
    make_entry()
    monkeypatch.setattr(api, "schedulers", lambda: [type("Beat", (), {"host": "web-1"})])

    assert told(post())["begins"] == "the scheduler on web-1"

    assert started.calls == []


def test_a_process_that_cannot_be_started_is_said(make_entry, started, monkeypatch):
    """The slot is recorded all the same."""
    make_entry()
    monkeypatch.setattr(subprocess, "Popen", raises(OSError(12, "Cannot allocate memory")))

    answer = told(post())

    assert answer["begins"] == "nobody here: crons tick could not be started: Cannot allocate memory"
    assert answer["recorded"] == 1


def test_inside_uwsgi_the_interpreter_is_found(monkeypatch):
    """There sys.executable is uWSGI, which would start another web server."""
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")

    assert started_tick._python() == f"{sys.prefix}/bin/python3"


def test_alerts_that_wait_are_reason_enough_to_start(started, monkeypatch):
    """With Celery everywhere, nobody else may be there to send a mail."""
    quiet = Agenda(NOON, None, None, None, None, None, None, NOON - timedelta(minutes=1), open_incidents=True)
    monkeypatch.setattr(ledger, "agenda", lambda now=None: quiet)

    assert started_tick.see_that_it_begins() == "crons tick, started now (pid 4711)"
