"""What a secret looks like: the names that it is kept under, and the forms of text that carry one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum
from urllib.parse import unquote

MASK = "********"


class Secrecy(IntEnum):
    """What a name says about its value.

    DOUBTFUL: hidden, unless it is a path, a plain address or a mere word. SLIGHT: unless it is words or numbers, too.
    """

    NONE = 0
    SLIGHT = 1
    DOUBTFUL = 2
    CERTAIN = 3


_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET_WORDS = "COOKIE COOKIES CRED CREDS CSRF JWT KEY KEYS OTP PASS PAT PHPSESSID PW PWD SALT SAS SESSIONID SIG XSRF"
_SECRET_WITHIN = re.compile(
    "PASSWORD|PASSWD|PASSPHRASE|PASSCODE|SECRET|CREDENTIAL|TOKEN|BEARER|SIGNATURE|APIKEY|APPRISE|WEBHOOK"
    "|AUTHORIZATION|(?:KEY|KEYS|PASS|PWD)$"
)
# What Django's error pages hide on top of that, and Sentry: as parts of longer words they may mean anything.
_DOUBTFUL_WITHIN = re.compile("API|AUTH|KEY|PASS|SESSION|DSN")
_HARMLESS = re.compile(
    "^(?:PASS(?:ENGER|IVE|AGE|ED|ING|THROUGH)S?|COMPASS|BYPASS|X?AUTHOR(?:S|ITY|ITIES)?|(?:MON|TUR|HOT|DON)KEYS?"
    "|KEY(?:BOARD|WORD|SPACE|MAP|CODE|RING)S?|TOKENI[SZ]ERS?|[A-Z]+APID|RAPID[A-Z]*|CAPITAL[A-Z]*"
    "|PASSWORDLESS|PASSPORTS?|SECRETAR(?:Y|IES|IAT)|THERAP[A-Z]+|APIAR[A-Z]+|KEYFRAMES?)$"
)
# KEY_PREFIX, PASSWORD_RESET_URL, TOKEN_LIFETIME: a last word that says something about a secret, not the secret.
_ABOUT = (
    "AGE ALGORITHM BACKEND BACKENDS CHECKS CLASS CLASSES COUNT DAYS DIR DOMAIN ENABLED ENDPOINT ENV EXPIRES EXPIRY "
    "FIELD FILE FORMAT FUNCTION HASHERS HEADER HEADERS HOST HOURS ID LENGTH LIFETIME LIMIT LOCALE METHOD MINUTE "
    "MINUTES MODE MODEL NAME PATH PORT PREFIX REGION SAMESITE SECONDS SOCK SUFFIX TIMEOUT TTL TYPE URI URL USER "
    "USERNAME VALIDATORS VERSION"
)
_ARE_SECRETS, _ARE_ABOUT = frozenset(_SECRET_WORDS.split()), frozenset(_ABOUT.split())
_BOUNDS = frozenset({"MAX", "MIN", "PER"})  # MAX_TOKENS, TOKENS_PER_MINUTE
_EXCEPTION = re.compile(r"[a-z](?:Error|Exception|Warning)\Z")  # KeyError: 'SHOP_TOKEN' names what is missing
_WORKING_DIRECTORY = frozenset({"PWD", "OLDPWD"})
# What visitors are asked, and keys that name a queue, a column or what everybody may know.
_OTHER_MEANING = re.compile(
    "COOKIES?[_.-]?(?=CONSENT|BANNER|NOTICE|POLICY|LAW)"
    "|(?:ROUTING|PRIMARY|FOREIGN|PARTITION|SORT|PUBLIC|PUBLISHABLE|SHORTCUT)[_.-]?KEYS?",
    re.IGNORECASE,
)

_PLAIN = re.compile(
    r"(?:[A-Z]{2,}|[A-Z]?[a-z]+(?:[A-Z][a-z]+)*)(?:_+(?:[A-Z]+|[A-Z]?[a-z]+(?:[A-Z][a-z]+)*))*"  # a word, or words_so
    r"|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+"  # a dotted name
    r"|[\w.-]*(?:/[\w.@+-]*)+"  # a path
    r"|[a-z][a-z0-9+.-]*://[\w.:\[\]-]+(?:/[\w./-]*)?"  # an address with neither a user nor a query
)
_WRITTEN = re.compile(
    r"\d{1,10}(?:[-./ ]\d{1,10})*"  # a number, a date, a version
    r"|\.?[a-z]+(?:[-_.](?:[a-z]+|\d{1,2}))*"  # eu-central-1
    r"|[A-Za-z_]+(?:,[ -]?[A-Za-z_]+)+"  # a list
    r"|(?:[A-Za-z']+|\d{1,4})(?:[,;:.!?]? (?:[A-Za-z']+|\d{1,4}))+[.!?]?"  # a sentence
)

_USER_INFO = re.compile(r"://([^/?#\s'\"]*)@")
_LONGEST = 100_000  # no variable of an environment is longer, but a setting may be
_COOKIE = re.compile(r"[\w.-]+=([^=].*)")
_LONG = 16  # https://TOKEN@host: a name of this length, without a password, is one
_NAME = re.compile(
    r"""(?<![\w.])(--)?([A-Za-z_][\w.-]{0,100})["']?(\s*=>?\s*|(?<=["']):\s*|\s*:\s+|\s+)"""
    r"(?:(?i:Bearer|Basic|Token|Digest|ApiKey)\s+)?"
)
_VALUE = re.compile(
    r""""((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|\{([^{}]*)\}"""
    r"""|([^\s;&"'{]+(?:[ ][^\s;&"'=]+)*(?=;)|[^\s;&"'{][^\s;&"']*)"""  # up to a ; a value may hold blanks
)
_BY_FORM = tuple(
    re.compile(each)
    for each in (
        # Webhooks: whoever has the address may post.
        r"https?://hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/(\S+)",
        r"https?://(?:[\w-]{1,20}\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d+/([\w-]+)",
        r"https?://[\w.-]{0,100}webhook\.office\.com/webhookb2/(\S+)|https?://outlook\.office(?:365)?\.com/webhook/(\S+)",
        r"https?://api\.telegram\.org/bot(\d+:[\w-]+)",
        r"https?://hooks\.(?!slack)[\w.-]{1,100}/([^\s\"']+)",
        r"https?://[^\s/]{1,250}/(?:[\w./-]{0,200}/)?(?:web)?hooks?/([^\s\"']+)",
        r"https?://hc-ping\.com/([\w-]{20,}(?:/[\w-]+)?)",
        r"https?://maker\.ifttt\.com/\S{0,200}?/key/([\w-]+)",
        r"https?://events\.pagerduty\.com/integration/(\w+)",
        r"\b(?:discord|slack|tgram|msteams|workflows?|gchat|mmosts?|rockets?|pover|pagerduty)://([^\s\"']+)",
        # Credentials that say what they are.
        r"\b((?:gh[pousr]|glpat|github_pat|xox[abeoprs]|xapp|[sr]k_(?:live|test)|sk-ant|sk-proj)[-_][\w-]{10,})",
        r"\b((?:npm|hf)_[A-Za-z0-9]{16,})\b",  # but not npm_config_user_agent
        r"\b(AIza[\w-]{20,}|SG\.[\w-]{8,}\.[\w-]{8,})",
        r"\b(eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})",
        r"\b(?:Bearer|Basic)\s+([\w.~+/=-]{8,})",
        # Programs that take a password on their command line.
        r"(?:^|\s)(?:-u|--user)[ =]\s*[^\s:]{1,100}:(\S+)",
        r"\b(?:mysql|mysqldump|mysqladmin|mariadb|mariadb-dump)\b[^|;&]{0,200}?\s-p(\S+)",
        r"\bsshpass\s+-p\s*(\S+)",
        r"\b(?:docker|podman|helm)\b[^|;&\n]{0,200}?\slogin\b[^|;&\n]{0,200}?\s-p[ =]?\s*[\"']?([^\s\"']+)",
        r"\bmongo(?:sh|dump|restore|export|import)?\b[^|;&\n]{0,200}?\s-p[ =]?\s*[\"']?([^\s\"']+)",
        r"\bldap(?:search|modify|add|delete|whoami)\b[^|;&\n]{0,200}?\s-w\s*[\"']?([^\s\"']+)",
        r"\b(?:zip|unzip)\b[^|;&\n]{0,200}?\s-P\s*[\"']?([^\s\"']+)",
        r"\b7z[ar]?\b[^|;&\n]{0,200}?\s-p[\"']?([^\s\"']+)",
        r"\blftp\b[^|;&\n]{0,200}?\s-u\s*[^\s,]{1,100},([^\s\"']+)",
        r"\bhtpasswd\s+-\w{0,10}b\w{0,10}\s+(?:-\S+\s+){0,5}\S{1,200}\s+\S{1,100}\s+(\S+)",
        r"\s-pass(?:in|out)?\s+pass:(\S+)",
        r"\bvault\s+login\s+(?:-\S+\s+){0,5}([^\s-]\S*)",
        r"\bconfigure\s+set\s+aws_(?:secret_access_key|session_token)\s+(\S+)",
        r"(?i)<(?:[\w:.-]{0,40}(?:password|passwd|secret|token|api_?key))\b[^<>]{0,100}>([^<>]+)</",
        r"\bcurl\b[^|;\n]{0,200}?\s-[A-Za-z]{0,10}?u\s*[^\s:]{1,100}:(\S+)",
        r"\b(?:redis|valkey)-cli\b[^|;&\n]{0,200}?\s-a\s+[\"']?([^\s\"']+)",
        r"\b(?:smbclient|smbget|rpcclient|net)\b[^|;&\n]{0,200}?\s(?:-U|--user)[ =]?\s*[^\s%]{1,100}%([^\s\"']+)",
    )
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(.*?)(?:-----END|\Z)", re.DOTALL)


def secrecy_of(name: str) -> Secrecy:
    """Say whether what is called *name* (of a variable, a setting, a key, an option) is a secret."""
    if _EXCEPTION.search(name):
        return Secrecy.NONE
    words = [each.upper() for each in _WORDS.findall(_OTHER_MEANING.sub("", name))]
    telling = [word for word in words if not _HARMLESS.match(word)]
    if any(word in _ARE_SECRETS or _SECRET_WITHIN.search(word) for word in telling):
        return Secrecy.SLIGHT if words[-1] in _ARE_ABOUT or _BOUNDS.intersection(words) else Secrecy.CERTAIN
    if not any(map(_DOUBTFUL_WITHIN.search, telling)):
        return Secrecy.NONE
    return Secrecy.DOUBTFUL if re.search("(?:API|AUTH|DSN)$", words[-1]) else Secrecy.SLIGHT


def is_working_directory(name: str, value: str) -> bool:
    """Say whether this is what shells keep under PWD; in a connection string a password is called so."""
    return name in _WORKING_DIRECTORY and value.startswith("/")


def within(name: str, outer: Secrecy) -> Secrecy:
    """Say the same of a key in a mapping whose own name is *outer*: {"SECRETS": {"stripe": …}}."""
    if outer is Secrecy.CERTAIN and _last_word(name) in _ARE_ABOUT:
        outer = Secrecy.SLIGHT
    return max(outer, secrecy_of(name))


def is_secret(value: str, secrecy: Secrecy) -> bool:
    """Say whether *value*, under a name of this secrecy, is to be hidden."""
    if secrecy is Secrecy.SLIGHT and _WRITTEN.fullmatch(value):
        return False
    return secrecy is Secrecy.CERTAIN or (secrecy > Secrecy.NONE and not _PLAIN.fullmatch(value))


def secrets_in(text: str) -> Iterator[str]:
    """Give every secret that *text* carries in a known form, also as it reads once its URL is decoded."""
    text = text[:_LONGEST]
    for start, end in spans(text):
        found = text[start:end]
        yield found
        if (decoded := unquote(found)) != found:
            yield decoded
        # The long part of an address is what opens it, and what a program prints in a message of its own.
        if cookie := _COOKIE.match(found):
            yield cookie[1]
        if "/" in found:
            yield from (part for part in found.split("/") if len(part) >= _LONG)
    for block in _PRIVATE_KEY.findall(text):
        yield from lines_of(block)


def lines_of(text: str) -> Iterator[str]:
    """Give the lines of a key or another secret of several lines: programs print them one by one."""
    lines = [each.strip() for each in text.replace("\\n", "\n").splitlines()]
    body = [each for each in lines if each and not each.startswith("-----")]
    yield from body
    if len(body) > 1:
        yield "".join(body)


def without_secrets_in(text: str) -> str:
    """Return *text*, such as a line of a crontab, without the secrets that it shows by their form, of any length."""
    kept, at = [], 0
    for start, end in sorted(spans(text)):
        if start >= at:
            kept += [text[at:start], MASK]
        at = max(at, end)
    return "".join([*kept, text[at:]])


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Give where in *text* secrets stand: in addresses, in NAME=value, in options and headers, by their own form."""
    for match in _USER_INFO.finditer(text):
        user, colon, password = match[1].partition(":")
        if colon and password:
            yield match.end(1) - len(password), match.end(1)
        elif len(user) >= _LONG:
            yield match.span(1)
    yield from _pairs(text)
    for form in _BY_FORM:
        for match in form.finditer(text):
            yield match.span(match.lastindex or 0)
    for match in _PRIVATE_KEY.finditer(text):
        yield match.span(1)


def _pairs(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    while match := _NAME.search(text, at):
        option, name, between = match.groups()
        at = match.end(2)
        # Only an option takes its value after a blank.
        if (secrecy := secrecy_of(name)) and (option or not between.isspace()):
            value = _VALUE.match(text, match.end())
            if value and (found := value[value.lastindex or 0]) and not (between.isspace() and found[0] == "-"):
                at = value.end()
                if is_secret(found, secrecy) and not is_working_directory(name, found):
                    yield value.span(value.lastindex or 0)


def _last_word(name: str) -> str:
    words = _WORDS.findall(name)
    return words[-1].upper() if words else ""
