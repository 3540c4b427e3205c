"""Classes that the tests' CRON_CLASSES lines name."""

from datetime import timedelta

from crons.contrib.django_cron.classes import CronJobBase, Schedule

calls: list[str] = []


class CloseOrders(CronJobBase):
    """Close what nobody will pay."""

    RUN_EVERY_MINS = 60
    schedule = Schedule(run_every_mins=RUN_EVERY_MINS, retry_after_failure_mins=5)
    code = "shop.close_orders"

    def do(self):
        calls.append(self.code)
        return "3 orders closed"


class Report(CronJobBase):
    schedule = Schedule(run_at_times=["11:30", "6:30", "23:15"])
    code = "shop.report"
    ALLOW_PARALLEL_RUNS = True
    JOB_OPTIONS = {"timeout": timedelta(minutes=5), "owner": "sales", "tags": ["shop"], "description": "What was sold."}

    def do(self):
        calls.append(self.code)


class Fails(CronJobBase):
    schedule = Schedule(run_every_mins=5)
    code = "shop.fails"

    def do(self):
        raise ValueError("no stock")


class SameCode(CronJobBase):
    schedule = Schedule(run_every_mins=5)
    code = "shop.close_orders"

    def do(self):
        calls.append("twin")


class NotOurs:
    """Inherits from nothing that this project has: as with the real package."""

    schedule = Schedule(run_every_mins=10)
    code = "shop.other"

    def do(self):
        calls.append(self.code)


class Doing:
    ALLOW_PARALLEL_RUNS = True

    def do(self):
        calls.append(f"{self.code} by mixin")


class Mixed(CronJobBase, Doing):
    schedule = Schedule(run_every_mins=5)
    code = "shop.mixed"


class Empty(CronJobBase):
    schedule = Schedule(run_every_mins=5)
    code = "shop.empty"


class Mails(NotOurs):
    MIN_NUM_FAILURES = 3
    SEND_FAILED_EMAIL = ["ops@example.org"]


class PerHost(NotOurs):
    APPEND_IP_TO_CODE = True


class Yields(NotOurs):
    code = "shop.yields"

    def do(self):
        yield "nothing"


class Tagged(NotOurs):
    code = "shop.tagged"
    JOB_OPTIONS = {"tags": "night"}


class Owned(NotOurs):
    code = "shop.owned"
    JOB_OPTIONS = {"owner": 5}


class Undone(NotOurs):
    code = "shop.undone"
    do = 5


class Unnamed(CronJobBase):
    schedule = Schedule(run_every_mins=5)


class Misnamed(NotOurs):
    code = "close orders!"


class Unscheduled(NotOurs):
    schedule = "*/5 * * * *"


class Garbled(NotOurs):
    code = "shop.garbled"
    JOB_OPTIONS = {"timout": timedelta(minutes=5)}


number = 5
