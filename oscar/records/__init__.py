"""From one object to one record: what ``script.sh`` runs."""
