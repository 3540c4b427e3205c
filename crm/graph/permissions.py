"""Who may see what. A refusal is an error, never an empty list: a job with a revoked login must fail."""

from strawberry import Info

from crm.graph.errors import ClientError


def require_staff(info: Info) -> None:
    """Let an active staff user pass.

    Raises: ClientError UNAUTHENTICATED without a login, FORBIDDEN for any other user.
    """
    user = getattr(getattr(info.context, "request", None), "user", None)
    if user is None or not user.is_authenticated:
        raise ClientError("UNAUTHENTICATED", "Log in first: this field is for staff.")
    if not (user.is_active and user.is_staff):
        raise ClientError("FORBIDDEN", "Your account is no staff account: this field is for staff.")


def require(info: Info, scope: str) -> None:
    """Let whoever may use *scope* (such as "orders:read") pass; staff may use every one.

    Raises: ClientError UNAUTHENTICATED or FORBIDDEN.
    """
    require_staff(info)
