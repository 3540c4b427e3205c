"""GraphQL by Strawberry: what operators read and do, as classes that a project mixes into its own schema."""
