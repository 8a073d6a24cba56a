"""What people and programs did, told by every service."""
