//! JSON patches that grow, overrides past a quota, expensive expressions.
