"""The frozen result of a build: values that any number of runs share."""
