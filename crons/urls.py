"""Where the pages answer: `path("crons/", include("crons.urls"))`."""

from django.urls import path

from crons import views

app_name = "crons"
urlpatterns = [path("", views.home, name="home")]
