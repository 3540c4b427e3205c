"""The tick over HTTP without the pages, which need Django's accounts."""

from django.urls import path

from crons.triggers import http

urlpatterns = [path("crons/tick", http.tick)]
