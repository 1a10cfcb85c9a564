"""Brings the notebooks beside this file into the form that is kept in the repository.

python notebooks/clean.py

No outputs, no execution counts, of the metadata only what is needed. Run it after working on a
notebook in Jupyter; a test compares.
"""

from __future__ import annotations

import json
from pathlib import Path

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def cleaned(text: str) -> str:
    """The same notebook, as JSON in Jupyter's own layout."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags")
        cell["metadata"] = {"tags": tags} if tags else {}
        cell["source"] = "".join(cell["source"]).splitlines(keepends=True)
        if cell["cell_type"] == "code":
            cell |= {"execution_count": None, "outputs": []}
    notebook |= {"metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes those that are not clean."""
    for path in sorted(Path(__file__).parent.glob("[0-9]_*.ipynb")):
        text = path.read_text(encoding="utf-8")
        if (clean := cleaned(text)) != text:
            path.write_text(clean, encoding="utf-8")
            print(f"cleaned {path.name}")


if __name__ == "__main__":
    main()
