"""What was tried on the running product and did not hold once: each with the figure that was seen."""
