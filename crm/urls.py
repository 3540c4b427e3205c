"""Where the site answers. GraphQL with and without the slash: a redirected POST loses its body."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from crm.graph.views import endpoint
from crm.schema import schema

admin.site.site_header = admin.site.site_title = "CRM"
admin.site.index_title = "Customers, products and orders"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("crons/", include("crons.urls")),
    re_path(r"^graphql/?$", endpoint(schema), name="graphql"),
]
