"""What a user asks beside the study: is the machine ready, are the data whole, what can go."""
