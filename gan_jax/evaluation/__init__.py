"""From a generator to features to a record with its protocol."""
