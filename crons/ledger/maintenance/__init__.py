"""What people ask of the ledger now and then: fill holes, delete old rows, take over a restored backup."""
