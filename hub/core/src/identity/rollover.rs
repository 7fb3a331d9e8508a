//! The way from one CA to the next: who is still to do what before the next step.
//!
//! ```text
//! Stable ──rotate-ca──► Introducing ──all trust the new one──► Retiring ──all are certified by it──► Stable
//! signs:       old                  old                              new                            new
//! trusted:     old                  old, new                         new, old                       new
//! ```

use super::certificate::CaHash;
use crate::fleet::ClusterName;

/// How far the hub is from one CA to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// One CA signs and is trusted.
    Stable,
    /// The old CA signs; spokes learn to trust the new one too.
    Introducing,
    /// The new CA signs; spokes renew until no certificate of the old one is left.
    Retiring,
}

/// What the hub knows of one cluster that has a certificate and is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub cluster: ClusterName,
    /// The CAs by which it knows the hub.
    pub trusted: Vec<CaHash>,
    /// The CA that signed its certificate; `None` where the hub never saw it.
    pub authority: Option<CaHash>,
    /// Whether its session is up.
    pub connected: bool,
}

/// The members that the next step waits for. With none the step can be taken; in [`Stage::Stable`] there is none.
///
/// `new` is the CA that comes. Clusters in `without` are not waited for: the admin has said to leave them behind.
#[must_use]
pub fn awaited<'a>(
    stage: Stage,
    new: &CaHash,
    members: &'a [Member],
    without: &[ClusterName],
) -> Vec<&'a Member> {
    let is_ready = |member: &Member| match stage {
        Stage::Stable => true,
        Stage::Introducing => member.trusted.contains(new),
        Stage::Retiring => member.authority.as_ref() == Some(new),
    };
    members.iter().filter(|member| !is_ready(member) && !without.contains(&member.cluster)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_waits_for_whoever_would_be_left_behind() {
        let (old, new) = (CaHash::reported("sha256:old"), CaHash::reported("sha256:new"));
        let member = |name: &str, trusted: &[&CaHash], authority: Option<&CaHash>| Member {
            cluster: name.parse().unwrap(),
            trusted: trusted.iter().map(|hash| (*hash).clone()).collect(),
            authority: authority.cloned(),
            connected: false,
        };
        let members = [
            member("unseen", &[], None),
            member("behind", &[&old], Some(&old)),
            member("trusting", &[&old, &new], Some(&old)),
            member("done", &[&new, &old], Some(&new)),
        ];
        let table: [(Stage, &[&str], &[&str]); 6] = [
            (Stage::Stable, &[], &[]),
            (Stage::Introducing, &[], &["unseen", "behind"]),
            (Stage::Introducing, &["behind"], &["unseen"]),
            (Stage::Introducing, &["behind", "unseen"], &[]),
            (Stage::Retiring, &[], &["unseen", "behind", "trusting"]),
            (Stage::Retiring, &["unseen", "behind", "trusting", "nobody"], &[]),
        ];
        for (stage, without, expected) in table {
            let without: Vec<ClusterName> = without.iter().map(|name| name.parse().unwrap()).collect();
            let found: Vec<_> =
                awaited(stage, &new, &members, &without).iter().map(|m| m.cluster.as_str()).collect();
            assert_eq!(found, expected, "{stage:?} without {without:?}");
        }
    }
}
