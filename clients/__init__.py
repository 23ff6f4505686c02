"""Clients: what runs beside a group's records. Only the privatizer lets anything out."""
