"""The services for a long time under good and refused work: what they hold must not grow."""
