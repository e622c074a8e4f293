"""Which names a producer's documents have here."""
