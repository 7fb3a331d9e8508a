//! A watch that does not end: failures are told once, then tried again with backoff.

mod pace;

use std::fmt::Debug;

use futures::{Stream, StreamExt};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Config, Event};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

pub(crate) use pace::paced;

/// Events of `api`; `what` names it in the log. Objects come without managedFields, which nobody here reads.
pub(crate) fn events<K>(
    api: Api<K>,
    config: Config,
    what: &'static str,
) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut failing = false;
    paced(watcher::watcher(api, config)).filter_map(move |event| {
        let event = match event {
            Ok(event) => {
                // Init says that it begins to list, which may fail again.
                failing &= matches!(event, Event::Init);
                Some(event.modify(|object| object.meta_mut().managed_fields = None))
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(what, error = %chain(&error), "watch failed; it is tried again");
                }
                failing = true;
                None
            }
        };
        std::future::ready(event)
    })
}

/// Every object of a kind in all namespaces.
pub(crate) fn everywhere(client: &Client, resource: &ApiResource) -> Api<DynamicObject> {
    Api::all_with(client.clone(), resource)
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}
