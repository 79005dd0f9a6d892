"""The whole system as supervised processes on one machine: what ``braintumor up`` runs."""
