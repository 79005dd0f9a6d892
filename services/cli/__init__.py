"""The ``braintumor`` command: a gRPC client, and with ``up`` the whole system on one machine."""
