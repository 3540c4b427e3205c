"""Which addresses may be posted to: public ones, unless the settings allow a network by name.

What an endpoint's host stands for is asked once, at each request, and the connection is made to that very address: a
name that stands for another address a moment later (DNS rebinding) leads nowhere else.
"""

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

Address = IPv4Address | IPv6Address

# is_global differs between Pythons; these are named, so that it does not matter.
_REFUSED = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("10.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),  # of carriers' address translation
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),  # link-local: the metadata of clouds
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.0.2.0/24"),
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv4Network("192.168.0.0/16"),
    IPv4Network("198.18.0.0/15"),
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
    IPv4Network("224.0.0.0/3"),  # multicast, reserved, broadcast
    IPv4Network("168.63.129.16/32"),  # a cloud's own service, at a public address
    # Inside the one part of IPv6 that is public, those that carry an IPv4 address or lead to nobody:
    IPv6Network("2001::/23"),  # Teredo and others
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),
)
_PUBLIC_6 = IPv6Network("2000::/3")
_LONGEST_URL = 500
_PLAIN = re.compile(r"[!-~]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\]")


class AddressRefused(ValueError):
    """Nothing was sent: the host stands for an address, or the URL has a port or a scheme, that is not allowed."""


@dataclass(frozen=True)
class Target:
    """What to connect to, and what to say there: *host* as in the URL, *path* with the query."""

    host: str
    port: int
    is_tls: bool
    path: str

    @property
    def authority(self) -> str:
        """What the Host header says."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.is_tls else 80) else f"{name}:{self.port}"


def parse(url: str) -> Target:
    """Read *url*.

    Raises: AddressRefused with what is wrong and what is expected, without the URL, which may have a secret in it.
    """
    if len(url) > _LONGEST_URL:
        raise AddressRefused(f"The address has {len(url)} characters; expected at most {_LONGEST_URL}.")
    if not _PLAIN.fullmatch(url):
        raise AddressRefused("The address has white space or is not ASCII. Write a host as xn--…, a path as %…")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused("The address has no readable host and port. Expected https://host/path.") from error
    if parts.scheme not in ("https", "http"):
        raise AddressRefused("The address must start with https://.")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused(
            "The address has a user or a password in it. Leave them out: the signature says who it is."
        )
    if parts.fragment:
        raise AddressRefused("The address has a '#', which no server gets to see. Leave it out.")
    if not _HOST.fullmatch(_netloc_host(parts)) or port == 0:
        raise AddressRefused("The address has no readable host and port. Expected https://host/path.")
    is_tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.hostname or "", port or (443 if is_tls else 80), is_tls, path)


def resolve(target: Target) -> list[str]:
    """Ask once what the host stands for; give the addresses to connect to.

    Raises: AddressRefused where one of them is not allowed, and OSError where the name stands for nothing.
    """
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    for address in addresses:
        refuse(address, target)
    return addresses


def refuse(address: str, target: Target) -> None:
    """Refuse an *address* that requests must not go to.

    Raises: AddressRefused.
    """
    read = ip_address(address.partition("%")[0])
    if any(read.version == network.version and read in network for network in settings.CRM_WEBHOOK_NETWORKS):
        return  # of one's own: at any port, without TLS too
    if not is_public(read):
        raise AddressRefused(
            f"{target.host} stands for {address}, which is not public. "
            "CRM_WEBHOOK_NETWORKS names the networks that are allowed besides."
        )
    _refuse_port(target)


def refuse_literal(target: Target) -> None:
    """Refuse a host that is written as an address which requests must not go to; a name is looked up when it is used.

    Raises: AddressRefused.
    """
    try:
        ip_address(target.host)
    except ValueError:
        if not settings.CRM_WEBHOOK_NETWORKS:
            _refuse_port(target)
    else:
        refuse(target.host, target)


def is_public(address: Address) -> bool:
    """Say whether anybody's packets may go to *address*: it is neither private, nor does it hide one that is."""
    if isinstance(address, IPv6Address) and address not in _PUBLIC_6:
        return False  # ::1, ::ffff:127.0.0.1, 64:ff9b::/96, fc00::/7, fe80::/10, ff00::/8 and whatever else
    return not any(address in network for network in _REFUSED if network.version == address.version)


def _refuse_port(target: Target) -> None:
    if target.port not in settings.CRM_WEBHOOK_PORTS:
        allowed = ", ".join(map(str, sorted(settings.CRM_WEBHOOK_PORTS)))
        raise AddressRefused(f"Port {target.port} is not allowed; CRM_WEBHOOK_PORTS has {allowed}.")
    if not target.is_tls and target.port != 80:
        raise AddressRefused(f"http:// is not allowed at port {target.port}. Use https://.")


def _netloc_host(parts: SplitResult) -> str:
    host = parts.netloc.rpartition("@")[2]
    return re.sub(r":[0-9]*\Z", "", host)
