"""What benchmarks of the torch wings share. Imported by tasks and claims when they run."""
