//! A spoke that says what it likes to a real hub, over the real protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e::failure::Failure;
use e2e::fleet::{Fleet, Invitation, NAMESPACE};
use e2e::objects;
use futures::StreamExt;
use hyper_util::rt::TokioIo;
use proto::v1;
use proto::v1::enrollment_client::EnrollmentClient;
use proto::v1::fleet_sync_client::FleetSyncClient;
use proto::v1::hub_message::Message as FromHub;
use proto::v1::spoke_message::Message as ToHub;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::service_fn;

/// How long the hub may take for one word.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an admin and the hub's controllers may take.
const SOON: Duration = Duration::from_mins(1);

/// A spoke of one cluster that keeps no rule.
pub(crate) struct HostileSpoke {
    pub(crate) cluster: String,
    /// What it says of its kube-system namespace.
    pub(crate) cluster_uid: String,
    pub(crate) key: rcgen::KeyPair,
    /// PEM; of `key`.
    pub(crate) certificate: Option<String>,
    link: SocketAddr,
    ca_pem: String,
}

impl HostileSpoke {
    /// One that has not enrolled. The hub is known by its CA of this moment.
    pub(crate) async fn new(fleet: &Fleet, cluster: &str, cluster_uid: &str) -> Result<Self, Failure> {
        let secret = objects::get(fleet.hub().cluster(), "Secret", NAMESPACE, "nimfleet-hub-ca").await?;
        let encoded = secret["data"]["tls.crt"].as_str().unwrap_or_default();
        Ok(Self {
            cluster: cluster.to_owned(),
            cluster_uid: cluster_uid.to_owned(),
            key: rcgen::KeyPair::generate().unwrap(),
            certificate: None,
            link: fleet.hub().link(),
            ca_pem: String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap(),
        })
    }

    /// One whose cluster an admin has invited and accepted; gives the invitation that it used.
    pub(crate) async fn joined(
        fleet: &Fleet,
        cluster: &str,
        cluster_uid: &str,
    ) -> Result<(Self, Invitation), Failure> {
        let mut spoke = Self::new(fleet, cluster, cluster_uid).await?;
        let invitation = fleet.hub().invite(cluster).await?;
        spoke.join(fleet, &invitation).await?;
        Ok((spoke, invitation))
    }

    /// Enrols with an invitation while an admin accepts the cluster.
    pub(crate) async fn join(&mut self, fleet: &Fleet, invitation: &Invitation) -> Result<(), Failure> {
        let certificate = fleet
            .eventually(&format!("{} is certified", self.cluster), SOON, || async {
                let asked = self.enrol(&invitation.token).await;
                if asked.is_ok() {
                    fleet.hub().accept(&self.cluster).await?;
                }
                match asked {
                    Ok(Some(certificate)) => Ok(certificate),
                    other => Err(Failure::new(format!("{other:?}"))),
                }
            })
            .await?;
        self.certificate = Some(certificate);
        Ok(())
    }

    pub(crate) fn csr(&self) -> String {
        rcgen::CertificateParams::default().serialize_request(&self.key).unwrap().pem().unwrap()
    }

    /// Asks once for a certificate by a token; none while the admin is awaited.
    pub(crate) async fn enrol(&self, token: &str) -> Result<Option<String>, Status> {
        let request = v1::EnrollRequest {
            cluster: self.cluster.clone(),
            token: token.to_owned(),
            csr_pem: self.csr(),
            cluster_uid: self.cluster_uid.clone(),
            ..v1::EnrollRequest::default()
        };
        let channel = self.dial(None).await;
        let answer = EnrollmentClient::new(channel).enroll(request).await?.into_inner();
        Ok(match answer.outcome {
            Some(v1::enroll_response::Outcome::Certificate(certificate)) => Some(certificate.certificate_pem),
            _ => None,
        })
    }

    /// Asks for the next certificate on a connection that is open.
    pub(crate) async fn renew(&self, channel: &Channel) -> Result<String, Status> {
        let request = v1::RenewRequest { csr_pem: self.csr(), cluster_uid: self.cluster_uid.clone() };
        let answer = EnrollmentClient::new(channel.clone()).renew(request).await?.into_inner();
        Ok(answer.certificate.unwrap_or_default().certificate_pem)
    }

    /// A connection by its certificate.
    pub(crate) async fn connection(&self) -> Channel {
        self.dial(self.certificate.as_deref()).await
    }

    async fn dial(&self, certificate: Option<&str>) -> Channel {
        let mut roots = rustls::RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(self.ca_pem.as_bytes()) {
            roots.add(ca.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match certificate {
            None => config.with_no_client_auth(),
            Some(pem) => {
                let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(self.key.serialize_pem().as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (config, link) = (Arc::new(config), self.link);
        let connector = service_fn(move |_| {
            let config = config.clone();
            async move {
                let tcp = TcpStream::connect(link).await?;
                let name = "localhost".try_into().unwrap();
                TlsConnector::from(config).connect(name, tcp).await.map(TokioIo::new)
            }
        });
        Endpoint::from_static("http://hub").connect_with_connector(connector).await.unwrap()
    }

    /// Its first words, with an epoch that it claims to have accepted.
    pub(crate) fn hello(&self, highest_epoch: Option<v1::Epoch>) -> v1::Hello {
        v1::Hello {
            cluster: self.cluster.clone(),
            cluster_uid: self.cluster_uid.clone(),
            instance: "hostile".to_owned(),
            instance_started_ms: jiff::Timestamp::now().as_millisecond(),
            highest_epoch,
            ..v1::Hello::default()
        }
    }

    /// Says hello on a connection, and gives the hub's first word and the stream on which more would come. A hub that has
    /// too much to do, or looks for the cluster still, is asked again.
    pub(crate) async fn session(&self, channel: &Channel, hello: v1::Hello) -> (FromHub, Session) {
        let begun = tokio::time::Instant::now();
        loop {
            let hello = v1::SpokeMessage { message: Some(ToHub::Hello(hello.clone())) };
            let outbound = futures::stream::iter([hello]).chain(futures::stream::pending());
            let mut client = FleetSyncClient::new(channel.clone());
            let mut inbound = client.connect(outbound).await.unwrap().into_inner();
            let word = tokio::time::timeout(PATIENCE, inbound.message()).await.unwrap().unwrap().unwrap();
            match word.message.unwrap() {
                FromHub::GoAway(goodbye)
                    if goodbye.reason() == v1::GoAwayReason::Unavailable && begun.elapsed() < SOON =>
                {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                word => return (word, Session(inbound)),
            }
        }
    }

    /// The hub's first word to a Hello on a new connection.
    pub(crate) async fn answer(&self, highest_epoch: Option<v1::Epoch>) -> FromHub {
        self.session(&self.connection().await, self.hello(highest_epoch)).await.0
    }
}

/// A stream that stays open as long as this is kept.
pub(crate) struct Session(tonic::Streaming<v1::HubMessage>);

impl Session {
    /// The hub's last word, for a session that it ends.
    pub(crate) async fn goodbye(mut self) -> v1::GoAway {
        let goodbye = async {
            loop {
                if let Some(FromHub::GoAway(goodbye)) = self.0.message().await.unwrap().unwrap().message {
                    return goodbye;
                }
            }
        };
        tokio::time::timeout(SOON, goodbye).await.expect("the hub ends the session")
    }
}

/// The hub's goodbye, where that was its word.
pub(crate) fn goodbye(word: &FromHub) -> &v1::GoAway {
    match word {
        FromHub::GoAway(goodbye) => goodbye,
        other => panic!("the hub lets it in: {other:?}"),
    }
}

/// That a call was refused with a sentence that says what helps.
pub(crate) fn denied<T: std::fmt::Debug>(what: &str, answer: Result<T, Status>, words: &str) {
    match answer {
        Err(status) if status.code() == Code::PermissionDenied && status.message().contains(words) => {}
        other => panic!("{what}: {other:?}"),
    }
}
