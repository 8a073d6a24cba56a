"""Rules of audiences, templates and campaigns. Standard library only."""
