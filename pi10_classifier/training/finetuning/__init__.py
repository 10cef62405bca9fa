"""Fine-tuning of a package's own graph with a few labelled crops (`pi10 adapt --finetune`)."""
