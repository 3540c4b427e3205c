"""The trigger http: whoever holds a secret, or a token, may have this web process look at the clock, by POST.

A request records what is due and sends what runs elsewhere; it never forks a job, because a web process has threads.
For what runs on this machine it starts `crons tick`, a process of its own that outlives the request, unless a
scheduler is there. Looking twice does nothing twice: a request that another process takes again is harmless.
"""

from __future__ import annotations

import hmac
import json
import threading
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from crons import ledger
from crons.conf import HttpTick, conf
from crons.dispatch import Dispatcher
from crons.exceptions import CronsError, InvalidSetting, LedgerUnavailable
from crons.hosts import Instance, refuse_schedulers
from crons.side_output import get_log
from crons.triggers.senders import make_senders
from crons.triggers.signature import Taken, why_not
from crons.triggers.started_tick import see_that_it_begins
from crons.triggers.tick import wait_for_boundary

log = get_log("crons")
LONGEST_BODY_BYTES = 4096
# One request looks at a time; two services that call at the same second are both answered.
PATIENCE_SECONDS = 5.0
_looking = threading.Lock()
_places = threading.BoundedSemaphore(4)
_taken = Taken()


@csrf_exempt
@login_not_required
@transaction.non_atomic_requests
@never_cache
def tick(request: HttpRequest) -> HttpResponse:
    """Record what is due and say how much; 404 unless CRONS["HTTP_TICK"] has a SECRET or VERIFY.

    The body is signed, and not read further: it may be empty, or whatever the caller's service insists on.
    """
    try:
        setting = conf.http_tick
    except InvalidSetting as error:
        log.error("POST /crons/tick is refused: %s", error, extra={"event": "tick.refused"})  # noqa: TRY400 (the sentence says all)
        return _refused(503, "The settings of this page cannot be used; this host's log and manage.py check say why.")
    if not setting.is_on:
        raise Http404
    if request.method != "POST":
        return _refused(405, f"{request.method} was sent, and only POST is taken.", Allow="POST")
    body = _body(request)
    if body is None:
        return _refused(413, f"The body is longer than {LONGEST_BODY_BYTES} bytes. None is needed.")
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        if why := _why_no_token(request, token.strip(), setting):
            return _refused(401, why, **{"WWW-Authenticate": "Bearer"})
        return _in_turn()
    if why := why_not(request.headers, body, setting.keys):
        return _refused(401, why, **{"WWW-Authenticate": "Standard-Webhooks"})
    return _once(request)


def _body(request: HttpRequest) -> bytes | None:
    """Read the body, of any type; None where it is too long, which is known before it has all been read."""
    try:
        if int(request.META.get("CONTENT_LENGTH") or 0) > LONGEST_BODY_BYTES:
            return None
        body = request.read(LONGEST_BODY_BYTES + 1)
    except (ValueError, OSError):
        return b""  # cut off, or of no length: no signature is right for that
    return None if len(body) > LONGEST_BODY_BYTES else bytes(body)


def _why_no_token(request: HttpRequest, token: str, setting: HttpTick) -> str:
    """Say why *token* does not open the page; empty where it does."""
    # Whoever reads it on the way can use it for ever, unlike a signature.
    if not request.is_secure():
        return (
            "A token is taken over HTTPS only. Behind a proxy that ends HTTPS, Django's SECURE_PROXY_SSL_HEADER says "
            "that the request came so; without HTTPS, sign the request."
        )
    # All are compared, each to its end: how long this takes tells nothing of how much was right.
    matches = [hmac.compare_digest(each.encode(), token.encode(errors="replace")) for each in setting.secrets]
    if any(matches):
        return ""
    if setting.verify is None:
        return "The token is none of this host's secrets."
    try:
        is_good = setting.verify(token, request) is True
    except Exception:
        log.exception(
            "CRONS['HTTP_TICK']['VERIFY'] failed; POST /crons/tick is refused", extra={"event": "tick.refused"}
        )
        return "The token could not be verified; this host's log says why."
    return "" if is_good else "The token was refused by CRONS['HTTP_TICK']['VERIFY']."


def _once(request: HttpRequest) -> HttpResponse:
    """Look, unless this very request has been answered."""
    if not _taken.claim(request.headers):
        return _refused(409, "This very request was taken already: sign each with the time at which it is sent.")
    answer = None
    try:
        answer = _in_turn()
    finally:
        if answer is None or answer.status_code != 200:
            _taken.release(request.headers)
    return answer


def _in_turn() -> HttpResponse:
    if not _places.acquire(blocking=False):
        return _refused(503, "Several requests wait for one that looks at the clock already.", **{"Retry-After": "5"})
    try:
        if not _looking.acquire(timeout=PATIENCE_SECONDS):
            return _refused(503, "Another request is looking at the clock already.", **{"Retry-After": "5"})
        try:
            return _answer(200, _look())
        finally:
            _looking.release()
    except LedgerUnavailable as error:
        return _refused(503, str(error), **{"Retry-After": "30"})
    except CronsError as error:
        return _refused(503, str(error))
    except DatabaseError as error:
        log.exception("POST /crons/tick: the database refused", extra={"event": "tick.refused"})
        return _refused(503, f"The database refused: {type(error).__name__}; this host's log says more.")
    finally:
        _places.release()


def _look() -> dict[str, Any]:
    refuse_schedulers()
    ledger.permit()
    wait_for_boundary(ledger.agenda())  # whoever calls at the full minute means that minute
    instance = Instance.start("http")
    try:
        dispatcher = Dispatcher("http", instance, {}, make_senders())
        try:
            done = dispatcher.turn()
            dispatcher.inspect_rules(done.agenda.now, "http")
        finally:
            dispatcher.publishers.finish()  # else its thread would wait in this process for ever
    finally:
        instance.stop()
    return {
        "at": done.agenda.now.isoformat(),
        **done.summary(dispatcher.publishers.sent),
        "begins": see_that_it_begins(),
    }


def _answer(status: int, content: dict[str, Any], **headers: str) -> HttpResponse:
    text = json.dumps(content, ensure_ascii=False) + "\n"
    return HttpResponse(text, status=status, content_type="application/json", headers=headers)


def _refused(status: int, why: str, **headers: str) -> HttpResponse:
    return _answer(status, {"error": why}, **headers)
