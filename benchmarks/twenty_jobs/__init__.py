"""An app that holds nothing but jobs."""
