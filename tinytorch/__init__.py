"""TinyTorch: the machine-learning framework that you build, module by module."""
