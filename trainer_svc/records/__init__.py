"""What SQLite keeps: runs and their events, the ledger, the orders."""
