//! The identity of the pods, which may do no more than OpenShift makes them ask for.

use crate::operator::engine::child::Child;
use crate::operator::microservice::metadata::Map;
use crate::operator::microservice::{Microservice, access};

/// ServiceAccount, Role and RoleBinding.
pub(super) fn children(of: &Microservice<'_>) -> [Child; 3] {
    access::children(&of.meta(Map::new()), vec![access::use_of_scc(vec![of.scc.to_owned()])])
}
