"""Makes the paper's tables: cells, runs, results and rendering."""
