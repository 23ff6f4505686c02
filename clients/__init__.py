"""Clients: what runs beside a group's records. Nothing leaves this room but through the privatizer."""
