"""Why a slot ended as it did: questions of a table, and what finding the answers costs."""
