"""System checks for projects that come from django-cron."""

import pytest

from crons import checks
from crons.jobs import job
from crons.schedules import every
from crons.sources.base import NOT_IMPORTED
from tests.crons import cronjobs
from tests.crons.checking import declared, found, installed, only, told, well

__all__ = ["declared", "installed", "well"]
pytestmark = pytest.mark.usefixtures("empty_registry", "well")
HERE = "tests.crons.cronjobs"


def test_class_that_does_not_exist_is_an_error(settings):
    """The same for CRON_CLASSES."""
    settings.CRON_CLASSES = ["tests.contrib.django_cron.cron_classes.CloseOrder"]

    told(
        "CRON_CLASSES[0] names 'tests.contrib.django_cron.cron_classes.CloseOrder', which cannot be imported: "
        'Module "tests.contrib.django_cron.cron_classes" does not define a "CloseOrder" attribute/class.',
        NOT_IMPORTED,
    )
    assert only().id == "crons.W072"


def test_class_that_disagrees_with_the_code_is_an_error(settings):
    """Both schedules, and where each stands."""
    job(every(minutes=5), name="shop.close_orders")(cronjobs.beat)
    settings.CRON_CLASSES = ["tests.contrib.django_cron.cron_classes.CloseOrders"]

    told(
        f"shop.close_orders is on two schedules: 'every 300s' in {HERE}.beat, 'every 3600s' in CRON_CLASSES[0] "
        "tests.contrib.django_cron.cron_classes.CloseOrders.",
        "Write the same schedule in both places; the code's decides which slots there are.",
    )
    assert only().id == "crons.W032"


def test_class_says_something_that_nothing_reads_is_a_warning(settings):
    """One for each."""
    settings.CRON_CLASSES = ["tests.contrib.django_cron.cron_classes.Mails"]

    assert [message.id for message in found()] == ["crons.W037", "crons.W037"]


@pytest.mark.parametrize(
    ("names", "has"),
    [
        (("crons.contrib.django_cron", "django_cron"), "stands in for it"),
        (("django_cron",), "runs its classes through the ledger"),
    ],
)
def test_django_cron_as_an_app_is_a_warning(installed, names, has):
    """Its runcrons runs classes past the ledger, where it runs at all."""
    installed(*names)

    told(
        f"django_cron is in INSTALLED_APPS, and crons.contrib.django_cron {has}.",
        "Put 'crons.contrib.django_cron' first in INSTALLED_APPS, and take 'django_cron' away.",
    )
    assert only().id == "crons.W038"


@pytest.mark.parametrize("name", ["CRON_CLASES", "CRONCLASSES"])
def test_setting_nearly_called_cron_classes_is_a_warning(settings, name):
    """Nothing complains, nothing runs."""
    setattr(settings, name, [])

    text = f"settings.{name} is nearly CRON_CLASSES, and nothing reads it: its classes are never run."
    told(text, "Rename it to CRON_CLASSES.")
    assert only().id == "crons.W033"


@pytest.mark.parametrize(("classes", "is_read"), [(7, False), (None, False), (["shop.named.Tidy"], True)])
def test_a_setting_of_another_form_does_not_end_the_check_of_modules(settings, monkeypatch, tmp_path, classes, is_read):
    """Other checks say what is wrong with it; before, `manage.py check` ended in a TypeError."""
    for name in ("tasks", "named"):
        tmp_path.joinpath(f"{name}.py").write_text("import crons\n\ncrons.command('clearsessions')\n")
    modules = [(f"shop.{file.stem}", file) for file in tmp_path.iterdir()]
    settings.CRON_CLASSES = classes
    monkeypatch.setattr(checks.asking, "is_asked_for", lambda: True)
    monkeypatch.setattr(checks.elsewhere, "is_asked_for", lambda: True)
    monkeypatch.setattr(checks.elsewhere, "_modules_of_project", lambda: modules)

    named = {each.msg.partition(" ")[0] for each in checks.check_elsewhere()}

    assert named == {"shop.tasks"} | (set() if is_read else {"shop.named"})
