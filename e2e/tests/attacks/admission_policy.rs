//! The spoke's ValidatingAdmissionPolicy: the spoke's own token writes straight to the API server.
