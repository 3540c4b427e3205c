"""What frameworks find in each app by the name `tasks`: here, what the workers of other systems must know."""

from crons.extensions import extensions

for each in extensions():
    each.load_worker_tasks()
