"""Settings of the CRM. What an operator may choose is a variable of the environment: docs/crm/settings.md lists them.

The variables may stand in a file too (see crm/environment.py): cron starts jobs without any.
"""

import os
import secrets
import shlex
import ssl
from contextlib import suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import django
from django.core.exceptions import ImproperlyConfigured

from crm import database, environment, privacy

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"
environment.load(Path(os.environ.get("CRM_ENV_FILE") or VAR_DIR / "crm.env"))
privacy.make_private_directory(VAR_DIR)
with suppress(OSError):
    (VAR_DIR / "static").mkdir(exist_ok=True)


SHORTEST_KEY = 50  # as Django's own check for deployment has it


def _secret_key(path: Path, *, generate: bool) -> str:
    """Give the key from the environment, else from the file at *path*, made (mode 0600) when *generate*."""
    if key := environment.text("CRM_SECRET_KEY"):
        return _long_enough(key, "CRM_SECRET_KEY", generate=generate)
    if generate and not path.exists():
        # Written whole, then linked: of two first processes one names the key, and both read that one.
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    if path.exists():
        privacy.refuse_open_secret(path)
        return _long_enough(path.read_text(encoding="ascii").strip(), str(path), generate=generate)
    raise ImproperlyConfigured(
        f"No secret key: CRM_SECRET_KEY is not set and {path} does not exist. "
        "Set CRM_SECRET_KEY to 50 random characters; CRM_DEBUG=1, on a machine of your own, makes one."
    )


def _long_enough(key: str, where: str, *, generate: bool) -> str:
    if generate or (len(key) >= SHORTEST_KEY and len(set(key)) >= 5):
        return key
    raise ImproperlyConfigured(
        f"The secret key in {where} has {len(key)} characters, {len(set(key))} different ones: whoever guesses it can "
        f"log in as anybody. Set {SHORTEST_KEY} random ones: "
        'python3 -c "import secrets; print(secrets.token_urlsafe(50))"'
    )


def login_name_of(request: Any, credentials: dict[str, Any] | None = None) -> str | None:
    """Give the name that a login is tried with, as far as a row of the throttle can hold it."""
    given = (request.POST if credentials is None else credentials).get("username")
    return str(given)[:255] if given is not None else None


def address_of(request: Any) -> str:
    """Give the address that counts for the throttle of logins."""
    return str(request.META.get("REMOTE_ADDR", ""))


DEBUG = environment.flag("CRM_DEBUG", default=False)
SECRET_KEY = _secret_key(VAR_DIR / "secret_key", generate=DEBUG)
SECRET_KEY_FALLBACKS = environment.names("CRM_SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = environment.names("CRM_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = environment.names("CRM_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "crons",
    "crons.contrib.django_cron",  # CRON_CLASSES: gives the name django_cron to modules that import it
    "crons.contrib.django_crontab",  # before the next: what its lines fire goes through the ledger
    "django_crontab",
    "crm",
    # Its releases follow Django's late: where there is none yet, the scheduler fires what beat would.
    *(["django_celery_beat"] if find_spec("django_celery_beat") else []),
    "axes",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware" if django.VERSION >= (6, 0) else "crm.csp.middleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "crm.urls"
ASGI_APPLICATION = "crm.asgi.application"

# ── data ──────────────────────────────────────────────────────────────────────────────────────────
DATABASES = {"default": database.from_url(environment.text("DATABASE_URL", "sqlite:///var/crm.sqlite3"), base=BASE_DIR)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Ten wrong passwords for one name from one address close both, together, for a quarter of an hour. Not the name alone:
# whoever knows a name could keep its owner out.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True  # of logins that went well, Django keeps the last
AXES_SENSITIVE_PARAMETERS = ["username", "password"]
AXES_VERBOSE = False
# REMOTE_ADDR, which crm/asgi.py sets behind a proxy; no header that a visitor may write.
AXES_CLIENT_IP_CALLABLE = "crm.settings.address_of"
AXES_USERNAME_CALLABLE = "crm.settings.login_name_of"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

# ── time and language ─────────────────────────────────────────────────────────────────────────────
USE_TZ = True
TIME_ZONE = environment.text("CRM_TIME_ZONE", "UTC")
LANGUAGE_CODE = "en"
USE_THOUSAND_SEPARATOR = True
try:
    ZoneInfo(TIME_ZONE)
except (ZoneInfoNotFoundError, ValueError) as error:
    raise ImproperlyConfigured(
        f"CRM_TIME_ZONE={TIME_ZONE!r} is no known zone. Set a name such as Europe/Paris."
    ) from error

# ── web ───────────────────────────────────────────────────────────────────────────────────────────
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "crm.static_files.StaticFilesStorage"},
}
# Served from the apps until the first collectstatic.
WHITENOISE_USE_FINDERS = True

HTTPS = environment.flag("CRM_HTTPS", default=not DEBUG)
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = environment.whole("CRM_HSTS_SECONDS", 3600) if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = environment.flag("CRM_HSTS_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = environment.flag("CRM_HSTS_PRELOAD", default=False)
CRM_BEHIND_PROXY = environment.flag("CRM_BEHIND_PROXY", default=False)
CRM_PROXY_ADDRESSES = environment.names("CRM_PROXY_ADDRESSES", "127.0.0.1,::1")
if CRM_BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
SECURE_CSP = {
    "default-src": ["'self'"],
    # Django's admin writes a style into lists without actions.
    "style-src": ["'self'", "'unsafe-inline'"],
    "img-src": ["'self'", "data:"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
}
SESSION_COOKIE_HTTPONLY = True

CRM_GRAPHQL_URL = environment.text("CRM_GRAPHQL_URL")
if CRM_GRAPHQL_URL and not CRM_GRAPHQL_URL.startswith(("http://", "https://")):
    raise ImproperlyConfigured(
        f"CRM_GRAPHQL_URL={CRM_GRAPHQL_URL!r} must start with http:// or https://, "
        "such as http://127.0.0.1:8000/graphql."
    )
CRM_GRAPHQL_TIMEOUT = environment.whole("CRM_GRAPHQL_TIMEOUT", 30)
if CRM_GRAPHQL_TIMEOUT == 0:
    raise ImproperlyConfigured("CRM_GRAPHQL_TIMEOUT=0 leaves no time to answer. Set it to seconds, such as 30.")
CRM_STATEMENT_TIMEOUT = environment.whole("CRM_STATEMENT_TIMEOUT", 5)
# Points for each minute (docs/crm/graphql.md); 0: no limit. One document may cost 5,000.
CRM_COST_PER_MINUTE = environment.whole("CRM_COST_PER_MINUTE", 120_000)
CRM_STRANGER_COST_PER_MINUTE = environment.whole("CRM_STRANGER_COST_PER_MINUTE", 6_000)
for _name in ("CRM_COST_PER_MINUTE", "CRM_STRANGER_COST_PER_MINUTE"):
    if 0 < globals()[_name] < 5_000:
        raise ImproperlyConfigured(
            f"{_name}={globals()[_name]} would refuse for ever what one document may cost. Set it to 5000 or more, or "
            "to 0 for no limit."
        )
CRM_TOKEN_FILE = BASE_DIR / environment.text("CRM_TOKEN_FILE", "var/jobs_token")

# ── mail and logs ─────────────────────────────────────────────────────────────────────────────────
# A pair until Django 5.2, an address from 6.0 on.
ADMINS = [address if django.VERSION >= (6, 0) else (address, address) for address in environment.names("CRM_ADMINS")]
_SMTP = {
    "host": environment.text("CRM_EMAIL_HOST"),
    "port": environment.whole("CRM_EMAIL_PORT", 587),
    "username": environment.text("CRM_EMAIL_USER"),
    "password": environment.text("CRM_EMAIL_PASSWORD"),
    "use_tls": environment.flag("CRM_EMAIL_TLS", default=True),
    "timeout": 10,
}
_MAIL_BACKEND = f"django.core.mail.backends.{'smtp' if _SMTP['host'] else 'console'}.EmailBackend"
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": _MAIL_BACKEND, "OPTIONS": _SMTP if _SMTP["host"] else {}}}
else:
    EMAIL_BACKEND = _MAIL_BACKEND
    EMAIL_HOST, EMAIL_PORT, EMAIL_TIMEOUT = _SMTP["host"], _SMTP["port"], _SMTP["timeout"]
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _SMTP["username"], _SMTP["password"]
    EMAIL_USE_TLS = _SMTP["use_tls"]
CRM_SITE_URL = environment.text("CRM_SITE_URL", "http://127.0.0.1:8000").rstrip("/")
if not CRM_SITE_URL.startswith(("http://", "https://")):
    raise ImproperlyConfigured(
        f"CRM_SITE_URL={CRM_SITE_URL!r} must start with http:// or https://, such as https://crm.example.com."
    )
CRM_REMIND_AFTER_HOURS = environment.whole("CRM_REMIND_AFTER_HOURS", 24)
CRM_REMIND_EVERY_DAYS = environment.whole("CRM_REMIND_EVERY_DAYS", 3)
# Mails to customers are off until somebody asks for them.
CRM_REMIND_MOST = environment.whole("CRM_REMIND_MOST", 0)
CRM_MAIL_MAX_COUNT = environment.whole("CRM_MAIL_MAX_COUNT", 1000)
CRM_MAIL_KEEP_DAYS = environment.whole("CRM_MAIL_KEEP_DAYS", 180)
if 0 < CRM_MAIL_KEEP_DAYS < 60:
    raise ImproperlyConfigured(
        f"CRM_MAIL_KEEP_DAYS={CRM_MAIL_KEEP_DAYS} would forget which orders were reminded of, and remind of them "
        "again. Set it to 60 or more, or to 0 to keep all rows."
    )
DEFAULT_FROM_EMAIL = SERVER_EMAIL = environment.text("CRM_EMAIL_FROM", "crm@localhost")

CRM_LOG_DIR = BASE_DIR / environment.text("CRM_LOG_DIR", "var/log")
with suppress(OSError):  # crontab lines redirect to it: where it is missing, the shell ends before the job begins
    CRM_LOG_DIR.mkdir(mode=0o750, parents=True, exist_ok=True)
CRM_LOG_MAX_BYTES = environment.whole("CRM_LOG_MAX_BYTES", 5_000_000)
CRM_LOG_KEEP = environment.whole("CRM_LOG_KEEP", 5)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}

# ── scheduled work ────────────────────────────────────────────────────────────────────────────────
CRM_CLEANUP_MAX_SHARE = environment.share("CRM_CLEANUP_MAX_SHARE", 0.5)
CRM_CLEANUP_MAX_COUNT = environment.whole("CRM_CLEANUP_MAX_COUNT", 10_000)
CRM_CLEANUP_POLICY = environment.text("CRM_CLEANUP_POLICY", "delete")
if CRM_CLEANUP_POLICY not in ("delete", "archive", "anonymise"):
    raise ImproperlyConfigured(
        f"CRM_CLEANUP_POLICY={CRM_CLEANUP_POLICY!r} is not known. Set it to delete, archive or anonymise."
    )
CRM_ARCHIVE_DIR = BASE_DIR / environment.text("CRM_ARCHIVE_DIR", "var/archives")
# How many days rows and rotated logs stay where they are; 0: for ever.
CRM_ARCHIVE_ORDERS_DAYS = environment.whole("CRM_ARCHIVE_ORDERS_DAYS", 0)
CRM_ARCHIVE_MOVEMENTS_DAYS = environment.whole("CRM_ARCHIVE_MOVEMENTS_DAYS", 730)
CRM_ARCHIVE_LOGS_DAYS = environment.whole("CRM_ARCHIVE_LOGS_DAYS", 90)
CRM_ARCHIVE_MAX_SHARE = environment.share("CRM_ARCHIVE_MAX_SHARE", 0.5)
if 0 < CRM_ARCHIVE_ORDERS_DAYS < 400:
    raise ImproperlyConfigured(
        f"CRM_ARCHIVE_ORDERS_DAYS={CRM_ARCHIVE_ORDERS_DAYS} would hide orders of the last year from the cleanup, which "
        "deletes customers without any. Set it to 400 or more, or to 0 to keep orders where they are."
    )

CRM_WEBHOOK_NETWORKS = environment.networks("CRM_WEBHOOK_NETWORKS")
CRM_WEBHOOK_PORTS = environment.ports("CRM_WEBHOOK_PORTS", "443")
CRM_WEBHOOK_KEEP_DAYS = environment.whole("CRM_WEBHOOK_KEEP_DAYS", 14)

CRONJOBS = [
    ("*/5 * * * *", "crm.cron.log_crm_heartbeat"),
    ("0 */12 * * *", "crm.cron.update_low_stock"),
]
CRON_CLASSES = ["crm.cron_classes.ExpireSessionsAndTokens"]
# django-crontab looks for manage.py in the working directory, which under cron is the home directory.
CRONTAB_DJANGO_MANAGE_PATH = str(BASE_DIR / "manage.py")
CRONTAB_DJANGO_SETTINGS_MODULE = "crm.settings"
# Else cron mails each line that a firing prints, every five minutes. In crontabs % ends the command.
CRONTAB_COMMAND_SUFFIX = f">> {shlex.quote(str(CRM_LOG_DIR / 'django_crontab.log'))} 2>&1".replace("%", r"\%")
# ── Celery ────────────────────────────────────────────────────────────────────────────────────────
CRM_BROKER_URL = environment.text("CRM_BROKER_URL")
CELERY_BROKER_URL = CRM_BROKER_URL or "memory://"
# Who reaches the broker may send messages; they name tasks of ours, and never carry objects to unpack.
CELERY_ACCEPT_CONTENT = ["json"]
# Left alone, rediss:// takes any certificate, and amqps:// one of any host. SSL_CERT_FILE names an authority of yours.
if CRM_BROKER_URL.startswith("rediss:"):
    CELERY_BROKER_USE_SSL: dict[str, Any] = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
elif CRM_BROKER_URL.startswith("amqps:"):
    CELERY_BROKER_USE_SSL = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": urlsplit(CRM_BROKER_URL).hostname}
CELERY_TIMEZONE = TIME_ZONE
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_TASK_DEFAULT_QUEUE = "crm"  # several projects may share a broker
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A visitor's request must not wait for a broker that is down, nor long for one that is silent.
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BROKER_TRANSPORT_OPTIONS = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
if CRM_BROKER_URL.startswith(("redis:", "rediss:")):
    CELERY_BROKER_TRANSPORT_OPTIONS |= {"socket_connect_timeout": 4, "socket_timeout": 5}

_LINES = BASE_DIR / "crm" / "cron_jobs"
_TICK_SECRETS = environment.text("CRM_TICK_SECRET_FILE")
CRONS: dict[str, Any] = {
    "CRONTAB_FILES": [_LINES / "customer_cleanup_crontab.txt", _LINES / "order_reminders_crontab.txt"],
    "LOG_DIR": CRM_LOG_DIR,  # of the lines that `crons apply` writes
    "STATE_DIR": environment.text("CRM_STATE_DIR"),
    "HTTP_TICK": {"SECRET": BASE_DIR / _TICK_SECRETS} if _TICK_SECRETS else {},
    "EXECUTORS": {
        "celery": {"BACKEND": "crons.contrib.celery.executor.CelerySender", "OPTIONS": {"app": "crm.celery.app"}}
    },
}
