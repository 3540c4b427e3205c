"""The ASGI application: `uvicorn crm.asgi:application`."""

import os
import warnings

from django.core.asgi import get_asgi_application

from crm.body_limit import limited

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "crm.settings")
# WhiteNoise sends a static file as a plain iterator, which Django reads whole: right for small files.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
application = limited(get_asgi_application())
