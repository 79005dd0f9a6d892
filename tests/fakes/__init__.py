"""Working fakes: their state belongs to the instance."""
