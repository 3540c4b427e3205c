"""What a browser may load and run on our pages: what comes from here, and no script that stands in a page."""

import json
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone

from crm import csp, demo
from crm.models import Customer
from crons.models import Entry
from tests.crons.test_in_the_browser import chromium  # noqa: F401 (a fixture)

POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
COLLECT = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""


@pytest.mark.parametrize("path", ["/admin/login/", "/graphql", "/crons/", "/nowhere", "/static/admin/css/base.css"])
def test_every_answer_has_the_policy(db, client, path):
    answer = client.post(path, "{}", content_type="application/json") if path == "/graphql" else client.get(path)

    if not path.startswith("/static/"):  # served before, and no page
        assert answer.headers[csp.HEADER] == POLICY


def test_the_policy_is_the_same_before_django_6():
    def view(request):
        return HttpResponse(headers={csp.HEADER: "default-src 'none'"} if request.own else {})

    answer = csp.middleware(view)

    assert answer(SimpleNamespace(own=False)).headers[csp.HEADER] == POLICY
    assert answer(SimpleNamespace(own=True)).headers[csp.HEADER] == "default-src 'none'"


@pytest.mark.needs("chromium")
@pytest.mark.django_db(transaction=True)
def test_no_page_of_ours_breaks_the_policy(chromium, live_server, client, settings):  # noqa: F811 (the fixture)
    """Of the CRM's admin, of crons' pages, and of the page to try GraphQL."""
    settings.DEBUG = True  # for that last one
    demo.create(customers=3, now=timezone.now(), seed=1)
    now = timezone.now()
    entry = Entry.objects.create(
        name="nightly",
        job="nightly",
        source="code",
        schedule="0 2 * * *",
        zone="UTC",
        first_seen_at=now,
        accounted_until=now,
    )
    client.force_login(User.objects.create_superuser("dana"))
    session = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}
    context = chromium.new_context()
    context.add_init_script(COLLECT)
    context.add_cookies([session])
    page = context.new_page()
    admin = [reverse(f"admin:{name}_changelist") for name in ("crm_customer", "crm_order", "crons_entry", "crons_run")]
    paths = [
        "/admin/",
        *admin,
        reverse("admin:crm_customer_change", args=[Customer.objects.all()[0].pk]),
        reverse("admin:crm_order_add"),
        reverse("admin:crons_entry_change", args=[entry.pk]),
        "/crons/",
    ]

    found = {}
    for path in paths:
        page.goto(f"{live_server.url}{path}", wait_until="networkidle")
        found[path] = page.evaluate("window.violations")
    page.goto(f"{live_server.url}/graphql", wait_until="networkidle")
    page.get_by_label("Execute query").click()
    page.get_by_label("Show Documentation Explorer").click()
    page.wait_for_selector(".graphiql-doc-explorer-content a:text('Subscription')")
    page.wait_for_selector(".result-window .CodeMirror-line:has-text('Hello')")
    answer = page.evaluate("document.querySelector('.result-window .CodeMirror').CodeMirror.getValue()")
    found["/graphql"] = page.evaluate("window.violations")
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    refused = page.evaluate("[window.ran, window.violations.length]")
    context.close()

    assert {path: told for path, told in found.items() if told} == {}
    assert json.loads(answer) == {"data": {"hello": "Hello, GraphQL!"}}
    assert refused == [None, 1]  # the policy is in force, and the collector sees what breaks it
