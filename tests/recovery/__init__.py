"""Deaths and outages, one at a time and on purpose: nothing is lost, paid twice, or needs a hand afterwards."""
