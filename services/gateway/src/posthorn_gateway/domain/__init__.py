"""What the door decides without asking anybody: where a request goes, and whether its target is acceptable."""
