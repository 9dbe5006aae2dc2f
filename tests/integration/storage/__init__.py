"""What older versions stored, and the script that wrote it."""
