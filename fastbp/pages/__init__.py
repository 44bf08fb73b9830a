"""Models and runs as HTML files that need no server: `model_page` to draw on, `report_page` about a run."""
