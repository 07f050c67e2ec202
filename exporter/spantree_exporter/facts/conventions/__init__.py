"""What each framework and each semantic convention sends: one module a convention, all read by the same registry."""
