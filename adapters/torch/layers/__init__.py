"""The modules of torch.nn as steps, one file a family."""
