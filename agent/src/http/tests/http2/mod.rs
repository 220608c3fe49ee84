//! Connections of HTTP/2 as the kernel side tells them.

mod connections;
mod loss;
mod malformed;
mod messages;
mod wire;
