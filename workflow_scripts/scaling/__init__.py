"""What more markers cost, and what they bring."""
