"""Tables that ship with celljury: too-general terms and abbreviations."""
