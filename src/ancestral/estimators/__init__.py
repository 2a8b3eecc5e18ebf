"""Floor 5: gradient estimators: how the gradient of an expectation through its law is found."""
