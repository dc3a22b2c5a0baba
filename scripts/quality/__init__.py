"""Does the ranking tell the truth? Full fine-tuning of every candidate on every target, beside every estimator."""
