"""What is measured: speed, memory, and the live figures in a browser."""
