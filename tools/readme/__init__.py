"""The numbers in README.md and docs/, written from results/."""
