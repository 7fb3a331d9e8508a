//! What waits for a spoke: signs of life, questions and goodbyes pass what it is to apply.

use futures::StreamExt;
use futures::stream::{BoxStream, PollNext, select_with_strategy};
use proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Signs of life and the like that may wait: a spoke that lets more wait does not read.
const CONTROL: usize = 16;
/// Deltas that may wait; a session bounds their bytes before that.
const DESIRED: usize = 8192;

type Outbound = Result<v1::HubMessage, Status>;

/// The sending side.
pub(super) struct Lanes {
    control: mpsc::Sender<Outbound>,
    desired: mpsc::Sender<Outbound>,
}

/// The spoke has gone, or lets wait more than it may.
pub(super) struct Full;

/// The two ends of a new stream to a spoke.
pub(super) fn lanes() -> (Lanes, BoxStream<'static, Outbound>) {
    let (control, first) = mpsc::channel(CONTROL);
    let (desired, second) = mpsc::channel(DESIRED);
    let stream =
        select_with_strategy(ReceiverStream::new(first), ReceiverStream::new(second), |(): &mut ()| {
            PollNext::Left
        });
    (Lanes { control, desired }, stream.boxed())
}

impl Lanes {
    /// Puts a message into its lane.
    pub(super) fn send(&self, message: v1::HubMessage) -> Result<(), Full> {
        let lane = match message.message {
            Some(v1::hub_message::Message::Desired(_)) => &self.desired,
            _ => &self.control,
        };
        lane.try_send(Ok(message)).map_err(|_| Full)
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::hub_message::Message;

    use super::*;

    fn delta() -> v1::HubMessage {
        v1::HubMessage { message: Some(Message::Desired(v1::DesiredDelta::default())) }
    }

    fn heartbeat() -> v1::HubMessage {
        v1::HubMessage { message: Some(Message::Heartbeat(v1::Heartbeat::default())) }
    }

    #[tokio::test]
    async fn a_sign_of_life_passes_deltas() {
        let (lanes, mut stream) = lanes();
        for message in [delta(), delta(), heartbeat()] {
            assert!(lanes.send(message).is_ok());
        }
        drop(lanes);
        let mut order = Vec::new();
        while let Some(Ok(message)) = stream.next().await {
            order.push(matches!(message.message, Some(Message::Heartbeat(_))));
        }
        assert_eq!(order, [true, false, false]);
    }

    #[test]
    fn who_does_not_read_is_noticed_and_costs_a_bounded_amount() {
        let (lanes, _stream) = lanes();
        assert_eq!((0..100).filter(|_| lanes.send(heartbeat()).is_ok()).count(), CONTROL);
    }
}
