"""Guessing passwords at the admin's login: ten tries, and a pause for that name from that address alone."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/"


@pytest.fixture
def dana(db):
    return User.objects.create_superuser("dana", password="correct-horse-battery")


def enter(password, *, name="dana", address="192.0.2.1", **headers):
    given = {"username": name, "password": password}
    return Client(REMOTE_ADDR=address, headers=headers).post(LOGIN, given).status_code


def test_ten_wrong_passwords_close_the_login_for_a_while(dana):
    """429, also for the right one: else the answer would say which it was."""
    tries = [enter(f"guess-{number}") for number in range(10)]

    assert tries == [200] * 9 + [429]
    assert enter("correct-horse-battery") == 429


def test_nobody_else_is_locked_out(dana):
    """Neither the owner of the name elsewhere, nor others behind the same address."""
    User.objects.create_superuser("eve", password="another-horse-battery")
    for number in range(11):
        enter(f"guess-{number}")

    assert enter("correct-horse-battery", address="192.0.2.2") == 302
    assert enter("another-horse-battery", name="eve") == 302


def test_another_address_in_a_header_changes_nothing(dana):
    """Else each guess would come from an address of its own, or lock out the one that it names."""
    for number in range(11):
        last = enter(f"guess-{number}", **{"X-Forwarded-For": f"198.51.100.{number}"})

    assert last == 429
    assert enter("correct-horse-battery", address="198.51.100.3") == 302


def test_another_browser_changes_nothing(dana):
    """A guesser may call itself what it likes, at each guess anew."""
    for number in range(11):
        last = enter(f"guess-{number}", **{"User-Agent": f"browser {number}", "Accept": f"text/{number}"})

    assert last == 429


def test_a_name_without_end_is_refused_and_counted_like_any_other(dana):
    """PostgreSQL has room for 255 characters: a stranger's 9,000 ended in an error of the server, each time."""
    tries = [enter("guess", name="x" * 9_000) for _ in range(10)]

    assert tries == [200] * 9 + [429]
    assert enter("correct-horse-battery") == 302


def test_the_right_password_begins_anew(dana):
    for number in range(9):
        enter(f"guess-{number}")

    assert enter("correct-horse-battery") == 302
    assert [enter(f"guess-{number}") for number in range(9)] == [200] * 9
