//! Tables and properties of whole decisions.
