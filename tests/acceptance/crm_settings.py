"""The CRM as in production, with the state directory of a test."""

import os

from crm.settings import *  # noqa: F403 (a settings module takes all of its base)
from crm.settings import CRONS

CRONS = {**CRONS, "STATE_DIR": os.environ["TEST_STATE_DIR"]}
