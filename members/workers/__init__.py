"""What runs in other interpreters: plain files that know nothing of celljury, found by name by `exchange`."""
