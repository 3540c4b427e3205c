"""What CRONJOBS and CRON_CLASSES name, and cannot be imported: it wants what only somebody's shell has."""

import os

TOKEN = os.environ["SHOP_TOKEN"]
