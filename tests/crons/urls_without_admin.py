"""A project that has the pages and no admin."""

from django.urls import include, path

urlpatterns = [path("crons/", include("crons.urls"))]
