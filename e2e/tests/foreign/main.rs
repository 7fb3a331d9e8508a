//! The spoke as a NIM operator beside controllers of other products, as they are released and with their webhooks: one
//! cluster for all tests, each in a namespace of its own.

mod kserve;
mod lws;
mod site;
