"""Where the pages, the health check and the tick over HTTP answer: `path("crons/", include("crons.urls"))`."""

from django.urls import path

from crons.triggers import http
from crons.web import health, views

app_name = "crons"
urlpatterns = [
    path("", views.home, name="home"),
    path("why", views.why, name="why"),
    path("tick", http.tick, name="tick"),
    path("health", health.well, name="health"),
    path("health/live", health.live, name="live"),
    path("health/ready", health.ready, name="ready"),
]
