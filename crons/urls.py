"""Where the pages and the tick over HTTP answer: `path("crons/", include("crons.urls"))`."""

from django.urls import path

from crons.triggers import http
from crons.web import views

app_name = "crons"
urlpatterns = [path("", views.home, name="home"), path("tick", http.tick, name="tick")]
