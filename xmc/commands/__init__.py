"""What the commands do, once their configuration is checked; each imports what it needs, and little else."""
