"""A CRM over GraphQL whose scheduled jobs are kept by crons: project package and app at once."""
