//! What a hostile spoke says of the epoch, and a hub that lost its key.
