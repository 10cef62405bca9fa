"""Labels by people: a probability sample drawn, labelled, brought in and out."""
