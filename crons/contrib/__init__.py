"""What crons has for other systems, a folder for each. Delete a folder, and only that is gone."""
