//! Limits of the cluster's owner against delivered objects and the children rendered from them.
