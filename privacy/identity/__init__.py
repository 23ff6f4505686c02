"""Identity: signing keys, rosters, invitations and cards."""
