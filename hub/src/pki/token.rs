//! Join tokens: what one is, and when one is good.

use std::fmt;
use std::str::FromStr;

use hub_scheduler::fleet::ClusterName;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Characters of the id, which is public: it names the Secret.
const ID_LENGTH: usize = 6;
/// Characters of the secret: 32 of 36 possible ones are 165 bits.
const SECRET_LENGTH: usize = 32;
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// A join token in clear: `<id>.<secret>`. Shown once, never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: String,
    secret: String,
}

impl Token {
    /// A token of 38 random values below 36.
    pub(super) fn from_random(mut pick: impl FnMut() -> u8) -> Self {
        let mut text = |length| {
            (0..length).map(|_| char::from(ALPHABET[usize::from(pick()) % ALPHABET.len()])).collect()
        };
        Self { id: text(ID_LENGTH), secret: text(SECRET_LENGTH) }
    }

    /// The public half.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// SHA-256 of the whole token, which is what is stored.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_string()).into()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}.…)", self.id)
    }
}

impl FromStr for Token {
    type Err = TokenRefused;

    fn from_str(text: &str) -> Result<Self, TokenRefused> {
        let good =
            |part: &str, length| part.len() == length && part.bytes().all(|byte| ALPHABET.contains(&byte));
        match text.split_once('.') {
            Some((id, secret)) if good(id, ID_LENGTH) && good(secret, SECRET_LENGTH) => {
                Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
            }
            _ => Err(TokenRefused::Wrong),
        }
    }
}

/// What is stored of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// SHA-256 of the whole token.
    pub digest: [u8; 32],
    /// The one cluster it is for.
    pub cluster: ClusterName,
    /// By the hub's clock.
    pub expires: Timestamp,
    /// SHA-256 of the public key that used it first.
    pub used_by: Option<[u8; 32]>,
    /// The certificate (PEM) that was issued for it: then it is spent.
    pub issued: Option<String>,
}

/// Why a token does not let a spoke in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// There is no such token, or its secret is another.
    #[error(
        "the join token is wrong, this hub knows no such one: get a new one with `nimfleet-hub join-command <cluster>`"
    )]
    Wrong,
    /// Another key has used it.
    #[error(
        "the join token was used already by another spoke: a token joins one cluster once; get a new one with \
         `nimfleet-hub join-command {cluster}`"
    )]
    Used {
        /// The cluster it is for.
        cluster: ClusterName,
    },
    /// What was issued for it is over.
    #[error(
        "the join token is spent, and the certificate that was issued for it is over: get a new one with `nimfleet-hub \
         join-command {cluster}`"
    )]
    Spent {
        /// The cluster it is for.
        cluster: ClusterName,
    },
    /// It came too late.
    #[error(
        "the join token expired at {expired}: get a new one with `nimfleet-hub join-command {cluster}`, which takes \
         --ttl"
    )]
    Expired {
        /// The cluster it is for.
        cluster: ClusterName,
        /// When.
        expired: Timestamp,
    },
    /// It is for another cluster.
    #[error(
        "the join token is for cluster {cluster}, not {presented}: get one with `nimfleet-hub join-command \
         {presented}`, or correct cluster.name"
    )]
    ForeignCluster {
        /// The cluster it is for.
        cluster: ClusterName,
        /// The name that the spoke gave.
        presented: ClusterName,
    },
}

/// Whether a token lets a spoke of that name and key in. The key that used a token first may come again, even
/// after expiry: it waits for the cluster to be accepted.
pub fn check(
    record: &TokenRecord,
    presented: &Token,
    cluster: &ClusterName,
    key: &[u8; 32],
    now: Timestamp,
) -> Result<(), TokenRefused> {
    if !same(&record.digest, &presented.digest()) {
        return Err(TokenRefused::Wrong);
    }
    if record.cluster != *cluster {
        return Err(TokenRefused::ForeignCluster {
            cluster: record.cluster.clone(),
            presented: cluster.clone(),
        });
    }
    match &record.used_by {
        Some(user) if same(user, key) => Ok(()),
        Some(_) => Err(TokenRefused::Used { cluster: cluster.clone() }),
        None if now >= record.expires => {
            Err(TokenRefused::Expired { cluster: cluster.clone(), expired: record.expires })
        }
        None => Ok(()),
    }
}

/// Compares in a time that does not depend on where the difference is.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "abc123.abcdefghijklmnopqrstuvwxyz012345";
    const B: &str = "abc123.abcdefghijklmnopqrstuvwxyz012346";

    fn token(text: &str) -> Token {
        text.parse().unwrap()
    }

    fn name(text: &str) -> ClusterName {
        text.parse().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn record(used_by: Option<[u8; 32]>) -> TokenRecord {
        TokenRecord {
            digest: token(A).digest(),
            cluster: name("east"),
            expires: at(100),
            used_by,
            issued: None,
        }
    }

    #[test]
    fn table() {
        let (east, west) = (name("east"), name("west"));
        let (mine, other) = ([1; 32], [2; 32]);
        let table = [
            ("fresh", record(None), A, &east, 99, Ok(())),
            ("secret differs in its last character", record(None), B, &east, 99, Err(TokenRefused::Wrong)),
            (
                "other cluster",
                record(None),
                A,
                &west,
                99,
                Err(TokenRefused::ForeignCluster { cluster: name("east"), presented: name("west") }),
            ),
            (
                "at its end",
                record(None),
                A,
                &east,
                100,
                Err(TokenRefused::Expired { cluster: name("east"), expired: at(100) }),
            ),
            ("same key again", record(Some(mine)), A, &east, 99, Ok(())),
            ("same key after the end", record(Some(mine)), A, &east, 1000, Ok(())),
            (
                "other key",
                record(Some(other)),
                A,
                &east,
                99,
                Err(TokenRefused::Used { cluster: name("east") }),
            ),
            ("other key, wrong secret", record(Some(other)), B, &east, 99, Err(TokenRefused::Wrong)),
            (
                "same key, other cluster",
                record(Some(mine)),
                A,
                &west,
                99,
                Err(TokenRefused::ForeignCluster { cluster: name("east"), presented: name("west") }),
            ),
        ];
        for (case, record, presented, cluster, now, expected) in table {
            assert_eq!(check(&record, &token(presented), cluster, &mine, at(now)), expected, "{case}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let refusals = [
            TokenRefused::Wrong,
            TokenRefused::Used { cluster: name("east") },
            TokenRefused::Spent { cluster: name("east") },
            TokenRefused::Expired { cluster: name("east"), expired: at(0) },
            TokenRefused::ForeignCluster { cluster: name("west"), presented: name("east") },
        ];
        for refused in refusals {
            assert!(refused.to_string().contains("nimfleet-hub join-command"), "{refused}");
        }
    }

    #[test]
    fn a_made_token_reads_back_and_hides_its_secret() {
        let mut next = 0;
        let made = Token::from_random(|| {
            next += 1;
            next
        });
        assert_eq!(token(&made.to_string()), made);
        assert!(!format!("{made:?}").contains(&made.secret));
    }

    #[test]
    fn what_is_no_token_is_wrong() {
        for text in ["", ".", "abc123", "abc123.", &A[1..], &A[..38], &format!("{A}x"), &A.to_uppercase()] {
            assert_eq!(text.parse::<Token>(), Err(TokenRefused::Wrong), "{text}");
        }
    }
}
