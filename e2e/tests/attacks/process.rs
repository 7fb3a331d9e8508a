//! Panics, tasks that end, queues that grow: what one object or one spoke can do to a process.
