"""What every part of the system shares. Standard library only."""
