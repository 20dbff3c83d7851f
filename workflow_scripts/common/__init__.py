"""What several stages share: configuration, cohorts, images, crops, figures."""
