"""The parts of benches/table.py: what is measured, on which files, and how it is told."""
