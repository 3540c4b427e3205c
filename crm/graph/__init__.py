"""The GraphQL API, thin over the domain: resolvers fetch and call, rules live in customers and orders."""
