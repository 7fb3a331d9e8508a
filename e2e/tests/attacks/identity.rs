//! Enrolled identities, spent tokens, dropped CAs and reused cluster names.
