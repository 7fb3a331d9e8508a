//! Objects of others that have the name of a child: nothing runs under their rights.
