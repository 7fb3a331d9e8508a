//! Images set by annotation, tokens sent to a model's endpoint, pods in a restricted namespace.
