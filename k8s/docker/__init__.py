"""What goes into an image."""
