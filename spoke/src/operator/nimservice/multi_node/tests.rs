//! What a replica over several nodes becomes.
