"""One object to one record: what ``script.sh`` runs."""
