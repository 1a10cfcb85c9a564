"""The paper's tables: cells, runs, results, rendering."""
