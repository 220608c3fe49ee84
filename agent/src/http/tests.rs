//! Conversations as the kernel side tells them.

mod connections;
mod hostile;
mod loss;
mod messages;
mod properties;
mod script;
