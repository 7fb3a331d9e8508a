//! What waits for a spoke: signs of life, questions and goodbyes pass what it is to apply.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use futures::stream::{BoxStream, PollNext, select_with_strategy};
use prost::Message as _;
use proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Signs of life and the like that may wait: a spoke that lets more wait does not read.
const CONTROL: usize = 16;
/// Deltas that may wait.
const DESIRED: usize = 8192;
/// Bytes of deltas that may wait before another is put behind them: twice what a session has under way. A session counts
/// what is answered, and a spoke could answer what it has not read.
const DESIRED_BYTES: usize = 8 << 20;

type Outbound = Result<v1::HubMessage, Status>;

/// The sending side.
pub(super) struct Lanes {
    control: mpsc::Sender<Outbound>,
    desired: mpsc::Sender<Outbound>,
    /// Bytes of deltas that wait.
    waiting: Arc<AtomicUsize>,
}

/// The spoke has gone, or lets wait more than it may.
pub(super) struct Full;

/// The two ends of a new stream to a spoke.
pub(super) fn lanes() -> (Lanes, BoxStream<'static, Outbound>) {
    let (control, first) = mpsc::channel(CONTROL);
    let (desired, second) = mpsc::channel(DESIRED);
    let waiting = Arc::new(AtomicUsize::new(0));
    let taken = waiting.clone();
    let second = ReceiverStream::new(second).inspect(move |message: &Outbound| {
        let bytes = message.as_ref().map_or(0, v1::HubMessage::encoded_len);
        taken.fetch_sub(bytes, Ordering::Relaxed);
    });
    let stream = select_with_strategy(ReceiverStream::new(first), second, |(): &mut ()| PollNext::Left);
    (Lanes { control, desired, waiting }, stream.boxed())
}

impl Lanes {
    /// Puts a message into its lane.
    pub(super) fn send(&self, message: v1::HubMessage) -> Result<(), Full> {
        let Some(v1::hub_message::Message::Desired(_)) = message.message else {
            return self.control.try_send(Ok(message)).map_err(|_| Full);
        };
        if self.waiting.load(Ordering::Relaxed) > DESIRED_BYTES {
            return Err(Full);
        }
        self.waiting.fetch_add(message.encoded_len(), Ordering::Relaxed);
        self.desired.try_send(Ok(message)).map_err(|_| Full)
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

    #[tokio::test]
    async fn deltas_that_nobody_takes_are_bounded_by_their_bytes() {
        let (lanes, mut stream) = lanes();
        let mebibyte = || {
            let upsert = v1::Upsert { payload: vec![0; 1 << 20], ..v1::Upsert::default() };
            let delta = v1::DesiredDelta { upserts: vec![upsert], ..v1::DesiredDelta::default() };
            v1::HubMessage { message: Some(Message::Desired(delta)) }
        };
        let sent = |lanes: &Lanes| (0..100).filter(|_| lanes.send(mebibyte()).is_ok()).count();
        assert_eq!(sent(&lanes), DESIRED_BYTES >> 20);
        for _ in 0..5 {
            assert!(stream.next().await.is_some());
        }
        assert_eq!(sent(&lanes), 5, "what was taken makes room");
    }
}
