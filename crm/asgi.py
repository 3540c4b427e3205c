"""The ASGI application: `uvicorn crm.asgi:application`."""

import os
import warnings
from importlib import import_module

from django.conf import settings
from django.core.asgi import get_asgi_application
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from crm.body_limit import limited

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "crm.settings")
# WhiteNoise sends a static file as a plain iterator, which Django reads whole: right for small files.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
application = limited(get_asgi_application())
if settings.CRM_BEHIND_PROXY:
    # Else every visitor has the proxy's address. uvicorn's own switch is off (--no-proxy-headers): it is on by
    # default, and whoever reaches the port from this machine could give himself any address.
    application = ProxyHeadersMiddleware(application, trusted_hosts=settings.CRM_PROXY_ADDRESSES)
# Now, not at the first request: building the GraphQL schema takes seconds on a busy machine, and the heartbeat,
# which may be that request, waits for five.
import_module("crm.urls")
import_module("crm.endpoint")
