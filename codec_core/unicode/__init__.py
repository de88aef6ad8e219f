"""Character classes and normalization of one fixed Unicode version, the same under every Python."""
