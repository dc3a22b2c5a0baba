"""Does a ranking agree with fine-tuning? Every candidate fine-tuned on every target, against every estimator."""
