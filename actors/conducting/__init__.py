"""Steps of the conductor: how it asks, draws, judges and records, and the rules by which a trajectory ends."""
