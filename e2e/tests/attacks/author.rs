//! What an author of placements can ask of the hub: Secrets of others, priority, the pace of moves, names.
