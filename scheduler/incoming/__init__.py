"""Deliveries into what they mean: requests, reports, dead jobs. What means nothing is parked."""
