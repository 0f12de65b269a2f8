"""The page in the browser, for those who have `requirements-web.txt` installed."""
