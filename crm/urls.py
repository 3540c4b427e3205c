"""Where the site answers. GraphQL with and without the slash: a redirected POST loses its body."""

from django.contrib import admin
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import include, path, re_path
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from crm.digests.views import preferences
from crm.run_links import run_of

admin.site.site_header = admin.site.site_title = "CRM"
admin.site.index_title = "Customers, products and orders"


@csrf_exempt  # the endpoint protects what needs it
def graphql(request: HttpRequest) -> HttpResponseBase:
    """Answer for the schema, which takes longer to import than all the rest: a crontab line has no use for it."""
    response: HttpResponseBase = import_string("crm.endpoint.view")(request)
    return response


@csrf_exempt  # only a service token opens it, which no browser adds by itself
def upload(request: HttpRequest) -> HttpResponseBase:
    """Keep a file for an import; imported late, as the endpoint is."""
    response: HttpResponseBase = import_string("crm.graph.uploads.upload")(request)
    return response


urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/run/<path:key>", run_of, name="crm_run"),
    path("admin/", admin.site.urls),
    path("crons/", include("crons.urls")),
    path("mail/<str:token>", preferences, name="mail_preferences"),
    re_path(r"^graphql/?$", graphql, name="graphql"),
    path("imports", upload, name="upload_import"),
]
