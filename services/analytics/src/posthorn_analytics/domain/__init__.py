"""Rules of counting: recipients, tallies, machines, rates, progress. Standard library only."""
