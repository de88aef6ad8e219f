"""Values as people see them: in notebooks, on terminals, in units that they read."""
