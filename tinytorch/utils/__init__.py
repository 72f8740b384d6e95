"""Tools beside the framework: `tinytorch.utils.data` and what brings data sets to the machine."""
