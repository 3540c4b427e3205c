"""Subscriptions: an answer whenever it is another, until what is watched, or the right to see it, has ended."""

import asyncio
import json
from datetime import timedelta
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from django.test import AsyncClient, Client
from django.utils import timezone

from crm import tokens
from crm.graph import views
from crm.imports import running
from crm.imports.models import CustomerImport
from crm.models import CostBucket
from crons.contrib.graphql.schema import Watchers, streamed
from crons.models import Entry, Run

pytestmark = pytest.mark.django_db(transaction=True)
IMPORT = "subscription($id: ID!) { import(id: $id) { state rowsDone refusedRows { totalCount } } }"
RUN = "subscription($id: ID!) { cronsRun(id: $id) { state verdict job { name state } attempts { edges { cursor } } } }"
STREAM = {"Accept": "text/event-stream"}
PATIENCE_SECONDS = 60


@pytest.fixture(autouse=True)
def quick(monkeypatch, settings):
    """Look and beat often: what is waited for comes at once; with a budget, of which no event says what is left."""
    settings.CRM_COST_PER_MINUTE = 5_000
    monkeypatch.setattr(views, "WATCHERS", Watchers(every=0.01, most=3, most_of_one=2))
    monkeypatch.setattr(views, "streamed", partial(streamed, beat=0.05))


@pytest.fixture
def token():
    now = timezone.now()
    return tokens.issue("test", ["imports:read", "crons:read"], now + timedelta(days=1), now=now)[1]


@pytest.fixture
def file():
    return running.keep([b"name,email\nA,a@x.de\nB,b@x.de\n"], "new.csv", by="ada", now=timezone.now())


def id_of(row):
    from strawberry.relay.utils import to_base64

    return to_base64("CustomerImport", row.pk)


def run(steps):
    """Run the coroutine *steps*, and leave no connection of its threads."""

    async def whole():
        try:
            await asyncio.wait_for(steps, PATIENCE_SECONDS)
        finally:
            await sync_to_async(connections.close_all)()

    asyncio.run(whole())


async def ask(query, token=None, client=None, **variables):
    headers = STREAM | ({"Authorization": f"Bearer {token}"} if token else {})
    body = {"query": query, "variables": variables}
    return await (client or AsyncClient()).post("/graphql", body, content_type="application/json", headers=headers)


class Events:
    """The events of a response, one after the other."""

    def __init__(self, response):
        assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream")
        self.source = response._iterator  # Django's own around it does not close it
        self.pieces = aiter(response.streaming_content)

    async def next(self):
        """Give what the next event says; beats say nothing."""
        while (piece := (await anext(self.pieces)).decode()).startswith(":"):
            pass
        kind, data, *rest = piece.split("\n")
        assert rest == ["", ""]
        kind, data = kind.removeprefix("event: "), data.removeprefix("data:").strip()
        return json.loads(data) if kind == "next" else kind

    async def close(self):
        await self.source.aclose()


@sync_to_async
def change(row, **values):
    type(row).objects.filter(pk=row.pk).update(**values)


def told(state, done):
    return {"data": {"import": {"state": state, "rowsDone": done, "refusedRows": {"totalCount": 0}}}}


def test_import_is_told_of_until_it_has_ended(token, file):
    async def steps():
        events = Events(await ask(IMPORT, token, id=id_of(file)))
        assert await events.next() == told("WAITING", 0)
        await change(file, state="running", rows_done=1)
        assert await events.next() == told("RUNNING", 1)
        await change(file, started_by="somebody else")  # nothing that was asked for
        await change(file, state="done", rows_done=2)
        assert await events.next() == told("DONE", 2)
        assert await events.next() == "complete"
        with pytest.raises(StopAsyncIteration):
            await events.next()
        assert views.WATCHERS._looking is None

    run(steps())


def test_run_is_told_of_until_it_is_over_and_what_is_over_at_once(token):
    now = timezone.now()
    entry = Entry.objects.create(name="nightly", job="nightly", zone="UTC", first_seen_at=now, accounted_until=now)
    row = Run.objects.create(entry=entry, planned_at=now, recorded_at=now, state="waiting")

    async def steps():
        events = Events(await ask(RUN, token, id=str(row.pk)))
        first = (await events.next())["data"]["cronsRun"]
        assert (first["state"], first["job"]["name"], first["attempts"]) == ("WAITING", "nightly", {"edges": []})
        await change(row, state="done", verdict="succeeded", ended_at=now)
        assert (await events.next())["data"]["cronsRun"]["verdict"] == "SUCCEEDED"
        assert await events.next() == "complete"
        again = Events(await ask(RUN, token, id=str(row.pk)))
        assert [(await again.next())["data"]["cronsRun"]["state"], await again.next()] == ["DONE", "complete"]
        none = Events(await ask(RUN, token, id="123456"))
        assert [await none.next(), await none.next()] == [{"data": {"cronsRun": None}}, "complete"]

    run(steps())


def test_who_may_no_longer_see_it_is_told_so_and_no_more(token, file):
    """Though nothing of the import has changed."""

    async def steps():
        events = Events(await ask(IMPORT, token, id=id_of(file)))
        await events.next()
        await sync_to_async(tokens.revoke)(token[4:12])
        [error] = (await events.next())["errors"]
        assert error["extensions"] == {"code": "UNAUTHENTICATED"}
        assert await events.next() == "complete"

        client = AsyncClient()
        user = await sync_to_async(User.objects.create_superuser)("root")
        await client.aforce_login(user)
        events = Events(await ask(IMPORT, client=client, id=id_of(file)))
        assert await events.next() == told("WAITING", 0)
        await change(user, is_superuser=False)
        answer = await events.next()
        assert answer["data"] == {"import": None}
        assert answer["errors"][0]["extensions"] == {"code": "FORBIDDEN"}
        assert await events.next() == "complete"

        await change(user, is_superuser=True)
        events = Events(await ask(IMPORT, client=client, id=id_of(file)))
        assert await events.next() == told("WAITING", 0)
        await client.alogout()
        assert (await events.next())["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
        assert await events.next() == "complete"

    run(steps())


def test_as_many_watch_as_may_and_who_goes_makes_room(token, file):
    async def steps():
        streams = [Events(await ask(IMPORT, token, id=id_of(file))) for _ in range(2)]
        for each in streams:
            await each.next()
            await change(file, rows_done=1)
            await each.next()
        refused = await ask(IMPORT, token, id=id_of(file))
        assert (refused.status_code, refused["Retry-After"]) == (503, "30")
        assert refused.json()["errors"] == [
            {
                "message": "You watch 2 already, which is the most. End one first.",
                "extensions": {"code": "UNAVAILABLE"},
            }
        ]
        await streams[0].close()
        room = Events(await ask(IMPORT, token, id=id_of(file)))
        assert await room.next() == told("WAITING", 1)
        for each in (room, streams[1]):
            await each.close()
        assert views.WATCHERS.lacks_room("x") == ""

    run(steps())


def test_what_is_no_subscription_is_answered_once_and_what_is_wrong_as_without_a_stream(token, file):
    async def steps():
        events = Events(await ask("{ hello }", token))
        assert [await events.next(), await events.next()] == [{"data": {"hello": "Hello, GraphQL!"}}, "complete"]
        wrong = await ask("subscription { nothing }", token)
        assert (wrong.status_code, wrong["Content-Type"]) == (400, "application/json")
        two = await ask('subscription { a: import(id: "x") { pk } b: import(id: "x") { pk } }', token)
        assert two.status_code == 400
        refused = Events(await ask(IMPORT, id=id_of(file)))
        answer = await refused.next()
        assert answer["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
        assert await refused.next() == "complete"

    run(steps())


def test_a_stream_is_paid_for_once_and_does_not_begin_where_the_budget_is_spent(token, file, settings):
    async def steps():
        events = Events(await ask(IMPORT, token, id=id_of(file)))
        await events.next()
        paid = await CostBucket.objects.aget()
        await change(file, state="done", rows_done=2)
        assert [await events.next(), await events.next()] == [told("DONE", 2), "complete"]
        assert (await CostBucket.objects.aget()).whole_at == paid.whole_at
        settings.CRM_COST_PER_MINUTE = 1
        spent = await ask(IMPORT, token, id=id_of(file))
        assert (spent.status_code, json.loads(spent.content)["errors"][0]["extensions"]["code"]) == (
            429,
            "RATE_LIMITED",
        )

    run(steps())


def test_server_without_streams_says_what_to_do(token, file):
    body = {"query": IMPORT, "variables": {"id": id_of(file)}}
    headers = {"Authorization": f"Bearer {token}"}

    wsgi = Client().post("/graphql", body, content_type="application/json", headers=headers | STREAM)
    plain = Client().post("/graphql", body, content_type="application/json", headers=headers)

    assert wsgi.status_code == 501
    assert wsgi.json() == {
        "errors": [{"message": "Nothing is streamed by this server, which speaks WSGI. Run crm.asgi instead."}]
    }
    assert plain.json()["errors"][0]["message"] == "A subscription is streamed. Send Accept: text/event-stream."
    assert CustomerImport.objects.get().state == "waiting"


def test_client_that_goes_is_forgotten(token, file):
    """As the server tells it: its connection is closed."""
    from asgiref.testing import ApplicationCommunicator
    from django.core.handlers.asgi import ASGIHandler

    body = json.dumps({"query": IMPORT, "variables": {"id": id_of(file)}}).encode()
    headers = {
        b"host": b"testserver", b"content-type": b"application/json", b"content-length": str(len(body)).encode(),
        b"accept": b"text/event-stream", b"authorization": f"Bearer {token}".encode(),
    }  # fmt: skip
    scope = {
        "type": "http", "method": "POST", "path": "/graphql", "headers": list(headers.items()), "query_string": b"",
    }  # fmt: skip

    async def steps():
        server = ApplicationCommunicator(ASGIHandler(), scope)
        await server.send_input({"type": "http.request", "body": body})
        start = await server.receive_output(PATIENCE_SECONDS)
        first = await server.receive_output(PATIENCE_SECONDS)
        assert (start["status"], first["body"][:18]) == (200, b"event: next\ndata: ")
        while not (await server.receive_output(PATIENCE_SECONDS))["body"].startswith(b":"):
            pass
        assert views.WATCHERS._waiting
        await server.send_input({"type": "http.disconnect"})
        await server.wait(PATIENCE_SECONDS)
        assert not views.WATCHERS._waiting
        assert views.WATCHERS._looking is None

    run(steps())
