//! Tables: one filter at a time.
