"""What every page is made of: refusals, the security policy, the navigation, and what is sent by POST."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.contrib.messages import get_messages
from django.contrib.messages.storage.fallback import FallbackStorage
from django.http import Http404, HttpResponse
from django.test import RequestFactory
from django.urls import NoReverseMatch, get_resolver, reverse

from crons.exceptions import InvalidSetting, LedgerUnavailable, Refused, UnknownJob
from crons.web import shell

pytestmark = pytest.mark.django_db


@pytest.fixture
def sam():
    """Staff who may look, and cancel."""
    user = User.objects.create_user("sam", is_staff=True)
    names = ["view_entry", "view_run", "cancel_run"]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return user


def asked(user, method="get", **given):
    """A request of *user*, with a place for messages."""
    headers = given.pop("headers", {})
    request = getattr(RequestFactory(), method)("/crons/runs/7?page=2", given, headers=headers)
    request.user, request.session = user, {}
    request._messages = FallbackStorage(request)
    request._dont_enforce_csrf_checks = True
    return request


def test_each_page_has_a_policy_without_anything_inline(client, sam):
    """What a job wrote stays text, also where escaping failed."""
    client.force_login(sam)

    policies = [client.get(address)["Content-Security-Policy"] for address in ("/crons/", "/crons/why", "/crons/?x")]

    assert len(set(policies)) == 1
    assert "unsafe" not in policies[0]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policies[0]
    assert "frame-ancestors 'none'" in policies[0]


def test_static_files_of_another_host_are_allowed(settings):
    """Else such a project's pages have no style."""
    settings.STATIC_URL = "https://static.example.com/here/"

    assert "style-src 'self' https://static.example.com;" in shell.policy()
    assert "connect-src 'self';" in shell.policy()


def test_navigation_leads_to_what_there_is_and_marks_where_one_is(client, sam):
    """A link to nowhere is worse than none."""
    client.force_login(sam)

    page = client.get("/crons/why").content.decode()

    nav = re.search(r"<nav.*?</nav>", page, re.DOTALL)[0]
    addresses = re.findall(r'href="([^"]+)"', nav)
    assert {"/crons/", "/crons/why", "/admin/"} <= set(addresses)
    assert [get_resolver().resolve(each) for each in addresses if each]
    assert re.findall(r'aria-current="page">([^<]+)<', nav) == ["Why?"]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (Http404("There is no run 7."), 404, "There is no run 7."),
        (UnknownJob("'x' is not declared."), 404, "is not declared."),
        (Refused("that is no moment."), 400, "that is no moment."),
        (LedgerUnavailable("the database did not answer: gone"), 503, "did not answer: gone"),
        (InvalidSetting("CRONS['KEEP'] is none."), 503, "is none."),
    ],
)
def test_what_cannot_be_told_is_a_page_that_says_why(sam, error, status, said):
    """A bare 404 or 500 sends people to guess."""

    @shell.page()
    def fails(request):
        raise error

    response = fails(asked(sam))

    assert response.status_code == status
    assert said in response.content.decode().replace("&#x27;", "'")
    assert "no-store" in response["Cache-Control"]


def test_part_that_refreshes_does_not_become_a_login():
    """A session that ended overnight would put a form into the table."""

    @shell.page()
    def shown(request):
        return HttpResponse("secret")

    polled = shown(asked(AnonymousUser(), headers={"HX-Request": "true"}))
    opened = shown(asked(AnonymousUser()))

    assert (polled.status_code, polled.content) == (401, b"You are logged out.")
    assert (opened.status_code, opened["Location"]) == (302, "/admin/login/?next=/crons/runs/7%3Fpage%3D2")


def test_act_needs_its_permission_and_a_post(sam):
    """Looking lends nothing."""

    @shell.action("crons.retry_run")
    def retry(request):
        return HttpResponse("done")

    refused = retry(asked(sam, "post"))

    assert refused.status_code == 403
    assert "Your account lacks the permission crons.retry_run." in refused.content.decode()
    assert retry(asked(sam)).status_code == 405
    location = retry(asked(AnonymousUser(), "post", next="/crons/runs/7"))["Location"]
    assert location == "/admin/login/?next=/crons/runs/7"


def test_act_says_what_became_of_it(sam):
    """On the page that it came from, and of no other site."""

    @shell.action("crons.cancel_run")
    def cancel(request):
        def do():
            return f"run 7: {shell.reason_of(request)}"

        return shell.act(request, do, shell.back_to(request, "/crons/"))

    requests = [
        asked(sam, "post", reason="too slow", next="/crons/runs/7"),
        asked(sam, "post", reason=" ", next="https://evil.example.com/"),
        asked(sam, "post", reason="x" * 201, next="//evil.example.com"),
        asked(sam, "post", reason="a\0b"),
    ]
    answers = [cancel(request)["Location"] for request in requests]

    assert answers == ["/crons/runs/7", "/crons/", "/crons/", "/crons/"]
    assert [str(message) for request in requests for message in get_messages(request)] == [
        "run 7: too slow",
        "Nothing was done: a reason is expected: whoever wonders later reads it.",
        "Nothing was done: the reason has 201 characters: expected at most 200, and no NUL.",
        "Nothing was done: the reason has 3 characters: expected at most 200, and no NUL.",
    ]


def test_form_of_another_site_does_nothing(sam):
    """Also in a project without the middleware."""

    @shell.action("crons.cancel_run")
    def cancel(request):
        return HttpResponse("done")

    forged = asked(sam, "post")
    forged._dont_enforce_csrf_checks = False

    assert cancel(forged).status_code == 403


def test_pages_stand_without_the_admin(client, sam, settings):
    """The navigation leaves its link out."""
    settings.ROOT_URLCONF = "tests.crons.urls_without_admin"
    client.force_login(sam)

    page = client.get("/crons/").content.decode()

    assert "/admin/" not in page
    assert 'aria-current="page">Now<' in page
    with pytest.raises(NoReverseMatch):
        reverse("admin:index")
