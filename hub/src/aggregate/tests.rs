//! Tables of folded status.
