//! The deletion guard: budgets, restarts, and what is said of what it holds.
