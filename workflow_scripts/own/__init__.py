"""A cohort of one's own through a trained model, from the panel to a page."""
