"""Where the pages, the health check and the tick over HTTP answer: `path("crons/", include("crons.urls"))`."""

from django.urls import path

from crons.extensions import extensions
from crons.triggers import http
from crons.web import health, incident_views, pause_views, run_views, timeline_view, views
from crons.web.job import views as job
from crons.web.jobs import views as jobs

app_name = "crons"
urlpatterns = [
    path("", views.home, name="home"),
    path("timeline", timeline_view.timeline, name="timeline"),
    path("jobs", jobs.jobs, name="jobs"),
    path("jobs/<path:name>", job.job, name="job"),
    path("rows/<int:pk>", job.job, name="job_row"),
    path("why", views.why, name="why"),
    path("runs/<str:number>", run_views.run, name="run"),
    path("runs/<str:number>/output", run_views.written, name="output"),
    path("runs/<str:number>/tail", run_views.tail, name="tail"),
    path("runs/<str:number>/download", run_views.download, name="download"),
    path("runs/<str:number>/cancel", run_views.cancel, name="cancel"),
    path("runs/<str:number>/retry", run_views.retry, name="retry"),
    path("incidents", incident_views.listed, name="incidents"),
    path("incidents/<str:number>", incident_views.one, name="incident"),
    path("incidents/<str:number>/acknowledge", incident_views.acknowledge, name="acknowledge"),
    path("incidents/<str:number>/snooze", incident_views.snooze, name="snooze"),
    path("pauses/<str:number>/resume", pause_views.resume, name="resume"),
    path("tick", http.tick, name="tick"),
    path("health", health.well, name="health"),
    path("health/live", health.live, name="live"),
    path("health/ready", health.ready, name="ready"),
]
urlpatterns += [each for extension in extensions() for each in extension.urls()]
