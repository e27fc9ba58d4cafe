"""What a build takes in: files, their times, the checkout, and what names it."""
