"""What a trained model looks at: markers and places."""
