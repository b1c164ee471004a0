"""Command-line programs that train and evaluate; they hold no mathematics."""
