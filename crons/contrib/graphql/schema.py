"""What a project mixes into its schema: `class Query(CronsQuery, …)`, `class Mutation(CronsMutation, …)`."""

from __future__ import annotations

from crons.contrib.graphql.asking import OPERATOR, Refusal
from crons.contrib.graphql.mutations import CronsMutation
from crons.contrib.graphql.queries import CronsQuery

__all__ = ["OPERATOR", "CronsMutation", "CronsQuery", "Refusal"]
