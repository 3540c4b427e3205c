"""What a project mixes into its schema: `class Query(CronsQuery, …)`, `class Mutation(CronsMutation, …)`, and so on."""

from __future__ import annotations

from crons.contrib.graphql.asking import OPERATOR, Refusal
from crons.contrib.graphql.live import WATCHED, Watchers, watch
from crons.contrib.graphql.mutations import CronsMutation
from crons.contrib.graphql.queries import CronsQuery
from crons.contrib.graphql.streaming import KIND, Answer, streamed
from crons.contrib.graphql.subscriptions import CronsSubscription

__all__ = [
    "KIND", "OPERATOR", "WATCHED", "Answer", "CronsMutation", "CronsQuery", "CronsSubscription", "Refusal", "Watchers",
    "streamed", "watch",
]  # fmt: skip
