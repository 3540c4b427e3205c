"""The endpoint of the CRM's schema: whoever imports it imports all of GraphQL."""

from crm.graph.views import endpoint
from crm.schema import schema

view = endpoint(schema)
