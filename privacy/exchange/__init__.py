"""Exchange: vectors sealed between two members and relayed by a server."""
