#!/usr/bin/env bash
# List the test files that need django-celery-beat: no Django above 6.0 has a release of it yet.
set -euo pipefail
cd "$(dirname "$0")/.."

grep -rlE 'django_celery_beat|contrib[.]celery[.]beat' --include='test_*.py' tests | sort
