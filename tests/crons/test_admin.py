"""The ledger's rows in the admin: every list opens, nothing can be written."""

import pytest
from django.contrib import admin
from django.urls import reverse

from crons import models

SHOWN = [
    models.Entry,
    models.Run,
    models.Range,
    models.Attempt,
    models.Incident,
    models.Heartbeat,
    models.AuditEvent,
]


@pytest.mark.parametrize("model", SHOWN)
def test_rows_are_to_be_looked_at_only(admin_client, rf, admin_user, model):
    """Also by a superuser: a row changed by hand would make the ledger's promises untrue."""
    shown = admin.site.get_model_admin(model)
    request = rf.get("/")
    request.user = admin_user

    response = admin_client.get(reverse(f"admin:crons_{model._meta.model_name}_changelist"))

    assert response.status_code == 200
    assert shown.get_model_perms(request) == {"add": False, "change": False, "delete": False, "view": True}
    assert "delete_selected" not in shown.get_actions(request)
