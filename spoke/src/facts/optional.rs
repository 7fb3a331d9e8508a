//! Watches of what only some clusters have.

use futures::{Stream, StreamExt, stream};
use kube::runtime::watcher::Event;
use tokio::sync::watch;

/// Events of a kind while it is served, in the version that is: begun when it appears, and ended when it goes, with an
/// empty list that says so. `version` of what is served; none while it is not.
pub(super) fn while_served<K, S, V>(
    served: watch::Receiver<S>,
    version: fn(&S) -> Option<V>,
    begin: impl Fn(V) -> stream::BoxStream<'static, Event<K>> + Send,
) -> impl Stream<Item = Event<K>> + Send
where
    K: Send + 'static,
    S: Send + Sync + 'static,
    V: PartialEq + Clone + Send + Sync + 'static,
{
    stream::unfold(served, move |mut served| async move {
        let found = served
            .wait_for(|served| version(served).is_some())
            .await
            .ok()
            .and_then(|served| version(&served))?;
        Some(((found, served.clone()), served))
    })
    .flat_map(move |(found, mut served)| {
        let same = Some(found.clone());
        let over = async move {
            // The sender is gone only when everything ends.
            let _ = served.wait_for(|served| version(served) != same).await;
        };
        begin(found).take_until(over).chain(stream::iter([Event::Init, Event::InitDone]))
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    #[tokio::test]
    async fn a_kind_is_watched_while_it_is_served_and_empty_when_it_is_gone() {
        let (sender, served) = watch::channel(None::<u8>);
        let begun = |_: u8| stream::iter([Event::<ConfigMap>::Init]).chain(stream::pending()).boxed();
        let mut events = Box::pin(while_served(served, |served| *served, begun));
        assert!(futures::poll!(events.next()).is_pending(), "not served yet");
        sender.send_replace(Some(1));
        assert!(matches!(events.next().await, Some(Event::Init)));
        assert!(futures::poll!(events.next()).is_pending());
        sender.send_replace(None);
        assert!(matches!(events.next().await, Some(Event::Init)));
        assert!(matches!(events.next().await, Some(Event::InitDone)), "nothing is there any more");
        assert!(futures::poll!(events.next()).is_pending());
        sender.send_replace(Some(2));
        assert!(matches!(events.next().await, Some(Event::Init)), "another version is watched anew");
    }
}
