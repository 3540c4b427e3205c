"""One POST of a webhook: whatever the other side does, it ends in time, and goes only where it was looked at."""

import ssl
from ipaddress import ip_address, ip_network
from threading import Event, Timer

import pytest

from crm.webhooks import addresses
from crm.webhooks.addresses import AddressRefused, parse
from crm.webhooks.posting import Line, post

from .webhook_receiver import CERTIFICATE, PATIENCE_SECONDS


@pytest.mark.parametrize(
    ("path", "shown", "good"),
    [
        ("200", "answered 200", True),
        ("204", "answered 204", True),
        ("huge", "answered 200", True),
        ("500", "answered 500", False),
        ("410", "answered 410", False),
        ("slower", "answered 429", False),
        ("itself", "answered 302: redirects are not followed", False),
        ("304", "answered 304: redirects are not followed", False),
        ("middle", "no HTTP: BadStatusLine", False),
        ("garbage", "no HTTP: BadStatusLine", False),
    ],
)
def test_answer_is_what_its_status_says(receiver, path, shown, good):
    """Of the rest little is read, and nothing is followed."""
    answer = post(f"{receiver.url}/{path}", b"{}", {}, seconds=PATIENCE_SECONDS, line=Line())

    assert (str(answer), answer.is_good) == (shown, good)
    assert receiver.paths() == [f"/{path}"]
    assert len(answer.text) <= 1_000
    assert "\x1b" not in answer.text


@pytest.mark.parametrize("path", ["hang", "drip"])
def test_who_holds_the_line_ends_what_never_ends(receiver, path):
    """A read that gets a letter now and then would go on for ever."""
    line, asked = Line(), Event()
    act = getattr(receiver, f"_{path}")
    receiver.doing["asked"] = lambda handler: (asked.set(), act(handler))
    timer = Timer(0, lambda: asked.wait(PATIENCE_SECONDS) and line.cut())
    timer.start()

    answer = post(f"{receiver.url}/asked", b"{}", {}, seconds=PATIENCE_SECONDS, line=line)

    timer.join()
    assert (answer.status, answer.error) == (None, "no answer in time")


def test_line_that_was_cut_before_it_was_there_sends_nothing(receiver):
    """The name server took all of the time."""
    line = Line()
    line.cut()

    assert post(f"{receiver.url}/200", b"{}", {}, seconds=5, line=line).error == "no answer in time"
    assert receiver.asked == []


def test_nobody_there_and_no_tls_are_said_without_the_address(receiver, settings):
    answer = post("http://127.0.0.1:1/secret", b"{}", {}, seconds=5, line=Line())
    no_tls = post(f"https://127.0.0.1:{receiver.port}/secret", b"{}", {}, seconds=5, line=Line())

    assert answer.error == "Connection refused"
    assert no_tls.status is None
    assert "secret" not in answer.error + no_tls.error


@pytest.fixture
def names(monkeypatch):
    """What names stand for, in turn; the last one again and again."""
    stands_for, asked = {}, []

    def look_up(host, port, **given):
        asked.append(host)
        found = stands_for.get(host, [host])
        address = found.pop(0) if len(found) > 1 else found[0]
        return [(2, 1, 6, "", (address, port))]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", look_up)
    look_up.stands_for, look_up.asked = stands_for, asked
    return look_up


def test_tls_is_that_of_the_name_at_the_address_that_was_looked_at(receiver, names, monkeypatch):
    """SNI, certificate and Host say the name; the connection goes to the address."""
    names.stands_for["receiver.test"] = names.stands_for["other.test"] = ["127.0.0.1"]
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    url = f"https://receiver.test:{receiver.tls_port}/200"

    distrusted = post(url, b"{}", {}, seconds=PATIENCE_SECONDS, line=Line())
    monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
    answer = post(url, b"{}", {}, seconds=PATIENCE_SECONDS, line=Line())
    other = post(url.replace("receiver.test", "other.test"), b"{}", {}, seconds=PATIENCE_SECONDS, line=Line())

    assert distrusted.error == "certificate: self-signed certificate"
    assert str(answer) == "answered 200"
    assert other.error.startswith("certificate: Hostname mismatch")
    [(path, headers, _)] = receiver.asked
    assert (path, headers["host"]) == ("/200", f"receiver.test:{receiver.tls_port}")
    assert receiver.names[:2] == ["receiver.test"] * 2


def test_name_that_changes_its_address_leads_nowhere_else(receiver, names, settings):
    """DNS rebinding: public when it is looked at, the loopback when it is connected to. It is asked once."""
    settings.CRM_WEBHOOK_NETWORKS = []
    settings.CRM_WEBHOOK_PORTS = frozenset({receiver.port, 80})
    names.stands_for["evil.test"] = ["127.0.0.1"]

    answer = post("http://evil.test/200", b"{}", {}, seconds=5, line=Line())

    assert answer.error == (
        "evil.test stands for 127.0.0.1, which is not public. "
        "CRM_WEBHOOK_NETWORKS names the networks that are allowed besides."
    )
    names.stands_for["evil.test"] = ["93.184.215.14", "127.0.0.1"]
    assert addresses.resolve(parse("http://evil.test/200")) == ["93.184.215.14"]
    assert (names.asked, receiver.asked) == (["evil.test"] * 2, [])


def test_one_private_address_among_public_ones_refuses_the_name(names, monkeypatch):
    """Else it would be a matter of luck which one is taken."""
    both = [(2, 1, 6, "", ("93.184.215.14", 443)), (10, 1, 6, "", ("fe80::1%eth0", 443, 0, 2))]
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: both)

    with pytest.raises(AddressRefused, match=r"^half\.test stands for fe80::1%eth0, which is not public\."):
        addresses.resolve(parse("https://half.test/"))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
        "100.127.255.255", "169.254.169.254", "168.63.129.16", "192.0.0.170", "192.0.2.1", "192.88.99.1", "198.18.0.1",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::",
        "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "5f00::1",
    ],
)  # fmt: skip
def test_address_that_is_not_anybodys_is_refused(address):
    assert not addresses.is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "172.32.0.1", "100.128.0.1", "2606:4700::1111"])
def test_public_address_is_taken(address):
    assert addresses.is_public(ip_address(address))


def test_network_of_the_settings_is_allowed_and_no_other(settings):
    """At any port, and without TLS: it is one's own."""
    settings.CRM_WEBHOOK_NETWORKS = [ip_network("10.1.0.0/16")]

    addresses.refuse("10.1.2.3", parse("http://inside:8080/"))
    with pytest.raises(AddressRefused, match="not public"):
        addresses.refuse("10.2.0.1", parse("https://inside/"))
    with pytest.raises(AddressRefused, match="not public"):
        addresses.refuse("::ffff:10.1.2.3", parse("https://inside/"))


@pytest.mark.parametrize(
    ("url", "ports", "problem"),
    [
        ("https://a.test:8443/", {443}, "Port 8443 is not allowed; CRM_WEBHOOK_PORTS has 443."),
        ("http://a.test/", {443}, "Port 80 is not allowed; CRM_WEBHOOK_PORTS has 443."),
        ("http://a.test:443/", {443}, "http:// is not allowed at port 443. Use https://."),
        ("http://a.test/", {80, 443}, None),
        ("https://a.test/", {443}, None),
    ],
)
def test_ports_are_those_of_the_settings(settings, url, ports, problem):
    settings.CRM_WEBHOOK_PORTS = frozenset(ports)

    if problem is None:
        addresses.refuse("8.8.8.8", parse(url))
        return
    with pytest.raises(AddressRefused) as refused:
        addresses.refuse("8.8.8.8", parse(url))
    assert str(refused.value) == problem


@pytest.mark.parametrize(
    "url",
    [
        "", "a.test", "//a.test", "ftp://a.test/", "https://", "https:///x", "https://user@a.test/", "https://a.test/#x",
        "https://:secret@a.test/", "https://a.test:0/", "https://a.test:99999/", "https://a.test:x/", "https://[::1/",
        "https://a b.test/", "https://a.test/\r\nX: y", "https://bücher.test/", "https://a.test/ü", "https://a..test@b/",
        "https://[v1.x]/", "https://-a.test/", "javascript:alert(1)", "https://a.test/" + "x" * 500,
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(url):
    with pytest.raises(AddressRefused) as refused:
        parse(url)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "localhost", "[::ffff:7f00:1]"])
def test_other_spellings_of_the_loopback_are_the_loopback(host):
    """What counts is what the system makes of them."""
    answer = post(f"https://{host}/", b"{}", {}, seconds=5, line=Line())

    assert "not public" in answer.error or "stands for" in answer.error or "Name" in answer.error
    assert answer.status is None
