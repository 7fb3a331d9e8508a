//! placeholder tests
