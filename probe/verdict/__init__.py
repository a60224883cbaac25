"""One captured call, judged."""
