"""What all routes have in common: parameters, limits, refusals, how answers leave."""
